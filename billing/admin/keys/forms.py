"""API keys in the admin: made, changed, replaced and revoked on pages of their own. A key is shown once, when it is made."""

import secrets
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminSplitDateTimeWidget,
    UnfoldAdminTextInputWidget,
)

from billing.budgets.models import Budget
from billing.catalog.current import current_catalog
from billing.catalog.models import AIModel
from billing.ledger.models import MAX_CREDITS
from billing.services.api_keys import KeyBudget, budgets_of_keys, change_key, create_key, replace_key, version_of_limits
from tenants import services
from tenants.models import ApiKey, Mode, Scope, Tenant
from waule.core.admin import actor_of, admin_page, reauthentication_required, tell_form
from waule.core.errors import WauleError
from waule.core.ids import parse_uuid

FORMS_OPEN = "api_key_forms"  # in the session: forms that were shown and not yet sent
MAX_FORMS_OPEN = 20
GRACE = (
    (0, gettext_lazy("Immediately")),
    (3600, gettext_lazy("In an hour")),
    (86_400, gettext_lazy("In a day")),
    (7 * 86_400, gettext_lazy("In a week")),
)


def budget_field(label: Any) -> forms.IntegerField:
    return forms.IntegerField(
        label=label,
        required=False,
        min_value=0,
        max_value=MAX_CREDITS,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text=gettext_lazy("Empty: no limit of its own."),
    )


def _models_of(tenant: Tenant) -> list[AIModel]:
    """Return the models of today's catalog that the tenant may use."""
    catalog = current_catalog()
    rows = AIModel.objects.filter(id__in=[model.id for model in catalog.models.values() if tenant.may_use(model)])
    return list(rows.order_by("name", "model_id"))


def models_in_words(key: ApiKey) -> list[str]:
    """Return the key's models by their names; what names no model as it is."""
    rows = AIModel.objects.filter(id__in=[entry for entry in key.allowed_models if parse_uuid(entry)])
    names = {str(row.id): row.model_id for row in rows}
    return [names.get(entry, entry) for entry in key.allowed_models]


class KeyLimitsForm(forms.Form):
    """What a key may do: scopes, models, and a budget for each calendar period."""

    scopes = forms.MultipleChoiceField(
        label=gettext_lazy("Scopes"),
        choices=Scope.choices,
        initial=[Scope.READ, Scope.GENERATE],
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
    )
    models = forms.MultipleChoiceField(
        label=gettext_lazy("Models"),
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text=gettext_lazy("None chosen: all of the tenant's."),
    )
    budget_day = budget_field(gettext_lazy("Budget in credits for each day"))
    budget_week = budget_field(gettext_lazy("Budget in credits for each week"))
    budget_month = budget_field(gettext_lazy("Budget in credits for each month"))

    def offer_models(self, tenant: Tenant, has: Sequence[str] = ()) -> None:
        """Let models of the tenant's be chosen, and entries that the key `has` already, whatever became of them."""
        offered: dict[str, str] = {}
        for each in _models_of(tenant):
            entry = next((entry for entry in (str(each.id), each.model_id) if entry in has), str(each.id))
            offered.setdefault(entry, f"{each.name} · {each.model_id}")
        models: Any = self.fields["models"]
        models.choices = (offered | {entry: entry for entry in has if entry not in offered}).items()

    @property
    def budgets(self) -> list[KeyBudget]:
        given = {period: self.cleaned_data[f"budget_{period}"] for period in Budget.Period.values}
        return [KeyBudget(period, limit) for period, limit in given.items() if limit is not None]


class KeyForm(KeyLimitsForm):
    tenant = forms.ModelChoiceField(Tenant.objects.none(), label=gettext_lazy("Tenant"), widget=forms.HiddenInput)
    mode = forms.ChoiceField(
        label=gettext_lazy("Mode"),
        choices=Mode.choices,
        widget=UnfoldAdminSelectWidget,
        help_text=gettext_lazy("A test key works with the sandbox and with test credits only."),
    )
    name = forms.CharField(label=gettext_lazy("Name"), max_length=100, required=False, widget=UnfoldAdminTextInputWidget)
    expires_at = forms.SplitDateTimeField(
        label=gettext_lazy("Expires"),
        required=False,
        widget=UnfoldAdminSplitDateTimeWidget,
        help_text=gettext_lazy("Empty: it never expires."),
    )
    once = forms.CharField(widget=forms.HiddenInput, max_length=64)
    field_order = ("tenant", "mode", "name", "expires_at")


class ChangeForm(KeyLimitsForm):
    version = forms.CharField(widget=forms.HiddenInput, max_length=64)


class RevokeForm(forms.Form):
    grace = forms.TypedChoiceField(
        label=gettext_lazy("Ends"), coerce=int, choices=GRACE, initial=0, widget=UnfoldAdminSelectWidget
    )
    reason = forms.CharField(label=gettext_lazy("Reason"), max_length=500, required=False, widget=UnfoldAdminTextInputWidget)


class RotateForm(RevokeForm):
    """The new key takes over name, mode, limits, webhook and tenant."""

    grace = forms.TypedChoiceField(
        label=gettext_lazy("The old key ends"), coerce=int, choices=GRACE, initial=86_400, widget=UnfoldAdminSelectWidget
    )
    once = forms.CharField(widget=forms.HiddenInput, max_length=64)


def _open_form(request: HttpRequest) -> str:
    """Return a mark for a form that may be sent once: a page that is sent again must not make a second key."""
    mark = secrets.token_urlsafe(12)
    request.session[FORMS_OPEN] = [*request.session.get(FORMS_OPEN, []), mark][-MAX_FORMS_OPEN:]
    return mark


def _is_first_sending(request: HttpRequest, mark: str) -> bool:
    marks = request.session.get(FORMS_OPEN, [])
    request.session[FORMS_OPEN] = [each for each in marks if each != mark]
    return mark in marks


def _sent_before(form: forms.Form) -> None:
    form.add_error(None, _("This form was sent already, and its key was shown then. Open it anew to make another key."))


@reauthentication_required("tenants.add_apikey")
def add_view(request: HttpRequest) -> HttpResponse:
    """Make a key and show it."""
    tenant_id = parse_uuid(request.POST.get("tenant") or request.GET.get("tenant") or "")
    tenant = Tenant.objects.filter(pk=tenant_id).first() if tenant_id else None
    if tenant is None:
        messages.info(request, _("Choose the tenant first; its page makes keys."))
        return redirect("admin:tenants_tenant_changelist")
    form = KeyForm(request.POST or None, initial={"tenant": tenant.pk})
    form.fields["tenant"].queryset = Tenant.objects.filter(pk=tenant.pk)  # type: ignore[attr-defined]
    form.offer_models(tenant)
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        if not _is_first_sending(request, given["once"]):
            _sent_before(form)
        else:
            try:
                key, plaintext = create_key(
                    tenant=tenant,
                    giver=None,
                    **{name: given[name] for name in ("mode", "name", "expires_at", "scopes", "models")},
                    budgets=form.budgets,
                    actor=actor_of(request),
                )
                return _show(request, key, plaintext)
            except WauleError as error:
                tell_form(form, error)
    return _form_page(
        request, form, title=_("New API key of %(tenant)s") % {"tenant": tenant}, verb=_("Make the key"), tenant=tenant
    )


@reauthentication_required("tenants.add_apikey", "tenants.change_apikey")
def rotate_view(request: HttpRequest, key_id: UUID) -> HttpResponse:
    """Make the successor of a key, show it, and end the old one after a grace period."""
    key = _key(request, key_id, "tenants.add_apikey", "tenants.change_apikey")
    form = RotateForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        if not _is_first_sending(request, given["once"]):
            _sent_before(form)
        else:
            made, plaintext = replace_key(key=key, grace_seconds=given["grace"], reason=given["reason"], actor=actor_of(request))
            return _show(request, made, plaintext)
    return _form_page(request, form, title=_("Replace %(key)s") % {"key": key}, verb=_("Replace"), tenant=key.tenant)


def change_view(request: HttpRequest, key_id: UUID) -> HttpResponse:
    """Give a key other scopes, models and budgets."""
    key = _key(request, key_id, "tenants.change_apikey")
    initial: dict[str, Any] = {f"budget_{each.period}": each.limit_credits for each in budgets_of_keys([key])[key.id]}
    initial |= {"scopes": key.scopes, "models": key.allowed_models, "version": version_of_limits(key)}
    form = ChangeForm(request.POST or None, initial=initial)
    form.offer_models(key.tenant, key.allowed_models)
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            change_key(
                key_id=key.id,
                scopes=given["scopes"],
                models=given["models"],
                budgets=form.budgets,
                version=given["version"],
                actor=actor_of(request),
            )
        except WauleError as error:
            tell_form(form, error)
        else:
            messages.success(request, _("The key is changed."))
            return redirect("admin:tenants_apikey_change", key.pk)
    return _form_page(request, form, title=_("Change %(key)s") % {"key": key}, verb=_("Save"), tenant=key.tenant)


def revoke_view(request: HttpRequest, key_id: UUID) -> HttpResponse:
    """End a key, at once or after a grace period."""
    key = _key(request, key_id, "tenants.change_apikey")
    form = RevokeForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        services.revoke_api_key(key_id=str(key.pk), grace_seconds=given["grace"], reason=given["reason"], actor=actor_of(request))
        messages.success(request, _("The key is revoked."))
        return redirect("admin:tenants_apikey_change", key.pk)
    return _form_page(
        request, form, title=_("Revoke %(key)s") % {"key": key}, verb=_("Revoke"), tenant=key.tenant, is_danger=True
    )


def _key(request: HttpRequest, key_id: UUID, *permissions: str) -> ApiKey:
    if not request.user.has_perms(permissions):
        raise PermissionDenied
    key = get_object_or_404(ApiKey.objects.select_related("tenant"), pk=key_id)
    if not key.is_valid(timezone.now()):
        messages.warning(request, _("This key has ended already."))
    return key


def _form_page(
    request: HttpRequest, form: forms.Form, *, title: str, verb: str, tenant: Tenant, is_danger: bool = False
) -> HttpResponse:
    hidden: list[tuple[str, Any]] = [("once", _open_form(request))] if "once" in form.fields else []
    return admin_page(
        request,
        "admin/page_form.html",
        title=title,
        form=form,
        verb=verb,
        is_danger=is_danger,
        hidden=[*hidden, ("tenant", tenant.pk)],
        back=reverse("admin:tenants_tenant_change", args=[tenant.pk]),
    )


def _show(request: HttpRequest, key: ApiKey, plaintext: str) -> HttpResponse:
    back = reverse("admin:tenants_apikey_change", args=[key.pk])
    return admin_page(request, "admin/key_once.html", title=_("Your new API key"), key=key, plaintext=plaintext, back=back)
