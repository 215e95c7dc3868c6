"""The page on which staff end an outcome that nobody knows: it worked and is charged, or it did not and is released."""

from typing import Any
from uuid import UUID, uuid4

from django import forms
from django.contrib import messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from aiservices.errors import TaskOver
from aiservices.generations.approved_settlements import PERMISSION
from aiservices.generations.models import Generation
from aiservices.generations.services import settle_unknown
from aiservices.generations.settlement.payment import account_of, credits_at_stake, credits_held
from aiservices.generations.unknown import settle_many, unknown_outcomes
from billing.admin.money import two_persons
from billing.admin.words import error_in_words
from billing.approvals.models import ApprovalRequest
from billing.ledger.models import MAX_REASON_LENGTH
from waule.core.admin import PageButton, actor_of, admin_page, in_readers_language, reauthentication_required, spaced_number
from waule.core.errors import WauleError

WORKED, FAILED = "worked", "failed"


class SettleForm(forms.Form):
    idempotency_key = forms.UUIDField(widget=forms.HiddenInput, initial=uuid4, required=False)
    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        max_length=MAX_REASON_LENGTH,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text=gettext_lazy("Where you have seen it. Stays in the audit log."),
    )


def settle_buttons(request: HttpRequest, generation: Generation) -> list[PageButton]:
    """Return the two endings, for who may choose one."""
    if generation.state != Generation.State.UNKNOWN or not request.user.has_perm(PERMISSION):
        return []
    return [
        PageButton(
            _("Settle as succeeded and charge"),
            reverse("admin:aiservices_generation_settle", args=[generation.pk, WORKED]),
            "task_alt",
        ),
        PageButton(
            _("Settle as failed and release"),
            reverse("admin:aiservices_generation_settle", args=[generation.pk, FAILED]),
            "cancel",
        ),
    ]


@reauthentication_required(PERMISSION)
def settle_view(request: HttpRequest, generation_id: UUID, how: str) -> HttpResponse:
    """Ask for the reason; a POST ends it, unless somebody was quicker: then it says what has become of it."""
    if how not in (WORKED, FAILED):
        raise Http404
    rows = Generation.objects.select_related("tenant", "user", "model", "hold")
    generation = get_object_or_404(rows, id=generation_id)
    back = reverse("admin:aiservices_generation_change", args=[generation.pk])
    if generation.state != Generation.State.UNKNOWN:
        messages.warning(request, _over(generation.state))
        return redirect(back)
    form = SettleForm(request.POST or None)
    held, at_stake = credits_held(generation), credits_at_stake(generation)
    if request.method == "POST" and form.is_valid():
        try:
            if two_persons.is_needed(at_stake):
                return _ask(request, form, [generation], charge=how == WORKED, credits=at_stake)
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
            messages.success(request, _done(settled, held))
        if form.is_valid():
            return redirect(back)
    return admin_page(
        request,
        "admin/page_form.html",
        title=_("Settle as succeeded and charge") if how == WORKED else _("Settle as failed and release"),
        form=form,
        intro=_("The charge can be refunded later.")
        if how == WORKED
        else _("This cannot be undone: what was given back is spendable."),
        facts=_facts(generation, how),
        notice=two_persons.needed_notice() if two_persons.is_needed(at_stake) else "",
        verb=two_persons.verb_of(_("Charge") if how == WORKED else _("Give back"), credits=at_stake),
        back=back,
    )


def _ask(request: HttpRequest, form: SettleForm, rows: list[Generation], *, charge: bool, credits: int) -> HttpResponse:
    accounts = {account_of(row).id for row in rows}
    return two_persons.ask(
        request,
        kind=ApprovalRequest.Kind.SETTLE,
        credits=credits,
        params={"generations": [str(row.pk) for row in rows], "charge": charge},
        reason=form.cleaned_data["reason"],
        account_id=accounts.pop() if len(accounts) == 1 else None,
        idempotency_key=f"admin-{form.cleaned_data['idempotency_key'] or uuid4()}",
    )


SELECTED = "settle_selected"  # in the session: the ids that were chosen in the list
MAX_SELECTED = 1000


class SettleManyForm(SettleForm):
    how = forms.ChoiceField(
        label=gettext_lazy("What happened"),
        choices=[(FAILED, gettext_lazy("They were not made: give back")), (WORKED, gettext_lazy("They were made: charge"))],
        widget=UnfoldAdminSelectWidget,
    )
    field_order = ("how", "reason")


def select_many(request: HttpRequest, rows: "QuerySet[Generation]") -> HttpResponse | None:
    """Keep what was chosen in the list, and lead to the page that asks what happened."""
    ids = list(rows.filter(state=Generation.State.UNKNOWN).values_list("pk", flat=True)[: MAX_SELECTED + 1])
    if not ids:
        messages.warning(request, _("None of the selected generations has an unknown outcome."))
        return None
    if len(ids) > MAX_SELECTED:
        messages.error(request, _("Choose at most %(limit)s at once.") % {"limit": MAX_SELECTED})
        return None
    request.session[SELECTED] = [str(each) for each in ids]
    return redirect("admin:aiservices_generation_settle_many")


@reauthentication_required(PERMISSION)
def settle_many_view(request: HttpRequest) -> HttpResponse:
    """Ask what happened and why; a POST ends all that were chosen and are still unknown."""
    back = reverse("admin:aiservices_generation_changelist")
    chosen = request.session.get(SELECTED, [])
    rows = list(unknown_outcomes().filter(pk__in=chosen))
    if not rows:
        messages.warning(request, _("None of the selected generations has an unknown outcome."))
        return redirect(back)
    form = SettleManyForm(request.POST or None)
    at_stake = sum(credits_at_stake(row) for row in rows)
    if request.method == "POST" and form.is_valid():
        charge = form.cleaned_data["how"] == WORKED
        if two_persons.is_needed(at_stake):
            request.session.pop(SELECTED, None)
            return _ask(request, form, rows, charge=charge, credits=at_stake)
        reason, actor = form.cleaned_data["reason"], actor_of(request)
        settled = settle_many(rows, charge=charge, reason=reason, actor=actor, request=request)
        request.session.pop(SELECTED, None)
        said = _("%(count)s charged: %(credits)s credits.") if charge else _("%(count)s given back: %(credits)s credits.")
        messages.success(request, said % {"count": len(settled.ids), "credits": spaced_number(settled.credits)})
        if settled.skipped:
            messages.warning(request, _("%(count)s had ended meanwhile.") % {"count": len(settled.skipped)})
        return redirect(back)
    facts = [
        (_("Unknown outcomes"), spaced_number(len(rows))),
        (_("Held credits"), spaced_number(sum(credits_held(row) for row in rows))),
    ]
    return admin_page(
        request,
        "admin/page_form.html",
        title=_("Settle unknown outcomes"),
        intro=_("A charge can be refunded later. What is given back cannot be charged again."),
        form=form,
        facts=facts,
        notice=two_persons.needed_notice() if two_persons.is_needed(at_stake) else "",
        verb=two_persons.verb_of(_("Settle"), credits=at_stake),
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
        (_("What happened"), in_readers_language(generation.error_message) or error_in_words(generation.error_code) or "–"),
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
