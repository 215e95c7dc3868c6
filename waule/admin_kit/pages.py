"""Pages of our own inside the admin, and the password that some of them ask for again."""

import time
from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from waule.errors import WauleError

REAUTHENTICATION_SECONDS = 600
REAUTHENTICATED_AT = "reauthenticated_at"  # in the session: when the password was last confirmed
View = Callable[..., HttpResponse]


def actor_of(request: HttpRequest) -> str:
    """Who acts, as the ledger and the audit log name staff."""
    return f"admin:{request.user.get_username()}"


def admin_page(
    request: HttpRequest, template: str, *, title: Any, model_admin: Any = None, status: int = 200, **context: Any
) -> TemplateResponse:
    """`template` in the frame of the admin. Never kept by caches: such pages carry forms, balances and secrets."""
    request.current_app = admin.site.name
    around = {**admin.site.each_context(request), "title": title, "subtitle": None}
    if model_admin is not None:
        around |= {"opts": model_admin.opts, "model_admin": model_admin}
    response = TemplateResponse(request, template, {**around, **context}, status=status)
    response["Cache-Control"] = "no-store"
    return response


def next_page(request: HttpRequest, default: str = "") -> str:
    """Where the reader was going, or came from; only ever a page of ours."""
    wanted = request.POST.get("next") or request.GET.get("next") or ""
    safe = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure())
    return wanted if safe else default or reverse("admin:index")


def tell_form(form: forms.Form, error: WauleError) -> None:
    """What a verb refused, beside the fields that it named."""
    fields = error.details.get("fields", {})
    for name, problems in fields.items():
        form.add_error(name if name in form.fields else None, problems)
    if not fields:
        form.add_error(None, str(error))


def is_reauthenticated(request: HttpRequest) -> bool:
    """Whether the password was typed again within the last ten minutes."""
    at = request.session.get(REAUTHENTICATED_AT, 0)
    return 0 <= time.time() - at < REAUTHENTICATION_SECONDS


def reauthentication_required(view: View) -> View:
    """Sends to the password page first; nothing is done until it was passed."""

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> HttpResponse:
        request = next(argument for argument in args if isinstance(argument, HttpRequest))
        if is_reauthenticated(request):
            return view(*args, **kwargs)
        query = urlencode({"next": request.get_full_path()})
        return redirect(f"{reverse('admin:confirm_password')}?{query}")

    return guarded
