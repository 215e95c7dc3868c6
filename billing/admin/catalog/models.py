"""Models in the admin: the catalog's rows, and their switches."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display
from unfold.widgets import UnfoldAdminSplitDateTimeWidget, UnfoldAdminTextInputWidget

from billing.catalog.availability import MAX_REASON_LENGTH, SWITCH_FIELDS, switch_model
from billing.catalog.file.versions import record as record_version
from billing.catalog.models import AIModel
from tenants.admin.audited import AuditedAdmin
from tenants.admin.tabs import add_models
from tenants.admin.words import actor_in_words, code_in_words
from waule.core.admin import PageButton, actor_of, admin_page, badge, badge_of_bool, next_page, tell_form
from waule.core.db.transactions import in_current_transaction
from waule.core.errors import WauleError


class SwitchOffForm(forms.Form):
    reason = forms.CharField(
        label=_("Reason"),
        max_length=MAX_REASON_LENGTH,
        widget=UnfoldAdminTextInputWidget(attrs={"autofocus": True}),
        help_text=_("Callers who ask for the model see this."),
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
    list_display = ("name", "model_id", "provider", "type_badge", "state", "shown_reason")
    list_filter = ("provider", "type", "is_active")
    search_fields = ("name", "model_id", "provider")
    ordering = ("provider", "model_id")
    fieldsets = (
        (None, {"fields": (("name", "model_id"), ("provider", "type"), "gateway_endpoint", "options")}),
        (_("Switch"), {"fields": ("is_active", "disabled_reason", "disabled_until", "shown_disabled_by")}),
        (_("End"), {"fields": (("retires_at", "replaced_by"), "serve_replacement")}),
    )
    readonly_fields = ("shown_disabled_by",)

    @display(description=_("Type"), ordering="type")
    def type_badge(self, model: AIModel) -> Any:
        return badge(model.get_type_display(), "primary" if model.type == AIModel.Type.VIDEO_GENERATION else "info")

    @display(description=_("State"), ordering="is_active")
    def state(self, model: AIModel) -> Any:
        return badge_of_bool(model.is_on(timezone.now()), _("On"), _("Off"))

    @display(description=_("why off"), ordering="disabled_reason")
    def shown_reason(self, model: AIModel) -> str:
        return code_in_words(model.disabled_reason) or "–"

    @display(description=_("switched off by"))
    def shown_disabled_by(self, model: AIModel) -> str:
        return actor_in_words(model.disabled_by)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: Any) -> None:
        requested = {name: getattr(obj, name) for name in SWITCH_FIELDS}
        if change:  # the switch is moved by its verb, after the rest is saved
            before = AIModel.objects.values(*SWITCH_FIELDS).get(pk=obj.pk)
            for name, value in before.items():
                setattr(obj, name, value)
        super().save_model(request, obj, form, change)
        record_version(author=actor_of(request), note=f"model {obj}")
        if change and set(form.changed_data) & set(SWITCH_FIELDS):
            off = not requested["is_active"]
            in_current_transaction(switch_model)(
                model=obj,
                is_active=not off,
                reason=requested["disabled_reason"] if off else "",
                until=requested["disabled_until"] if off else None,
                actor=actor_of(request),
                request=request,
            )

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.switch_view)
        pages = [("off", False), ("on", True)]
        switches = [
            path(f"<uuid:pk>/switch-{name}/", view, {"is_active": is_active}, name=f"billing_aimodel_switch_{name}")
            for name, is_active in pages
        ]
        return [*switches, *super().get_urls()]

    def page_buttons(self, request: HttpRequest, row: AIModel) -> list[PageButton]:
        if not self.has_change_permission(request):
            return []
        if row.is_on(timezone.now()):
            return [PageButton(_("Switch off"), reverse("admin:billing_aimodel_switch_off", args=[row.pk]), "toggle_off")]
        return [PageButton(_("Switch on"), reverse("admin:billing_aimodel_switch_on", args=[row.pk]), "toggle_on")]

    def switch_view(self, request: HttpRequest, pk: UUID, is_active: bool) -> HttpResponse:
        """Ask for a reason and an end where it switches off; a POST does it."""
        if not self.has_change_permission(request):
            raise PermissionDenied
        model = get_object_or_404(AIModel, pk=pk)
        back = next_page(request, reverse("admin:billing_aimodel_change", args=[pk]))
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


add_models(lambda: AIModel._default_manager.values_list("id", "model_id", "name", "provider"))
