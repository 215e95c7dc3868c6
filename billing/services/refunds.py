"""Refunds: in full or in part, never above the charge, never twice."""

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from billing.errors import RefundExceedsCharge
from billing.ledger import Books
from billing.models import Charge, Kind, Refund
from billing.selectors import find_charge
from billing.uses import fingerprint
from waule.errors import IdempotencyKeyReused, NotFound
from waule.fail_points import reach
from waule.transactions import durable


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
    """Gives back a charge's credits: all that is left, or `credits` of it. Never more than was charged, never twice.

    A full refund that is repeated answers as the first one did. One that reaches the whole charge gives the daily use back.

    Raises:
        NotFound: no such charge. RefundExceedsCharge: more than is left. IdempotencyKeyReused.
    """
    found = find_charge(charge_id)
    if found is None:
        raise NotFound(_("There is no charge %(id)s.") % {"id": charge_id})
    mark = fingerprint({"charge": str(found.id), "credits": credits, "reason": reason})
    return _refund(charge_pk=found.id, credits=credits, reason=reason, actor=actor, idempotency_key=idempotency_key, mark=mark)


@durable
def _refund(
    *, charge_pk: Any, credits: int | None, reason: str, actor: str, idempotency_key: str | None, mark: str
) -> RefundResult:
    account_id = Charge.objects.values_list("account_id", flat=True).get(id=charge_pk)
    books = Books([account_id])
    refunded = Charge.objects.select_for_update(no_key=True).get(id=charge_pk)
    if idempotency_key is not None:
        first = Refund.objects.filter(account_id=account_id, idempotency_key=idempotency_key).first()
        if first is not None and first.fingerprint != mark:
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
        books,
        refunded,
        amount,
        is_full=credits is None,
        reason=reason,
        actor=actor,
        idempotency_key=idempotency_key,
        mark=mark,
    )
    refunded.save(update_fields=["refunded", "refunded_at"])
    books.write()
    reach("refund.before_commit")
    return RefundResult(made, made.credits, made.total_after, made.spendable_after)


def post_refund(
    books: Books,
    refunded: Charge,
    amount: int,
    *,
    is_full: bool,
    reason: str,
    actor: str,
    idempotency_key: str | None = None,
    mark: str = "",
) -> Refund:
    """Notes a refund of `amount` in the books; the caller saves the charge and writes the books."""
    account = books.accounts[refunded.account_id]
    entry = (
        books.post(account, kind=Kind.REFUND, amount=amount, description=reason, actor=actor, charge=refunded) if amount else None
    )
    refunded.refunded += amount
    if refunded.refunded == refunded.credits and refunded.refunded_at is None:
        refunded.refunded_at = books.now
        books.count_use(refunded, by=-1)
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
        fingerprint=mark,
        spendable_after=account.spendable,
        created_at=books.now,
    )
    books.add_refund(made)
    return made


def _refund_replay(first: Refund) -> RefundResult:
    return RefundResult(first, first.credits, first.total_after, first.spendable_after, replayed=True)
