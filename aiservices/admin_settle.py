"""The page on which staff end an outcome that nobody knows: it worked and is charged, or it did not and is given back."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminTextareaWidget

from aiservices.endings import credits_held
from aiservices.errors import TaskOver
from aiservices.generations import settle_unknown
from aiservices.models import Generation
from billing.models import MAX_REASON_LENGTH
from waule.admin_kit import PageButton, actor_of, admin_page, spaced_number
from waule.errors import WauleError

PERMISSION = "aiservices.settle_generation"
WORKED, FAILED = "worked", "failed"


class SettleForm(forms.Form):
    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        max_length=MAX_REASON_LENGTH,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text=gettext_lazy("Where you have seen it. Stays in the audit log."),
    )


def settle_buttons(request: HttpRequest, generation: Generation) -> list[PageButton]:
    """The two endings, for who may choose one."""
    if generation.state != Generation.State.UNKNOWN or not request.user.has_perm(PERMISSION):
        return []
    return [
        PageButton(_("It worked"), reverse("admin:aiservices_generation_settle", args=[generation.pk, WORKED]), "task_alt"),
        PageButton(_("It did not"), reverse("admin:aiservices_generation_settle", args=[generation.pk, FAILED]), "cancel"),
    ]


def settle_view(request: HttpRequest, generation_id: UUID, how: str) -> HttpResponse:
    """Asks for the reason; a POST ends it, unless somebody was quicker: then it says what has become of it."""
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied
    if how not in (WORKED, FAILED):
        raise Http404
    rows = Generation.objects.select_related("tenant", "user", "model", "hold")
    generation = get_object_or_404(rows, id=generation_id)
    back = reverse("admin:aiservices_generation_change", args=[generation.pk])
    if generation.state != Generation.State.UNKNOWN:
        messages.warning(request, _over(generation.state))
        return redirect(back)
    form = SettleForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            settled = settle_unknown(
                generation=generation,
                charge=how == WORKED,
                reason=form.cleaned_data["reason"],
                actor=actor_of(request),
                request=request,
            )
        except TaskOver as over:
            messages.warning(request, _over(over.details["state"]))
        except WauleError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, _done(settled, credits_held(generation)))
        if form.is_valid():
            return redirect(back)
    return admin_page(
        request,
        "admin/page_form.html",
        title=_("It worked: charge it") if how == WORKED else _("It did not: give it back"),
        form=form,
        facts=_facts(generation, how),
        verb=_("Charge") if how == WORKED else _("Give back"),
        back=back,
    )


def _facts(generation: Generation, how: str) -> list[tuple[Any, Any]]:
    held = spaced_number(credits_held(generation))
    if generation.is_billed_by_gateway:
        what = (
            _("The gateway's charge stays, if it made one.") if how == WORKED else _("The gateway's charge is refunded, if any.")
        )
    elif how == WORKED:
        what = _("%(credits)s held credits are charged.") % {"credits": held}
    else:
        what = _("%(credits)s held credits are given back.") % {"credits": held}
    return [
        (_("Owner"), str(generation.tenant or generation.user)),
        (_("Model"), str(generation.model)),
        (_("Prompt"), generation.prompt[:300]),
        (_("What happened"), generation.error_message or generation.error_code or "–"),
        (_("What is done"), what),
    ]


def _over(state: str) -> str:
    if state == Generation.State.RUNNING:
        return _("Somebody else is ending it now. You have changed nothing.")
    return _("It had ended before: %(state)s. You have changed nothing.") % {"state": Generation.State(state).label}


def _done(generation: Generation, held: int) -> str:
    if generation.state == Generation.State.SUCCEEDED:
        return _("Done. %(credits)s credits were charged.") % {"credits": spaced_number(generation.credits_charged)}
    return _("Done. %(credits)s held credits were given back.") % {"credits": spaced_number(held)}
