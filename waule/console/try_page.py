"""Try a model: a form that makes an image or a video as the tenant's programs would."""

import uuid
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from aiservices.admin.generations import urls_of
from aiservices.generations import services as generations
from aiservices.generations.listing import to_be_tried
from aiservices.generations.models import Generation
from aiservices.generations.requests import GenerationRequest
from aiservices.generations.settlement.outcomes import GenerationFailed
from billing.catalog.models import AIModel
from billing.catalog.pricing import READABLE_SIZES, Size, read_size
from tenants.principal import Principal
from waule.console.tenant import Right, right_required, tenant_of
from waule.core.admin import admin_page, local_url, tell_form
from waule.core.errors import WauleError

MAX_PROMPT_LENGTH = 4_000


class TryForm(forms.Form):
    model = forms.ChoiceField(label=gettext_lazy("Model"), widget=UnfoldAdminSelectWidget)
    prompt = forms.CharField(
        label=gettext_lazy("Prompt"), max_length=MAX_PROMPT_LENGTH, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3})
    )
    size = forms.CharField(
        label=gettext_lazy("Size"),
        required=False,
        max_length=32,
        widget=UnfoldAdminTextInputWidget,
        help_text=gettext_lazy("Such as 1024x1024 or 16:9. Empty: the model's own."),
    )
    idempotency_key = forms.UUIDField(widget=forms.HiddenInput, initial=uuid.uuid4)

    def clean_size(self) -> Size:
        size = read_size(self.cleaned_data["size"])
        if not size.is_readable:
            text = _("This size cannot be read. Send one such as these: %(sizes)s.") % {"sizes": READABLE_SIZES}
            raise forms.ValidationError(text)
        return size


@right_required(Right.GENERATE)
def try_model(request: HttpRequest) -> HttpResponse:
    """Make an image or order a video with the tenant's live credits, through the verb that `/v1` uses."""
    tenant = tenant_of(request)
    shown = {str(each.model.id): each.model for each in to_be_tried(tenant) if each.model.type in _MADE}
    form = TryForm(request.POST or None)
    form.fields["model"].choices = [(key, model.name) for key, model in shown.items()]  # type: ignore[attr-defined]
    made: Generation | None = None
    if request.method == "POST" and form.is_valid():
        model = shown[form.cleaned_data["model"]]
        try:
            made = _make(request, model, form.cleaned_data)
        except GenerationFailed as failed:
            form.add_error(None, str(failed))
        except WauleError as error:
            tell_form(form, error)
        else:
            if made.type == Generation.Type.VIDEO:
                messages.success(request, _("The video is being made. Its page shows how far it is."))
                return redirect("console:aiservices_generation_change", made.pk)
            form = TryForm(initial={"model": form.cleaned_data["model"], "prompt": form.cleaned_data["prompt"]})
            form.fields["model"].choices = [(key, each.name) for key, each in shown.items()]  # type: ignore[attr-defined]
    return admin_page(
        request,
        "console/try.html",
        title=_("Try a model"),
        form=form,
        has_models=bool(shown),
        made=made,
        pictures=[local_url(url) for url in urls_of(made)] if made else [],
    )


_MADE = {AIModel.Type.IMAGE_GENERATION: Generation.Type.IMAGE, AIModel.Type.VIDEO_GENERATION: Generation.Type.VIDEO}


def _make(request: HttpRequest, model: AIModel, fields: dict[str, Any]) -> Generation:
    tenant = tenant_of(request)
    caller = Principal("tenant", str(tenant.id))
    generation_request = GenerationRequest(
        type=_MADE[AIModel.Type(model.type)],
        model=str(model.id),
        prompt=fields["prompt"],
        resolution=fields["size"],
    )
    key = f"console-{fields['idempotency_key']}"
    verb: Any = generations.make_image if generation_request.type == Generation.Type.IMAGE else generations.queue_video
    made: Generation = verb(caller=caller, request=generation_request, idempotency_key=key, model_field="model").generation
    return made
