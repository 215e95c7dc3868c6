"""API keys in the console: make one, revoke one."""

import uuid
from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminSplitDateTimeWidget, UnfoldAdminTextInputWidget

from billing.admin.keys.forms import KeyLimitsForm
from billing.services.api_keys import create_key, revoke_own_key
from tenants import selectors
from tenants.models import Mode
from waule.console.forms import actor_of, form_page
from waule.console.tenant import Right, right_required, tenant_of
from waule.core.admin import admin_page, is_reauthenticated
from waule.core.admin.pages import ask_password
from waule.core.errors import NotFound


class KeyForm(KeyLimitsForm):
    name = forms.CharField(
        label=gettext_lazy("Name"), max_length=100, widget=UnfoldAdminTextInputWidget(attrs={"autofocus": True})
    )
    mode = forms.ChoiceField(label=gettext_lazy("Mode"), choices=Mode.choices, widget=UnfoldAdminSelectWidget)
    expires_at = forms.SplitDateTimeField(
        label=gettext_lazy("Expires"),
        required=False,
        widget=UnfoldAdminSplitDateTimeWidget,
        help_text=gettext_lazy("Empty: never."),
    )
    field_order = ("name", "mode", "scopes", "models", "expires_at")


@right_required(Right.MANAGE_KEYS)
def new_key(request: HttpRequest) -> HttpResponse:
    """Make a key, which is shown this once. A live one asks for the password again."""
    tenant = tenant_of(request)
    form = KeyForm(request.POST or None)
    form.offer_models(tenant)
    if (
        request.method == "POST"
        and form.is_valid()
        and form.cleaned_data["mode"] == Mode.LIVE
        and not is_reauthenticated(request)
    ):
        return ask_password(request)

    def act(fields: dict[str, Any]) -> HttpResponse:
        key, plaintext = create_key(
            tenant=tenant,
            giver=None,
            name=fields["name"],
            mode=fields["mode"],
            scopes=fields["scopes"],
            models=fields["models"],
            expires_at=fields["expires_at"],
            budgets=form.budgets,
            actor=actor_of(request),
        )
        back = reverse("console:tenants_apikey_changelist")
        return admin_page(
            request, "admin/key_once.html", title=_("Your new API key"), key=key, plaintext=plaintext, back=back, is_webhook=False
        )

    return form_page(
        request, form, act, title=_("New API key"), verb=_("Make the key"), back=reverse("console:tenants_apikey_changelist")
    )


@right_required(Right.MANAGE_KEYS)
def revoke_key(request: HttpRequest, key_id: uuid.UUID) -> HttpResponse:
    """End a key at once."""
    try:
        key = selectors.own_key(tenant_of(request).id, str(key_id))
    except NotFound:
        raise Http404 from None
    back = reverse("console:tenants_apikey_change", args=[key.pk])

    def act(_fields: dict[str, Any]) -> HttpResponse:
        revoke_own_key(key=key, giver=None, actor=actor_of(request))
        messages.success(request, _("The key is revoked. Calls with it are refused from now on."))
        return redirect(back)

    facts = [(_("Name"), key.name or "–"), (_("API key"), key.masked)]
    form = forms.Form(request.POST if request.method == "POST" else None)
    return form_page(request, form, act, title=_("Revoke an API key"), verb=_("Revoke"), back=back, facts=facts, is_danger=True)
