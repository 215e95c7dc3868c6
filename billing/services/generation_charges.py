"""Charges with a generation's id as their key, where waule itself has set the credits aside: one charge, whoever bills.

Such a charge is priced by the generation's hold, whatever quantity, duration or resolution it names. The first one ends
the hold; every further one, and one that comes after waule's own capture, answers that charge and moves nothing.
"""

from uuid import UUID

from django.conf import settings
from django.utils.translation import gettext as _

from billing.ledger.models import Charge, Hold, Kind
from billing.ledger.posting import Posting
from billing.services.generation_links import GenerationLink
from billing.services.holds import locked_hold, post_capture
from billing.services.refunds import post_refund


def charge_of_hold(
    posting: Posting, link: GenerationLink, *, actor: str, idempotency_key: str, made: dict[UUID, Charge]
) -> tuple[Charge, bool] | None:
    """Return the charge of the generation's hold, and whether it was there before. None: the hold was released by hand.

    `made` are the charges of holds that this posting has noted and not yet written, by hold.
    """
    assert link.hold is not None
    hold = locked_hold(posting, link.hold.id)
    first = made.get(hold.id) or _charge_of(hold, idempotency_key)
    if first is not None:
        return first, True
    if settings.GATEWAY_BILLING == "local":
        return _not_yet(posting, hold), False
    if hold.state == Hold.State.HELD:
        charge = post_capture(posting, hold, {}, actor=actor)
    elif link.has_failed:
        charge = _of_released(posting, hold, actor=actor, idempotency_key=idempotency_key)
    else:
        return None
    if link.has_failed:
        account = posting.accounts[charge.account_id]
        post_refund(posting, charge, charge.credits, is_full=True, reason=_("The generation had failed."), actor=actor)
        charge.spendable_after = account.spendable
    made[hold.id] = charge
    return charge, False


def _charge_of(hold: Hold, idempotency_key: str) -> Charge | None:
    """Return the charge that ended this hold, or that was recorded after its release."""
    if hold.state == Hold.State.CAPTURED:
        return hold.charge
    return Charge.objects.filter(account_id=hold.account_id, idempotency_key=idempotency_key).first()


def _not_yet(posting: Posting, hold: Hold) -> Charge:
    """Return what `local` answers while waule has not captured: 0 credits, and no row."""
    charge = _like(hold, credits=0, idempotency_key=None)
    charge.id, charge.created_at, charge.is_free = None, posting.now, False
    charge.spendable_after = posting.accounts[hold.account_id].spendable
    return charge


def _of_released(posting: Posting, hold: Hold, *, actor: str, idempotency_key: str) -> Charge:
    """Return a charge at the price of a hold that was released, as far as there are credits; the caller refunds it."""
    account = posting.accounts[hold.account_id]
    charge = _like(hold, credits=min(hold.credits, account.spendable), idempotency_key=idempotency_key)
    charge.actor, charge.created_at = actor, posting.now
    if charge.credits:
        description = charge.operation or "charge"
        posting.post(account, kind=Kind.CONSUME, amount=-charge.credits, description=description, actor=actor, charge=charge)
    charge.spendable_after = account.spendable
    posting.add_charge(charge)
    return charge


def _like(hold: Hold, *, credits: int, idempotency_key: str | None) -> Charge:
    """Return a charge of the hold's use. It counts no daily use: the release has given that back."""
    return Charge(
        account_id=hold.account_id,
        api_key_id=hold.api_key_id,
        credits=credits,
        model_id=hold.model_id,
        operation=hold.operation,
        quantity=hold.quantity,
        is_free=hold.is_free,
        use=hold.use,
        snapshot=hold.snapshot,
        metadata=hold.metadata,
        idempotency_key=idempotency_key,
    )
