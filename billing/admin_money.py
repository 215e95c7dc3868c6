"""The pages on which staff move credits: grant, adjust, refund. Each asks for a reason, shows what it would do, then does it.

They are pages of their own because the admin's change forms run in a transaction, and a verb of the books is one itself.
"""

import uuid
from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminBigIntegerFieldWidget, UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from billing import services
from billing.models import GRANT_KINDS, MAX_CREDITS, MAX_REASON_LENGTH, Account, Charge, Kind
from billing.uses import Target
from tenants import audit
from waule.admin_kit import actor_of, admin_page, reauthentication_required, spaced_number, tell_form
from waule.errors import WauleError


class MoneyForm(forms.Form):
    """An amount and a reason. The hidden key makes a form that is sent twice count once."""

    idempotency_key = forms.UUIDField(widget=forms.HiddenInput, initial=uuid.uuid4)
    credits = forms.IntegerField(
        label=gettext_lazy("Credits"), min_value=1, max_value=MAX_CREDITS, widget=UnfoldAdminBigIntegerFieldWidget
    )
    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        max_length=MAX_REASON_LENGTH,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text=gettext_lazy("Stays in the ledger and in the audit log."),
    )
    confirmed = forms.BooleanField(required=False, widget=forms.HiddenInput)

    @property
    def key(self) -> str:
        return f"admin-{self.cleaned_data['idempotency_key']}"


class GrantForm(MoneyForm):
    kind = forms.ChoiceField(
        label=gettext_lazy("Kind"), choices=[(kind.value, kind.label) for kind in GRANT_KINDS], widget=UnfoldAdminSelectWidget
    )
    field_order = ("credits", "kind", "reason")


class AdjustForm(MoneyForm):
    credits = forms.IntegerField(
        label=gettext_lazy("Credits"),
        min_value=-MAX_CREDITS,
        max_value=MAX_CREDITS,
        widget=UnfoldAdminBigIntegerFieldWidget,
        help_text=gettext_lazy("With a minus in front they are taken away."),
    )


def _may(request: HttpRequest, permission: str) -> None:
    if not request.user.has_perm(permission):
        raise PermissionDenied


def grant_view(request: HttpRequest, account_id: int) -> HttpResponse:
    """Gives credits to an account."""
    _may(request, "billing.grant_credits")
    account = _account(account_id)

    def act(form: MoneyForm) -> services.GrantResult:
        return services.grant(
            target=Target(
                kind="tenant" if account.tenant_id else "user", id=str(account.tenant_id or account.user_id), mode=account.mode
            ),
            credits=form.cleaned_data["credits"],
            kind=Kind(form.cleaned_data["kind"]),
            reason=form.cleaned_data["reason"],
            actor=actor_of(request),
            idempotency_key=form.key,
        )

    return _move(request, account, GrantForm, act, action="credits.grant", title=_("Grant credits"), verb=_("Grant"))


@reauthentication_required
def adjust_view(request: HttpRequest, account_id: int) -> HttpResponse:
    """Corrects a balance, up or down."""
    _may(request, "billing.adjust_credits")
    account = _account(account_id)

    def act(form: MoneyForm) -> services.GrantResult:
        return services.adjust(
            account_id=account.id,
            credits=form.cleaned_data["credits"],
            reason=form.cleaned_data["reason"],
            actor=actor_of(request),
            idempotency_key=form.key,
        )

    return _move(request, account, AdjustForm, act, action="credits.adjust", title=_("Adjust the balance"), verb=_("Adjust"))


def refund_view(request: HttpRequest, charge_id: uuid.UUID) -> HttpResponse:
    """Gives back a charge's credits, all or a part of them."""
    _may(request, "billing.refund_charge")
    charge = get_object_or_404(Charge.objects.select_related("account__tenant", "account__user", "model"), id=charge_id)
    left = charge.credits - charge.refunded

    def act(form: MoneyForm) -> services.RefundResult:
        return services.refund(
            charge_id=str(charge.id),
            credits=form.cleaned_data["credits"],
            reason=form.cleaned_data["reason"],
            actor=actor_of(request),
            idempotency_key=form.key,
        )

    return _page(
        request,
        MoneyForm,
        act,
        row=charge,
        account=charge.account,
        initial={"credits": left},
        action="credits.refund",
        title=_("Refund a charge"),
        verb=_("Refund"),
        facts=[
            (_("Account"), str(charge.account)),
            (_("Charged"), spaced_number(charge.credits)),
            (_("Refunded so far"), spaced_number(charge.refunded)),
            (_("Can be refunded"), spaced_number(left)),
        ],
        back=reverse("admin:billing_charge_change", args=[charge.id]),
    )


def _account(account_id: int) -> Account:
    return get_object_or_404(Account.objects.select_related("tenant", "user"), id=account_id)


def _move(request: HttpRequest, account: Account, form_class: type[MoneyForm], act: Any, **texts: Any) -> HttpResponse:
    facts = [
        (_("Account"), str(account)),
        (_("Can be spent"), spaced_number(account.spendable)),
        (_("Balance"), spaced_number(account.balance)),
        (_("Held"), spaced_number(account.held)),
    ]
    back = reverse("admin:billing_account_change", args=[account.id])
    return _page(request, form_class, act, row=account, account=account, facts=facts, back=back, **texts)


def _page(
    request: HttpRequest,
    form_class: type[MoneyForm],
    act: Callable[[MoneyForm], Any],
    *,
    row: Account | Charge,
    account: Account,
    action: str,
    title: str,
    verb: str,
    facts: list[tuple[str, str]],
    back: str,
    initial: dict[str, Any] | None = None,
) -> HttpResponse:
    """First the form, then what it would do, then the deed; what the books refuse becomes an error of the form."""
    form = form_class(request.POST or None, initial=initial or {})
    step = "form"
    if request.method == "POST" and form.is_valid():
        step = "confirm"
        if form.cleaned_data["confirmed"]:
            try:
                result = act(form)
            except WauleError as error:
                tell_form(form, error)
                step = "form"
            else:
                if not result.replayed:
                    _note(request, action, row, form, result.balance)
                messages.success(request, _("Done. %(credits)s credits can be spent now.") % {"credits": f"{result.balance:,}"})
                return redirect(back)
    preview = _preview(form, account) if step == "confirm" else []
    return admin_page(
        request, "admin/money_form.html", title=title, form=form, preview=preview, verb=verb, facts=facts, back=back
    )


def _preview(form: MoneyForm, account: Account) -> list[tuple[Any, Any]]:
    """What the reader is asked to confirm."""
    given = form.cleaned_data
    lines: list[tuple[Any, Any]] = [(form.fields["credits"].label, f"{given['credits']:+,}")]
    if "kind" in given:
        lines.append((form.fields["kind"].label, Kind(given["kind"]).label))
    lines.append((form.fields["reason"].label, given["reason"]))
    return [*lines, (_("Can be spent afterwards"), spaced_number(account.spendable + given["credits"]))]


def _note(request: HttpRequest, action: str, row: Account | Charge, form: MoneyForm, balance: int) -> None:
    audit.record(
        actor=actor_of(request),
        action=action,
        target=row,
        reason=form.cleaned_data["reason"],
        after={"credits": form.cleaned_data["credits"], "balance": balance},
        request=request,
    )
