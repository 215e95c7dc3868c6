"""Pages of our own inside the admin, and the password that some of them ask for again."""

import time
from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin
from django.contrib.admin.sites import all_sites
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _

from waule.core.errors import WauleError

REAUTHENTICATION_SECONDS = 300
REAUTHENTICATED_AT = "reauthenticated_at"  # in the session: when the password was last confirmed
View = Callable[..., HttpResponse]


def actor_of(request: HttpRequest) -> str:
    """Return who acts, as the ledger and the audit log name staff."""
    return f"admin:{request.user.get_username()}"


def site_of(request: HttpRequest) -> admin.AdminSite:
    """Return the site whose page this request is for: the operators', or one that stands beside it."""
    here = request.resolver_match.namespaces if request.resolver_match is not None else []
    return next((site for site in all_sites if site.name in here), admin.site)


def site_address(request: HttpRequest, page: str, *args: Any) -> str:
    """Return the address of `page` on the site that this request is for."""
    return reverse(f"{site_of(request).name}:{page}", args=args)


def admin_page(
    request: HttpRequest, template: str, *, title: Any, model_admin: Any = None, status: int = 200, **context: Any
) -> TemplateResponse:
    """`template` in the frame of the admin. Never kept by caches: such pages carry forms, balances and secrets."""
    site = site_of(request)
    request.current_app = site.name
    around = {**site.each_context(request), "title": title, "subtitle": None}
    if model_admin is not None:
        around |= {"opts": model_admin.opts, "model_admin": model_admin}
    response = TemplateResponse(request, template, {**around, **context}, status=status)
    response["Cache-Control"] = "no-store"
    return response


def next_page(request: HttpRequest, default: str = "") -> str:
    """Where the reader was going, or came from; only ever a page of ours."""
    wanted = request.POST.get("next") or request.GET.get("next") or ""
    safe = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure())
    return wanted if safe else default or site_address(request, "index")


def tell_form(form: forms.BaseForm, error: WauleError) -> None:
    """What a verb refused, beside the fields that it named."""
    fields = error.details.get("fields", {})
    for name, problems in fields.items():
        form.add_error(name if name in form.fields else None, problems)
    if not fields:
        form.add_error(None, str(error))


def is_reauthenticated(request: HttpRequest) -> bool:
    """Return whether the password (and the second factor, where there is one) was given again within the last five minutes."""
    at = request.session.get(REAUTHENTICATED_AT, 0)
    return 0 <= time.time() - at < REAUTHENTICATION_SECONDS


def reauthentication_required(*permissions: Any) -> Any:
    """For views that cannot be undone: asks for the password first; nothing is done until it was given.

    With permissions (`@reauthentication_required("app.verb_model")`) whoever lacks one of them is told so instead. The
    bare form (`@reauthentication_required`) leaves that to the view.
    """
    if permissions and callable(permissions[0]):
        return reauthentication_required()(permissions[0])

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> HttpResponse:
            request = next(argument for argument in args if isinstance(argument, HttpRequest))
            if not request.user.has_perms(permissions):
                raise PermissionDenied
            return view(*args, **kwargs) if is_reauthenticated(request) else ask_password(request)

        return guarded

    return decorate


def ask_password(request: HttpRequest) -> HttpResponse:
    """Lead to the page that asks for the password, and from there back to this one."""
    return redirect(f"{site_address(request, 'confirm_password')}?{urlencode({'next': request.get_full_path()})}")


def unconfirmed_error() -> ValidationError:
    """For forms too large to be typed again: they stay as they are while the password is given in another tab."""
    link = format_html(
        '<a href="{}" target="_blank" class="waule-link">{}</a>', reverse("admin:confirm_password"), _("your password")
    )
    text = _("Nothing is saved yet. Confirm %(link)s (it opens in a new tab), then send this form again.")
    return ValidationError(format_html(text.replace("%(link)s", "{}"), link), code="password")


class UnconfirmedForm:
    """Put before a form's class: says that the password is needed first."""

    def clean(self) -> Any:
        cleaned = super().clean()  # type: ignore[misc]
        self.add_error(None, unconfirmed_error())  # type: ignore[attr-defined]
        return cleaned
