"""What the console's forms have in common: each calls one verb."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse

from waule.core.admin import admin_page, tell_form
from waule.core.errors import WauleError


def actor_of(request: HttpRequest) -> str:
    """Return who acts, as the ledger and the audit log name people at the console."""
    return f"console:{request.user.get_username()}"


def form_page(
    request: HttpRequest,
    form: forms.BaseForm,
    act: Callable[[dict[str, Any]], HttpResponse],
    *,
    title: Any,
    verb: Any,
    back: str,
    **context: Any,
) -> HttpResponse:
    """Show the form; on POST do `act` with what it says, and turn what the verb refuses into the form's errors."""
    if request.method == "POST" and form.is_valid():
        try:
            return act(form.cleaned_data)
        except WauleError as error:
            tell_form(form, error)
    return admin_page(request, "admin/page_form.html", title=title, form=form, verb=verb, back=back, **context)
