"""The doors of the admin: the second factor, and the password that is asked for again."""

import time
from base64 import b32encode
from binascii import unhexlify
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import authenticate
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldAdminTextInputWidget

from tenants import audit
from tenants.login import second_factor
from tenants.login.logins import note_failure
from tenants.models import AuthenticatorDevice
from waule.core.admin import REAUTHENTICATED_AT, actor_of, admin_page, is_reauthenticated, next_page, site_address

_CODE = {"inputmode": "numeric", "autocomplete": "one-time-code", "autofocus": True, "pattern": "[0-9 ]*"}


class CodeForm(forms.Form):
    code = forms.CharField(label=gettext_lazy("Code"), max_length=10, widget=UnfoldAdminTextInputWidget(attrs=_CODE))

    def clean_code(self) -> str:
        return str(self.cleaned_data["code"]).replace(" ", "")


class PasswordForm(forms.Form):
    """The password; and a code too, of those who have a second factor."""

    password = forms.CharField(
        label=gettext_lazy("Password"),
        max_length=4096,
        strip=False,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "current-password", "autofocus": True}),
    )


def _door(request: HttpRequest, template: str, title: str, form: forms.Form, **context: Any) -> HttpResponse:
    return admin_page(request, template, title=title, form=form, next=next_page(request), **context)


def ask_code(request: HttpRequest) -> HttpResponse:
    """The second page of the login, for those who have set up a second factor."""
    if second_factor.is_passed(request) or not second_factor.devices_of(request):
        return redirect(next_page(request))
    form = CodeForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        if second_factor.check(request, form.cleaned_data["code"]):
            return redirect(next_page(request))
        note_failure(request.user.get_username(), what="second factor", request=request)
        form.add_error("code", _("This code is not right. After several wrong ones, wait a little."))
    return _door(request, "admin/second_factor.html", _("Second factor"), form)


def set_up(request: HttpRequest) -> HttpResponse:
    """Where a second factor is set up; one that is there is replaced only by who has just given it and the password."""
    has_one = bool(second_factor.devices_of(request))
    if has_one and not second_factor.is_passed(request):
        return redirect(site_address(request, "second_factor"))
    if has_one and not is_reauthenticated(request):
        return redirect(f"{site_address(request, 'confirm_password')}?next={site_address(request, 'second_factor_setup')}")
    key = second_factor.candidate(request)
    offered = AuthenticatorDevice(user=request.user, key=key)
    form = CodeForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        if second_factor.set_up(request, form.cleaned_data["code"]):
            audit.record(actor=actor_of(request), action="second_factor.set_up", target=offered.user)
            messages.success(request, _("The second factor is set up. From now on it is asked for after the password."))
            return redirect(next_page(request))
        form.add_error("code", _("This code is not right. Check the clock of your phone, and use the newest code."))
    return _door(
        request,
        "admin/second_factor_setup.html",
        _("Set up a second factor"),
        form,
        qr_code=second_factor.qr_code(second_factor.address_of(offered)),
        key=b32encode(unhexlify(key)).decode(),
        has_one=has_one,
        is_required=settings.ADMIN_REQUIRE_SECOND_FACTOR,
    )


def confirm_password(request: HttpRequest) -> HttpResponse:
    """The password and the second factor again, before what cannot be undone; it then holds for five minutes."""
    form = PasswordForm(request.POST or None)
    if second_factor.devices_of(request):
        form.fields["code"] = CodeForm.base_fields["code"]
    if request.method == "POST" and form.is_valid():
        # Through all backends: wrong passwords here count for the lockout as those of the login do.
        user = authenticate(request, username=request.user.get_username(), password=form.cleaned_data["password"])
        if user is None or user.pk != request.user.pk:
            form.add_error("password", _("This is not your password."))
        elif "code" in form.fields and not second_factor.is_code(request.user, form.cleaned_data["code"].replace(" ", "")):
            note_failure(request.user.get_username(), what="second factor", request=request)
            form.add_error("code", _("This code is not right, or was used before: wait for the next one."))
        else:
            request.session[REAUTHENTICATED_AT] = time.time()
            return redirect(next_page(request))
    return _door(request, "admin/confirm_password.html", _("Confirm your password"), form)
