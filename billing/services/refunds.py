"""Refunds: in full or in part, never above the charge, never twice."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from billing.catalog import pricing
from billing.catalog.usage import fingerprint
from billing.errors import RefundExceedsCharge
from billing.ledger.models import Charge, Kind, Refund
from billing.ledger.posting import Posting
from billing.ledger.selectors import find_charge
from billing.services.admission import price_by_snapshot
from tenants import audit
from waule.core.db.transactions import durable
from waule.core.errors import IdempotencyKeyReused, NotFound
from waule.core.fail_points import failpoint


@dataclass(frozen=True)
class RefundResult:
    refund: Refund
    credits_refunded: int
    total_refunded: int
    balance: int
    replayed: bool = False


def refund(
    *, charge_id: str, credits: int | None = None, reason: str, actor: str, idempotency_key: str | None = None
) -> RefundResult:
    """Give back a charge's credits: all that is left, or `credits` of it. Never more than was charged, never twice.

    A full refund that is repeated answers as the first one did. One that reaches the whole charge gives the daily use back.

    Raises:
        NotFound: no such charge. RefundExceedsCharge: more than is left. IdempotencyKeyReused.
    """
    found = find_charge(charge_id)
    if found is None:
        raise NotFound(_("There is no charge %(id)s.") % {"id": charge_id})
    request_hash = fingerprint({"charge": str(found.id), "credits": credits, "reason": reason})
    return _refund(
        charge_pk=found.id,
        credits=credits,
        reason=reason,
        actor=actor,
        idempotency_key=idempotency_key,
        request_hash=request_hash,
    )


def refund_undelivered(*, charge_id: str, quantity: int, reason: str, actor: str, idempotency_key: str) -> None:
    """Give back what a charge took for more than the `quantity` that was delivered, by its own price snapshot.

    Repeated with its key, it changes nothing more.

    Raises:
        NotFound: no such charge.
    """
    found = find_charge(charge_id)
    if found is None:
        raise NotFound(_("There is no charge %(id)s.") % {"id": charge_id})
    if Refund.objects.filter(account_id=found.account_id, idempotency_key=idempotency_key).exists():
        return
    inputs = dataclasses.replace(pricing.inputs_from_json(found.use), quantity=quantity)
    due = 0 if found.is_free else price_by_snapshot(found.snapshot, inputs).credits
    credits = found.credits - max(due, found.refunded)
    if credits > 0:
        refund(charge_id=charge_id, credits=credits, reason=reason, actor=actor, idempotency_key=idempotency_key)


@durable
def _refund(
    *, charge_pk: Any, credits: int | None, reason: str, actor: str, idempotency_key: str | None, request_hash: str
) -> RefundResult:
    account_id = Charge.objects.values_list("account_id", flat=True).get(id=charge_pk)
    posting = Posting([account_id])
    refunded = Charge.objects.select_for_update(no_key=True).get(id=charge_pk)
    if idempotency_key is not None:
        first = Refund.objects.filter(account_id=account_id, idempotency_key=idempotency_key).first()
        if first is not None and first.fingerprint != request_hash:
            raise IdempotencyKeyReused
        if first is not None:
            return _refund_replay(first)
    if credits is None and (first := Refund.objects.filter(charge=refunded, is_full=True).order_by("created_at").first()):
        return _refund_replay(first)
    left = refunded.credits - refunded.refunded
    amount = left if credits is None else credits
    if amount > left:
        raise RefundExceedsCharge(
            _("Only %(left)s of %(credits)s credits are left of this charge.") % {"left": left, "credits": refunded.credits},
            creditsCharged=refunded.credits,
            totalRefunded=refunded.refunded,
            left=left,
        )
    made = post_refund(
        posting,
        refunded,
        amount,
        is_full=credits is None,
        reason=reason,
        actor=actor,
        idempotency_key=idempotency_key,
        request_hash=request_hash,
    )
    refunded.save(update_fields=["refunded", "refunded_at"])
    posting.write()
    if amount:
        audit.record(
            actor=actor,
            action="credits.refund",
            target=refunded,
            reason=reason,
            before={"refunded": refunded.refunded - amount},
            after={"credits": amount, "refunded": refunded.refunded, "balance": made.spendable_after},
        )
    failpoint("refund.before_commit")
    return RefundResult(made, made.credits, made.total_after, made.spendable_after)


def post_refund(
    posting: Posting,
    refunded: Charge,
    amount: int,
    *,
    is_full: bool,
    reason: str,
    actor: str,
    idempotency_key: str | None = None,
    request_hash: str = "",
) -> Refund:
    """Note a refund of `amount` in the posting; the caller saves the charge and writes the posting."""
    account = posting.accounts[refunded.account_id]
    entry = (
        posting.post(account, kind=Kind.REFUND, amount=amount, description=reason, actor=actor, charge=refunded)
        if amount
        else None
    )
    refunded.refunded += amount
    if refunded.refunded == refunded.credits and refunded.refunded_at is None:
        refunded.refunded_at = posting.now
        posting.count_use(refunded, by=-1)
    made = Refund(
        charge=refunded,
        account_id=account.id,
        credits=amount,
        total_after=refunded.refunded,
        is_full=is_full,
        reason=reason,
        actor=actor,
        entry=entry,
        idempotency_key=idempotency_key,
        fingerprint=request_hash,
        spendable_after=account.spendable,
        created_at=posting.now,
    )
    posting.add_refund(made)
    return made


def _refund_replay(first: Refund) -> RefundResult:
    return RefundResult(first, first.credits, first.total_after, first.spendable_after, replayed=True)
