"""The pages on which staff move credits: grant, adjust, refund. Each asks for a reason, shows what it would do, then does it.

They are pages of their own because the admin's change forms run in a transaction, and a verb of the ledger is one itself.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminBigIntegerFieldWidget, UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from billing import services
from billing.admin.money import two_persons
from billing.approvals.models import ApprovalRequest
from billing.ledger.balances import balance_of
from billing.ledger.models import GRANT_KINDS, MAX_CREDITS, MAX_REASON_LENGTH, Account, Charge, Kind
from tenants.principal import Principal
from waule.core.admin import actor_of, admin_page, reauthentication_required, spaced_number, tell_form
from waule.core.errors import WauleError


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

    def __init__(self, *args: Any, lowest: int = 1, highest: int = MAX_CREDITS, **kwargs: Any) -> None:
        """Between `lowest` and `highest` credits: what would be refused afterwards is not offered for confirmation."""
        super().__init__(*args, **kwargs)
        self.lowest, self.highest = lowest, highest

    def clean_credits(self) -> int:
        given: int = self.cleaned_data["credits"]
        if not given:
            raise forms.ValidationError(_("Give a number other than 0."))
        if self.data.get("confirmed"):
            return given  # the verb decides, and knows a form that is sent twice
        if given > self.highest:
            raise forms.ValidationError(_("Not more than %(credits)s credits are possible.") % {"credits": f"{self.highest:,}"})
        if given < self.lowest:
            raise forms.ValidationError(
                _("Not enough credits: %(credits)s can be spent.") % {"credits": f"{max(0, -self.lowest):,}"}
            )
        return given

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


@dataclass(frozen=True)
class Asked:
    """What is asked for instead, where the amount takes a second person."""

    kind: ApprovalRequest.Kind
    params: Callable[[MoneyForm], dict[str, Any]] = lambda _form: {}


@reauthentication_required("billing.grant_credits")
def grant_view(request: HttpRequest, account_id: int) -> HttpResponse:
    """Give credits to an account."""
    account = _account(account_id)

    def act(form: MoneyForm) -> services.GrantResult:
        return services.grant(
            target=Principal.of(account),
            credits=form.cleaned_data["credits"],
            kind=Kind(form.cleaned_data["kind"]),
            reason=form.cleaned_data["reason"],
            actor=actor_of(request),
            idempotency_key=form.key,
        )

    def params(form: MoneyForm) -> dict[str, Any]:
        return {"kind": form.cleaned_data["kind"]}

    asked = Asked(ApprovalRequest.Kind.GRANT, params)
    return _move(request, account, GrantForm, act, asked=asked, title=_("Grant credits"), verb=_("Grant"))


@reauthentication_required("billing.adjust_credits")
def adjust_view(request: HttpRequest, account_id: int) -> HttpResponse:
    """Correct a balance, up or down."""
    account = _account(account_id)

    def act(form: MoneyForm) -> services.GrantResult:
        return services.adjust(
            account_id=account.id,
            credits=form.cleaned_data["credits"],
            reason=form.cleaned_data["reason"],
            actor=actor_of(request),
            idempotency_key=form.key,
        )

    bounds = {"lowest": -balance_of(account.id).spendable}
    asked = Asked(ApprovalRequest.Kind.ADJUST)
    return _move(request, account, AdjustForm, act, asked=asked, title=_("Adjust the balance"), verb=_("Adjust"), bounds=bounds)


@reauthentication_required("billing.refund_charge")
def refund_view(request: HttpRequest, charge_id: uuid.UUID) -> HttpResponse:
    """Give back a charge's credits, all or a part of them."""
    charge = get_object_or_404(Charge.objects.select_related("account__tenant", "account__user", "model"), id=charge_id)
    left = charge.credits - charge.refunded
    back = reverse("admin:billing_charge_change", args=[charge.id])
    if not left and request.method != "POST":  # a form that is sent twice is answered by the verb
        messages.warning(request, _("Nothing is left to refund."))
        return redirect(back)

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
        account=charge.account,
        initial={"credits": left},
        bounds={"highest": left},
        asked=Asked(ApprovalRequest.Kind.REFUND, lambda _form: {"charge": str(charge.id)}),
        title=_("Refund a charge"),
        verb=_("Refund"),
        facts=[
            (_("Account"), str(charge.account)),
            (_("Charged"), spaced_number(charge.credits)),
            (_("Refunded so far"), spaced_number(charge.refunded)),
            (_("Can be refunded"), spaced_number(left)),
        ],
        back=back,
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
    return _page(request, form_class, act, account=account, facts=facts, back=back, **texts)


def _page(
    request: HttpRequest,
    form_class: type[MoneyForm],
    act: Callable[[MoneyForm], Any],
    *,
    account: Account,
    asked: Asked,
    title: str,
    verb: str,
    facts: list[tuple[str, str]],
    back: str,
    initial: dict[str, Any] | None = None,
    bounds: dict[str, int] | None = None,
) -> HttpResponse:
    """First the form, then what it would do, then the deed; what the ledger rejects becomes an error of the form."""
    form = form_class(request.POST or None, initial=initial or {}, **bounds or {})
    step = "form"
    if request.method == "POST" and form.is_valid():
        step = "confirm"
        if form.cleaned_data["confirmed"]:
            try:
                if two_persons.is_needed(form.cleaned_data["credits"]):
                    return _ask(request, form, account, asked)
                result = act(form)
            except WauleError as error:
                tell_form(form, error)
                step = "form"
            else:
                messages.success(request, _("Done. %(credits)s credits can be spent now.") % {"credits": f"{result.balance:,}"})
                return redirect(back)
    context: dict[str, Any] = {"title": title, "form": form, "facts": facts, "back": back}
    if step == "confirm":
        credits = form.cleaned_data["credits"]
        notice = two_persons.needed_notice() if two_persons.is_needed(credits) else ""
        context |= {"preview": _preview(form, account), "verb": two_persons.verb_of(verb, credits=credits), "notice": notice}
    else:
        context |= {"notice": two_persons.limit_notice()}
    return admin_page(request, "admin/money_form.html", **context)


def _ask(request: HttpRequest, form: MoneyForm, account: Account, asked: Asked) -> HttpResponse:
    return two_persons.ask(
        request,
        kind=asked.kind,
        credits=form.cleaned_data["credits"],
        params=asked.params(form),
        reason=form.cleaned_data["reason"],
        account_id=account.id,
        idempotency_key=form.key,
    )


def _preview(form: MoneyForm, account: Account) -> list[tuple[Any, Any]]:
    """Return what the reader is asked to confirm."""
    given = form.cleaned_data
    lines: list[tuple[Any, Any]] = [(form.fields["credits"].label, f"{given['credits']:+,}")]
    if "kind" in given:
        lines.append((form.fields["kind"].label, Kind(given["kind"]).label))
    lines.append((form.fields["reason"].label, given["reason"]))
    return [*lines, (_("Can be spent afterwards"), spaced_number(account.spendable + given["credits"]))]
