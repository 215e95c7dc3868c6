"""API keys in the admin: made, replaced and revoked on pages of their own. A key is shown on the page that answers, once."""

import secrets
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
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminSplitDateTimeWidget, UnfoldAdminTextInputWidget

from tenants import services
from tenants.models import ApiKey, Mode, Tenant
from waule.admin_kit import actor_of, admin_page, reauthentication_required
from waule.errors import WauleError
from waule.ids import parse_uuid

FORMS_OPEN = "api_key_forms"  # in the session: forms that were shown and not yet sent
MAX_FORMS_OPEN = 20
GRACE = (
    (0, gettext_lazy("at once")),
    (3600, gettext_lazy("in an hour")),
    (86_400, gettext_lazy("in a day")),
    (7 * 86_400, gettext_lazy("in a week")),
)


class KeyForm(forms.Form):
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


class RevokeForm(forms.Form):
    grace = forms.TypedChoiceField(
        label=gettext_lazy("Ends"), coerce=int, choices=GRACE, initial=0, widget=UnfoldAdminSelectWidget
    )
    reason = forms.CharField(label=gettext_lazy("Reason"), max_length=500, required=False, widget=UnfoldAdminTextInputWidget)


class RotateForm(RevokeForm):
    """The new key takes over name, mode, webhook and tenant."""

    grace = forms.TypedChoiceField(
        label=gettext_lazy("The old key ends"), coerce=int, choices=GRACE, initial=86_400, widget=UnfoldAdminSelectWidget
    )
    once = forms.CharField(widget=forms.HiddenInput, max_length=64)


def _open_form(request: HttpRequest) -> str:
    """A mark for a form that may be sent once: a page that is sent again must not make a second key."""
    mark = secrets.token_urlsafe(12)
    request.session[FORMS_OPEN] = [*request.session.get(FORMS_OPEN, []), mark][-MAX_FORMS_OPEN:]
    return mark


def _is_first_sending(request: HttpRequest, mark: str) -> bool:
    marks = request.session.get(FORMS_OPEN, [])
    request.session[FORMS_OPEN] = [each for each in marks if each != mark]
    return mark in marks


def _sent_before(form: forms.Form) -> None:
    form.add_error(None, _("This form was sent already, and its key was shown then. Open it anew to make another key."))


def add_view(request: HttpRequest) -> HttpResponse:
    """Makes a key and shows it."""
    if not request.user.has_perm("tenants.add_apikey"):
        raise PermissionDenied
    tenant_id = parse_uuid(request.POST.get("tenant") or request.GET.get("tenant") or "")
    tenant = Tenant.objects.filter(pk=tenant_id).first() if tenant_id else None
    if tenant is None:
        messages.info(request, _("Choose the tenant first; its page makes keys."))
        return redirect("admin:tenants_tenant_changelist")
    form = KeyForm(request.POST or None, initial={"tenant": tenant.pk})
    form.fields["tenant"].queryset = Tenant.objects.filter(pk=tenant.pk)  # type: ignore[attr-defined]
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        if not _is_first_sending(request, given["once"]):
            _sent_before(form)
        else:
            try:
                key, plaintext = services.create_api_key(
                    tenant=tenant, mode=given["mode"], name=given["name"], expires_at=given["expires_at"], actor=actor_of(request)
                )
                return _show(request, key, plaintext)
            except WauleError as error:
                form.add_error(None, str(error))
    return _form_page(
        request, form, title=_("New API key of %(tenant)s") % {"tenant": tenant}, verb=_("Make the key"), tenant=tenant
    )


@reauthentication_required
def rotate_view(request: HttpRequest, key_id: UUID) -> HttpResponse:
    """Makes the successor of a key, shows it, and ends the old one after a grace period."""
    key = _key(request, key_id, "tenants.add_apikey", "tenants.change_apikey")
    form = RotateForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        if not _is_first_sending(request, given["once"]):
            _sent_before(form)
        else:
            actor = actor_of(request)
            made, plaintext = services.create_api_key(
                tenant=key.tenant, mode=key.mode, name=key.name, successor_of=key, actor=actor
            )
            reason = given["reason"] or _("replaced by %(key)s") % {"key": made.masked}
            services.revoke_api_key(key_id=str(key.pk), grace_seconds=given["grace"], reason=reason, actor=actor)
            return _show(request, made, plaintext)
    return _form_page(request, form, title=_("Replace %(key)s") % {"key": key}, verb=_("Replace"), tenant=key.tenant)


def revoke_view(request: HttpRequest, key_id: UUID) -> HttpResponse:
    """Ends a key, at once or after a grace period."""
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
