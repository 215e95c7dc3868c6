"""Decisions of people over a generation: cancel it, settle an unknown outcome, delete it."""

from django.db import transaction
from django.db.models import F
from django.http import HttpRequest
from django.utils.translation import gettext as _

from aiservices.errors import LeaseLost, TaskNotOver, TaskOver
from aiservices.generations import pending
from aiservices.generations.execution import may_exist
from aiservices.generations.leases import lease_end, owner
from aiservices.generations.models import Generation, GenerationInput
from aiservices.generations.services.joining import READ
from aiservices.generations.settlement.outcomes import SETTLED_FLAG, apply_outcome, settle
from aiservices.generations.unfinished import deliver_pending, reopen
from billing.ledger.posting import database_now
from storage import media
from tenants.principal import Principal
from waule.core.errors import StorageUnavailable

State = Generation.State
INPUTS = frozenset({"referenceImages", "mask", "parameters"})  # what a caller sent, among a generation's parameters


def cancel(*, generation: Generation) -> Generation:
    """End a generation that is queued or running, and give its credits back. Whoever works on it finds out and stops.

    Raises:
        TaskOver: it has ended already.
    """
    for _try in range(10):
        found = Generation.objects.select_related(*READ).get(id=generation.id)
        if found.is_over or found.outcome:
            break
        # What a provider makes meanwhile is lost to us, and costs whoever canceled nothing: an operator should know how often.
        flags = [*found.flags, "canceled_while_made"] if may_exist(found) else found.flags
        canceled = Generation.objects.filter(
            id=found.id, attempt=found.attempt, outcome="", state__in=[State.QUEUED, State.RUNNING]
        ).update(
            attempt=F("attempt") + 1,
            state=State.RUNNING,  # it is being ended: should this process die, it is found like any work left behind
            outcome=State.CANCELED,
            error_code="canceled",
            error_message=_("The task was canceled."),
            error_details={"status": 409},
            flags=flags,
            lease_owner=owner(),
            lease_until=lease_end(database_now()),
        )
        if canceled:
            found.refresh_from_db()
            apply_outcome(found)
            return found
    raise TaskOver(state=found.state, taskId=str(found.id))


def settle_unknown(
    *,
    generation: Generation,
    charge: bool,
    reason: str,
    actor: str,
    request: HttpRequest | None = None,
    flag: str | None = None,
) -> Generation:
    """End an unknown outcome as an operator decides: charged as held, or released. It is in the audit log then.

    `flag` is what its row says of it; left out: that an operator has settled it.

    Raises:
        TaskOver: it is not unknown (any more); `details.state` is what it is. StorageUnavailable: what was made waits for
            room, and there is none yet.
    """
    found = Generation.objects.select_related(*READ).get(id=generation.id)
    if charge and found.state == State.UNKNOWN and found.pending_results.exists():  # what is charged is delivered
        deliver_pending(found)
        if found.state == State.SUCCEEDED:
            return found
        if pending.WAITS_FOR_STORAGE in found.flags:
            raise StorageUnavailable
    try:
        reopen(found)
        settle(found, charge=charge, reason=reason, actor=actor, request=request, flag=flag or SETTLED_FLAG)
    except LeaseLost:
        found.refresh_from_db(fields=["state"])
        raise TaskOver(state=found.state, taskId=str(found.id)) from None
    return found


def delete(*, caller: Principal, generation: Generation) -> None:
    """Hide an ended generation from its owner and delete its files, prompt and inputs; the ledger keeps what it cost.

    Its idempotency key is free again.

    Raises:
        TaskNotOver: it has not ended, or nobody knows how. BucketProblem: a file could not be deleted.
    """
    if not generation.is_over or generation.state == State.UNKNOWN:
        raise TaskNotOver(state=generation.state, taskId=str(generation.id))
    for result in generation.outputs:
        if "objectKey" in result:
            media.remove(result["objectKey"], owner=caller)
    kept = {name: value for name, value in generation.parameters.items() if name not in INPUTS}
    with transaction.atomic():
        Generation.objects.filter(id=generation.id).update(
            deleted_at=database_now(), prompt="", parameters=kept, outputs=[], idempotency_key=None, fingerprint=""
        )
        GenerationInput.objects.filter(generation_id=generation.id).delete()
