"""Releases a hold that nobody will end: for staff, with a reason, and in the audit log."""

from typing import Any

from django.utils.translation import gettext as _

from billing.errors import HoldEnded
from billing.ledger.models import Hold
from billing.services.holds import ReleaseResult, release_in_transaction
from tenants import audit
from waule.core.db.transactions import durable
from waule.core.errors import InvalidRequest, InvalidState

OPEN_GENERATIONS = frozenset({"new", "queued", "running", "unknown"})


def rejection(hold: Hold) -> InvalidState | None:
    """Return why staff cannot release this hold, or None."""
    if hold.state != Hold.State.HELD:
        text = _("The hold is already %(state)s.") % {"state": hold.get_state_display().lower()}
        return HoldEnded(text, state=hold.state, holdId=str(hold.id))
    return _generation_problem(hold)


def _generation_problem(hold: Hold) -> InvalidState | None:
    # Generations belong to an app above this one; the reverse relation leads there without an import.
    generation: Any = getattr(hold, "generation", None)
    if generation is None or generation.state not in OPEN_GENERATIONS:
        return None
    text = _("This hold pays for a generation that has not ended: cancel or settle the generation.")
    return InvalidState(text, state=generation.state)


@durable
def release_stuck(*, hold_id: str, reason: str, actor: str) -> ReleaseResult:
    """Give back what the hold holds. A capture that comes later is refused.

    Raises:
        InvalidRequest: no reason. HoldEnded: it has ended. InvalidState: its generation has not.
    """
    if not reason.strip():
        raise InvalidRequest.of_field("reason", _("Say why."))
    result = release_in_transaction(hold_id=hold_id, reason=reason, actor=actor)
    if result.replayed:
        return result
    if (why := _generation_problem(Hold.objects.get(id=hold_id))) is not None:  # under the account's lock
        raise why
    audit.record(
        actor=actor, action="hold.release", target=result.hold, reason=reason, after={"credits": result.credits_released}
    )
    return result
