"""The page on which a stored secret is shown: to those who might replace it, after their password, for a reason."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import FieldDoesNotExist, PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminTextInputWidget

from tenants import audit
from waule.core.admin import actor_of, admin_page, reauthentication_required
from waule.core.crypto.encryption import EncryptedTextField, SecretUnreadable, reveal

MAX_REASON_LENGTH = 500


class ReasonForm(forms.Form):
    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        max_length=MAX_REASON_LENGTH,
        widget=UnfoldAdminTextInputWidget(attrs={"autofocus": True}),
        help_text=gettext_lazy("Stays in the audit log."),
    )


def reveal_view(request: HttpRequest, app: str, model: str, row_id: str, field: str) -> HttpResponse:
    """Ask why; a POST shows the secret of one field of one row, and notes that it was shown."""
    if not request.user.has_perm(f"{app}.change_{model}"):
        raise PermissionDenied
    return _reveal(request, app, model, row_id, field)


@reauthentication_required()
def _reveal(request: HttpRequest, app: str, model: str, row_id: str, field: str) -> HttpResponse:
    row, column = _find(request, app, model, row_id, field)
    back = reverse(f"admin:{app}_{model}_change", args=[row.pk])
    title = _("Reveal: %(name)s") % {"name": column.verbose_name}
    form = ReasonForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            plaintext = reveal(getattr(row, field))
        except SecretUnreadable as error:
            form.add_error(None, str(error))
        else:
            audit.record(
                actor=actor_of(request),
                action="secret.reveal",
                target=row,
                reason=form.cleaned_data["reason"],
                after={"field": field},
                request=request,
            )
            return admin_page(request, "admin/revealed.html", title=title, row=row, plaintext=plaintext, back=back)
    facts = [(row._meta.verbose_name, str(row)), (column.verbose_name, str(getattr(row, field)))]
    return admin_page(request, "admin/page_form.html", title=title, form=form, facts=facts, verb=_("Reveal"), back=back)


def _find(request: HttpRequest, app: str, model: str, row_id: str, field: str) -> tuple[Any, Any]:
    """Return the row, where the admin has a page for it, and its encrypted field. Raises Http404."""
    page = next((page for cls, page in admin.site._registry.items() if cls._meta.label_lower == f"{app}.{model}"), None)
    if page is None:
        raise Http404
    row = page.get_object(request, row_id)
    try:
        column = page.opts.get_field(field)
    except FieldDoesNotExist:
        raise Http404 from None
    if row is None or not isinstance(column, EncryptedTextField) or not getattr(row, field):
        raise Http404
    return row, column
