"""Models, upstream credentials and generations in the admin."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter
from unfold.decorators import display
from unfold.widgets import UnfoldAdminSplitDateTimeWidget, UnfoldAdminTextInputWidget

from aiservices import (
    admin_credentials,  # noqa: F401  (registers the pages of tokens and keys)
    admin_settle,
    endings,
)
from aiservices.models import AIModel, Generation
from aiservices.switches import MAX_REASON_LENGTH, switch_model
from billing.versions import catalog_edited
from storage.media import path_of
from tenants.admin_audited import AuditedAdmin
from tenants.selectors import owners_named
from waule.admin_kit import (
    HistoryAdmin,
    PageButton,
    SinceFilter,
    actor_of,
    admin_page,
    badge,
    badge_of_bool,
    flat,
    link,
    local_url,
    mode_badge,
    next_page,
    short_json,
    spaced_number,
    tell_form,
    thumbnail,
)
from waule.errors import WauleError
from waule.transactions import within

SWITCH_FIELDS = ("is_active", "disabled_reason", "disabled_until")
STATE_COLOURS = {
    "new": "",
    "queued": "primary",
    "running": "info",
    "succeeded": "success",
    "failed": "danger",
    "canceled": "default",
    "unknown": "warning",
}


class SwitchOffForm(forms.Form):
    reason = forms.CharField(
        label=_("Reason"),
        max_length=MAX_REASON_LENGTH,
        widget=UnfoldAdminTextInputWidget(attrs={"autofocus": True}),
        help_text=_("Whoever asks for the model is told this."),
    )
    until = forms.SplitDateTimeField(
        label=_("Off until"),
        required=False,
        widget=UnfoldAdminSplitDateTimeWidget,
        help_text=_("Empty: until it is switched on."),
    )


@admin.register(AIModel)
class AIModelAdmin(AuditedAdmin):
    is_large = False
    list_display = ("name", "model_id", "provider", "type_badge", "state", "disabled_reason")
    list_filter = ("provider", "type", "is_active")
    search_fields = ("name", "model_id", "provider")
    ordering = ("provider", "model_id")
    fieldsets = (
        (None, {"fields": (("name", "model_id"), ("provider", "type"), "gateway_endpoint", "options")}),
        (_("Switch"), {"fields": ("is_active", "disabled_reason", "disabled_until", "disabled_by")}),
    )
    readonly_fields = ("disabled_by",)

    @display(description=_("Type"), ordering="type")
    def type_badge(self, model: AIModel) -> Any:
        return badge(model.get_type_display(), "primary" if model.type == AIModel.Type.VIDEO_GENERATION else "info")

    @display(description=_("State"), ordering="is_active")
    def state(self, model: AIModel) -> Any:
        return badge_of_bool(model.is_on(timezone.now()), _("On"), _("Off"))

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: Any) -> None:
        wished = {name: getattr(obj, name) for name in SWITCH_FIELDS}
        if change:  # the switch is moved by its verb, after the rest is saved
            before = AIModel.objects.values(*SWITCH_FIELDS).get(pk=obj.pk)
            for name, value in before.items():
                setattr(obj, name, value)
        super().save_model(request, obj, form, change)
        catalog_edited.send(sender=None, author=actor_of(request), note=f"model {obj}")
        if change and set(form.changed_data) & set(SWITCH_FIELDS):
            off = not wished["is_active"]
            within(switch_model)(
                model=obj,
                is_active=not off,
                reason=wished["disabled_reason"] if off else "",
                until=wished["disabled_until"] if off else None,
                actor=actor_of(request),
                request=request,
            )

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.switch_view)
        pages = [("off", False), ("on", True)]
        switches = [
            path(f"<uuid:pk>/switch-{name}/", view, {"is_active": is_active}, name=f"aiservices_aimodel_switch_{name}")
            for name, is_active in pages
        ]
        return [*switches, *super().get_urls()]

    def page_buttons(self, request: HttpRequest, row: AIModel) -> list[PageButton]:
        if not self.has_change_permission(request):
            return []
        if row.is_on(timezone.now()):
            return [PageButton(_("Switch off"), reverse("admin:aiservices_aimodel_switch_off", args=[row.pk]), "toggle_off")]
        return [PageButton(_("Switch on"), reverse("admin:aiservices_aimodel_switch_on", args=[row.pk]), "toggle_on")]

    def switch_view(self, request: HttpRequest, pk: UUID, is_active: bool) -> HttpResponse:
        """Asks for a reason and an end where it switches off; a POST does it."""
        if not self.has_change_permission(request):
            raise PermissionDenied
        model = get_object_or_404(AIModel, pk=pk)
        back = next_page(request, reverse("admin:aiservices_aimodel_change", args=[pk]))
        form = (forms.Form if is_active else SwitchOffForm)(request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            try:
                switch_model(model=model, is_active=is_active, **form.cleaned_data, actor=actor_of(request), request=request)
            except WauleError as error:
                tell_form(form, error)
            else:
                said = _("%(model)s is on.") if is_active else _("%(model)s is off.")
                messages.success(request, said % {"model": model})
                return redirect(back)
        verb = _("Switch on") if is_active else _("Switch off")
        return admin_page(
            request,
            "admin/page_form.html",
            title=f"{verb}: {model}",
            form=form,
            verb=verb,
            is_danger=not is_active,
            back=back,
            hidden=[("next", back)],
        )

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # charges and generations keep naming it; switch it off instead


@admin.register(Generation)
class GenerationAdmin(HistoryAdmin):
    list_display = ("picture", "shown_prompt", "owner", "model", "state_badge", "shown_credits", "created_at")
    list_display_links = ("picture", "shown_prompt")
    list_filter = (
        SinceFilter,
        "type",
        ("state", ChoicesDropdownFilter),
        ("model", AutocompleteSelectFilter),
        ("tenant", AutocompleteSelectFilter),
        ("user", AutocompleteSelectFilter),
    )
    list_select_related = ("tenant", "user", "model")
    exact_search = ("id", "charge__id", "hold__id", "tenant__id", "user__id")
    search_help_text = _("Id, charge, hold, tenant's name or user name")
    request_fields = ("prompt", ("owner", "api_key_link", "mode_badge"), ("model_link", "type", "id"), "shown_parameters")
    outcome_fields = (
        ("state_badge", "progress", "shown_flags"),
        ("shown_credits", "charge_link", "hold_link"),
        ("error_code", "error_message"),
        ("created_at", "started_at", "completed_at"),
    )
    fieldsets = (
        (None, {"fields": ("results",)}),
        (_("Request"), {"fields": request_fields}),
        (_("Outcome"), {"fields": outcome_fields}),
    )
    readonly_fields = ("results", *flat(request_fields), *flat(outcome_fields))

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(result_view)
        settle = self.admin_site.admin_view(admin_settle.settle_view)
        return [
            path("<uuid:generation_id>/result/<int:number>/", view, name="aiservices_generation_result"),
            path("<uuid:generation_id>/settle/<str:how>/", settle, name="aiservices_generation_settle"),
            *super().get_urls(),
        ]

    def page_buttons(self, request: HttpRequest, row: Generation) -> list[PageButton]:
        return admin_settle.settle_buttons(request, row)

    def search_conditions(self, term: str) -> list[Q]:
        tenants, users = owners_named(term)
        return [*super().search_conditions(term), Q(tenant__in=tenants), Q(user__in=users)]

    @display(description="")
    def picture(self, generation: Generation) -> Any:
        first = next(iter(urls_of(generation)), "")
        return thumbnail(first, is_video=generation.type == Generation.Type.VIDEO)

    @display(description=_("Prompt"))
    def shown_prompt(self, generation: Generation) -> Any:
        return format_html('<span class="waule-prompt" title="{0}">{0}</span>', generation.prompt[:300])

    @display(description=_("Owner"))
    def owner(self, generation: Generation) -> Any:
        return link(generation.tenant or generation.user)

    @display(description=_("State"))
    def state_badge(self, generation: Generation) -> Any:
        return badge(generation.get_state_display(), STATE_COLOURS[generation.state])

    @display(description=_("Mode"))
    def mode_badge(self, generation: Generation) -> Any:
        return mode_badge(generation.mode)

    @display(description=_("Credits"))
    def shown_credits(self, generation: Generation) -> Any:
        return _("free") if generation.is_free else spaced_number(generation.credits_charged)

    @display(description=_("Result"))
    def results(self, generation: Generation) -> Any:
        """The pictures as large as the page allows; what cannot be shown safely is named."""
        shown = [{"address": local_url(url), "url": url} for url in urls_of(generation)]
        is_video = generation.type == Generation.Type.VIDEO
        return render_to_string("admin/generation_results.html", {"results": shown, "is_video": is_video})

    @display(description=_("Model"))
    def model_link(self, generation: Generation) -> Any:
        return link(generation.model)

    @display(description=_("API key"))
    def api_key_link(self, generation: Generation) -> Any:
        return link(generation.api_key)

    @display(description=_("Parameters"))
    def shown_parameters(self, generation: Generation) -> Any:
        return short_json(generation.parameters)

    @display(description=_("Flags"))
    def shown_flags(self, generation: Generation) -> str:
        return ", ".join(str(flag) for flag in generation.flags) or "–"

    @display(description=_("Charge"))
    def charge_link(self, generation: Generation) -> Any:
        return link(generation.charge)

    @display(description=_("Hold"))
    def hold_link(self, generation: Generation) -> Any:
        return link(generation.hold)


def urls_of(generation: Generation) -> list[str]:
    """The addresses of its results for pages of ours, whatever a provider may have made of the list.

    What lies in a bucket may have to be signed: that is done when the page asks for it (`result_view`).
    """
    outputs = generation.outputs if isinstance(generation.outputs, list) else []
    shown = [each for each in outputs if isinstance(each, dict) and isinstance(each.get("url"), str)]
    return [
        each["url"]
        if "objectKey" not in each or path_of(each["objectKey"]).is_file()
        else reverse("admin:aiservices_generation_result", args=[generation.pk, number])
        for number, each in enumerate(shown)
    ]


def result_view(request: HttpRequest, generation_id: UUID, number: int) -> HttpResponse:
    """Leads to where a result lies now."""
    if not request.user.has_perm("aiservices.view_generation"):
        raise PermissionDenied
    generation = get_object_or_404(Generation, id=generation_id)
    (urls,) = endings.urls_of(generation)
    if number >= len(urls):
        raise Http404
    return redirect(urls[number])
