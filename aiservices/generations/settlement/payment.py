"""The money of a generation's end: captured, released or refunded, once, whoever charges (docs/gateway.md)."""

from typing import Any

import structlog
from django.utils.translation import gettext as _

from aiservices.generations.models import Generation
from aiservices.generations.settlement import double_charges
from billing import services as ledger
from billing.errors import HoldEnded
from billing.ledger.fast_path import Posted
from billing.ledger.models import Account, Charge, Hold
from billing.monitoring import alerts
from billing.monitoring.models import Alert
from tenants.principal import Principal

ACTOR = "generation"
NOT_CHARGED = "not_charged"
State = Generation.State
logger = structlog.get_logger(__name__)


def take_payment(generation: Generation) -> dict[str, Any]:
    """Capture the hold by what was delivered, or find the charge that the gateway made; the row's new values."""
    if generation.is_billed_by_gateway:
        charge = gateway_charge(generation)
        return _not_charged(generation) if charge is None else _charged(charge)
    assert generation.hold_id is not None, "what was delivered was held for"
    double_charges.look_for(generation)
    delivered, asked = len(generation.outputs), generation.parameters.get("quantity", 1)
    changes = {"quantity": delivered} if 0 < delivered < asked else None
    try:
        captured = ledger.capture(hold_id=str(generation.hold_id), use_changes=changes, actor=ACTOR)
    except HoldEnded as ended:  # it was released by hand; the gateway may have charged since
        charge = gateway_charge(generation)
        return _charged(charge) if charge else _not_charged(generation, state=ended.details.get("state"))
    if changes and captured.charge.quantity > delivered:  # the gateway has captured it at the hold's price
        ledger.refund_undelivered(
            charge_id=str(captured.charge.id),
            quantity=delivered,
            reason=_("Generation %(id)s delivered fewer results than were asked for") % {"id": generation.id},
            actor=ACTOR,
            idempotency_key=f"{generation.id}:delivered",
        )
        assert isinstance(captured.charge, Charge), "a changed use is captured the long way"
        captured.charge.refresh_from_db(fields=["refunded"])
    return _charged(captured.charge)


def return_payment(generation: Generation, outcome: State) -> dict[str, Any]:
    """Give back what a failure must not cost, or keep it while nobody knows. A failure frees its key.

    Returns:
        The row's new values.
    """
    changes: dict[str, Any] = {"idempotency_key": None} if outcome == State.FAILED else {}
    if generation.is_billed_by_gateway:
        charge = gateway_charge(generation)
        return changes | (_refunded(generation, charge, outcome) if charge else {})
    hold = generation.hold or find_hold_of(generation)
    if hold is None:
        return changes
    double_charges.look_for(generation)
    try:
        if outcome == State.UNKNOWN:
            ledger.mark_unknown(hold_id=str(hold.id), actor=ACTOR)
        else:
            ledger.release(hold_id=str(hold.id), reason=generation.error_code or str(outcome), actor=ACTOR)
    except HoldEnded as ended:
        charge = Charge.objects.filter(hold=hold).first()  # the gateway was quicker
        if charge is not None:
            return changes | _refunded(generation, charge, outcome)
        logger.error("hold_ended_otherwise", generation=str(generation.id), state=ended.details.get("state"))
    return changes


def _refunded(generation: Generation, charge: Charge, outcome: State) -> dict[str, Any]:
    """The charge is refunded, but stays while the outcome is unknown."""
    if outcome == State.UNKNOWN:
        return _charged(charge)
    ledger.refund(charge_id=str(charge.id), reason=_("Generation %(id)s failed") % {"id": generation.id}, actor=ACTOR)
    return {"charge": charge, "credits_charged": 0}


def _not_charged(generation: Generation, **why: Any) -> dict[str, Any]:
    """It was made and is delivered, and somebody has to look at it: the operator is alerted to the first one."""
    logger.error("generation_not_charged", generation=str(generation.id), **why)
    alerts.raise_alert(alerts.Crossing(NOT_CHARGED, Alert.Kind.NOT_CHARGED, {"generationId": str(generation.id)}))
    return {"flags": [*generation.flags, NOT_CHARGED]} if NOT_CHARGED not in generation.flags else {}


def _charged(charge: Charge | Posted) -> dict[str, Any]:
    return {"charge_id": charge.id, "credits_charged": charge.credits - charge.refunded, "is_free": charge.is_free}


def credits_held(generation: Generation) -> int:
    """Return what its hold still holds; 0 where the gateway charges, or has charged already."""
    if generation.hold_id is None:
        return 0
    held = Hold.objects.filter(id=generation.hold_id, state=Hold.State.HELD).values_list("credits", flat=True).first()
    return held or 0


def credits_at_stake(generation: Generation) -> int:
    """Return what settling it moves at most: what its hold holds, or what is left of the charge that the gateway made."""
    charge = gateway_charge(generation)
    return max(credits_held(generation), charge.credits - charge.refunded if charge else 0)


def credits_held_first(generation: Generation) -> int:
    """Return what its hold held when it was made, whatever became of it since; 0 where there is none."""
    return generation.hold.credits if generation.hold else 0


def gateway_charge(generation: Generation) -> Charge | None:
    """Return the charge that the gateway made with this generation's id as its key."""
    return Charge.objects.filter(account=account_of(generation), idempotency_key=str(generation.id)).first()


def find_hold_of(generation: Generation) -> Hold | None:
    """Return the hold made for this generation, also where a crash kept the row from naming it."""
    return Hold.objects.filter(account=account_of(generation), idempotency_key=str(generation.id)).first()


def account_of(generation: Generation) -> Account:
    owner = Principal.of(generation)
    return Account.objects.get(**owner.columns, mode=owner.mode)
