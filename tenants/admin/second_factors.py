"""The page on which somebody's second factor is removed by whoever outranks them."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminTextareaWidget

from tenants import staff_rights
from tenants.login import second_factor
from tenants.models import User
from waule.core.admin import actor_of, admin_page, reauthentication_required

MAX_REASON_LENGTH = 500


class ResetForm(forms.Form):
    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        max_length=MAX_REASON_LENGTH,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text=gettext_lazy("How you know that it is this person who asks. Stays in the audit log."),
    )


def reset_view(request: HttpRequest, user_id: UUID) -> HttpResponse:
    """Who may not is told so before the password is asked for."""
    user = get_object_or_404(User, pk=user_id)
    if not staff_rights.may_reset_second_factor(request.user, user):
        raise PermissionDenied
    return _reset(request, user)


@reauthentication_required
def _reset(request: HttpRequest, user: User) -> HttpResponse:
    back = reverse("admin:tenants_user_change", args=[user.pk])
    if not second_factor.is_set_up(user):
        messages.warning(request, _("There is no second factor to remove."))
        return redirect(back)
    form = ResetForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        second_factor.reset(user=user, actor=actor_of(request), reason=form.cleaned_data["reason"])
        messages.success(
            request, _("The second factor is removed. The password alone opens the admin until a new one is set up.")
        )
        return redirect(back)
    facts: list[tuple[Any, Any]] = [(_("User"), user.get_username()), (_("E-mail"), user.email or "–")]
    return admin_page(
        request,
        "admin/page_form.html",
        title=_("Remove the second factor"),
        form=form,
        facts=facts,
        verb=_("Remove"),
        back=back,
        is_danger=True,
    )
