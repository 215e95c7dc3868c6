"""Ask, approve, reject, expire; and finish what a crash left between the approval and its execution.

What a kind of request does is an `Operation`, which the room that can do it registers when Django starts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.utils.translation import gettext as _

from billing.approvals.errors import ApprovalOver, ApproverLacksPermission, AskerLacksPermission, OwnRequest
from billing.approvals.models import ApprovalRequest
from billing.ledger.posting import database_now
from billing.services.replays import once
from tenants import audit
from tenants.models import User
from waule.core.db.transactions import durable
from waule.core.errors import IdempotencyKeyReused, InvalidRequest, NotFound, Unavailable, WauleError
from waule.core.fail_points import failpoint

EXPIRES_AFTER = timedelta(hours=72)
LEFT_AFTER = timedelta(minutes=10)  # an approval that is not finished then was left behind by a crash
MAX_AT_ONCE = 100  # expired or finished by one round of the worker
ACTOR = "worker"
State = ApprovalRequest.State
logger = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Execution:
    """`result` is kept with the request; `shown` is for the approver alone, this once."""

    result: dict[str, Any]
    shown: Any = None


@dataclass(frozen=True)
class Operation:
    """What a kind of request does, and who may do it.

    `execute` is safe to repeat: it uses the request's `execution_key`, or what the database has once only. `finish` is
    what a worker does instead where a crash has cut it off.
    """

    permission: str
    execute: Callable[[ApprovalRequest], Execution]
    finish: Callable[[ApprovalRequest], Execution] | None = None


OPERATIONS: dict[str, Operation] = {}


def register(kind: ApprovalRequest.Kind, operation: Operation) -> None:
    OPERATIONS[kind] = operation


def is_needed(credits: int) -> bool:
    """Return whether moving so many credits in the admin takes two persons."""
    return 0 < settings.APPROVAL_ABOVE_CREDITS < abs(credits)


def actor_name(user: User) -> str:
    """As the ledger and the audit log name staff."""
    return f"admin:{user.get_username()}"


# --- asking --------------------------------------------------------------------------------------------------------


def ask(
    *,
    kind: ApprovalRequest.Kind,
    credits: int,
    params: dict[str, Any],
    reason: str,
    asker: User,
    idempotency_key: str,
    account_id: int | None = None,
) -> ApprovalRequest:
    """Keep a request until a second person decides. Asked again with its key, it is the first one.

    Raises:
        InvalidRequest: no reason. IdempotencyKeyReused: the key asked for something else.
    """
    if not reason.strip():
        raise InvalidRequest.of_field("reason", _("Say why."))
    asked = {"kind": str(kind), "credits": credits, "params": params, "reason": reason, "account_id": account_id}

    def replay() -> ApprovalRequest | None:
        first = ApprovalRequest.objects.filter(idempotency_key=idempotency_key).first()
        if first is not None and ({name: getattr(first, name) for name in asked} != asked or first.asked_by_id != asker.pk):
            raise IdempotencyKeyReused
        return first

    @durable
    def take() -> ApprovalRequest:
        now = database_now()
        fresh = {"asked_by": asker, "asked_at": now, "expires_at": now + EXPIRES_AFTER, "idempotency_key": idempotency_key}
        row = ApprovalRequest.objects.create(**asked, **fresh)
        _record("ask", row, actor_name(asker), reason=reason, after={"credits": credits, "kind": str(kind), **params})
        return row

    return replay() or once(take, replay)


# --- deciding ------------------------------------------------------------------------------------------------------


def may_decide(row: ApprovalRequest, user: User) -> bool:
    """Return whether this person may approve or reject it now."""
    return row.state == State.PENDING and row.expires_at > database_now() and _refusal(row, user) is None


def approve(*, request_id: UUID, approver: User) -> tuple[ApprovalRequest, Any]:
    """Approve and do it, once. Return the request as it is then, and what is for the approver's eyes alone.

    Raises:
        NotFound; ApprovalOver: decided or expired already; OwnRequest, ApproverLacksPermission, AskerLacksPermission.
        Unavailable: approved, but the database was busy; a worker finishes it.
    """
    row = _decide(request_id, approver, State.APPROVED, "approve", "")
    failpoint("approval.approved")
    return execute(row)


def reject(*, request_id: UUID, approver: User, reason: str) -> ApprovalRequest:
    """Reject it for good.

    Raises:
        as `approve`; InvalidRequest: no reason.
    """
    if not reason.strip():
        raise InvalidRequest.of_field("reason", _("Say why."))
    return _decide(request_id, approver, State.REJECTED, "reject", reason)


@durable
def _decide(request_id: UUID, decider: User, state: State, verb: str, reason: str) -> ApprovalRequest:
    row = ApprovalRequest.objects.select_for_update(no_key=True).filter(id=request_id).first()
    if row is None:
        raise NotFound
    now = database_now()
    if row.state != State.PENDING or row.expires_at <= now:
        raise ApprovalOver(state=row.state if row.state != State.PENDING else State.EXPIRED)
    if (refused := _refusal(row, decider)) is not None:
        raise refused
    if state == State.APPROVED and not _has_permission(row, row.asked_by_id):
        raise AskerLacksPermission
    row.state, row.decided_by, row.decided_at, row.decision_reason = state, decider, now, reason
    row.save(update_fields=["state", "decided_by", "decided_at", "decision_reason"])
    _record(verb, row, actor_name(decider), reason=reason, after={"credits": row.credits, "kind": row.kind})
    return row


def _refusal(row: ApprovalRequest, decider: User) -> WauleError | None:
    if row.asked_by_id == decider.pk:
        return OwnRequest()
    return None if _has_permission(row, decider.pk) else ApproverLacksPermission()


def _has_permission(row: ApprovalRequest, user_id: Any) -> bool:
    """As the database has it now: what a session knows of its user may be older."""
    user = User.objects.filter(pk=user_id, is_active=True, is_staff=True).first()
    return user is not None and user.has_perm(OPERATIONS[row.kind].permission)


# --- execution -----------------------------------------------------------------------------------------------------


def execute(row: ApprovalRequest, *, after_crash: bool = False) -> tuple[ApprovalRequest, Any]:
    """Do what was approved and note what came of it. Both persons must still be allowed to do it."""
    operation = OPERATIONS[row.kind]
    execution, problem = Execution({}), ""
    if not all(_has_permission(row, each) for each in (row.asked_by_id, row.decided_by_id)):
        problem = str(AskerLacksPermission.message)
    else:
        try:
            execution = (operation.finish if after_crash and operation.finish else operation.execute)(row)
        except Unavailable:
            raise
        except WauleError as error:
            problem = str(error)
    failpoint("approval.executed")
    return _finish(row.id, execution.result, problem[:500]), execution.shown


@durable
def _finish(request_id: UUID, result: dict[str, Any], problem: str) -> ApprovalRequest:
    row = ApprovalRequest.objects.select_for_update(no_key=True).get(id=request_id)
    if row.state == State.APPROVED:
        row.state, row.result, row.problem = State.FAILED if problem else State.DONE, result, problem
        row.save(update_fields=["state", "result", "problem"])
        if problem:
            _record("fail", row, ACTOR, reason=problem)
    return row


def asker_of(row: ApprovalRequest) -> str:
    """Return who acts in the ledger: whoever asked. Who approved is in the audit log, and with the request."""
    assert row.asked_by is not None, "an approval without an asker is not executed"
    return actor_name(row.asked_by)


# --- what workers do -----------------------------------------------------------------------------------------------


def look_after() -> None:
    """Expire what nobody decided in time, and finish what a crash has cut off."""
    now = database_now()
    overdue = ApprovalRequest.objects.filter(state=State.PENDING, expires_at__lte=now)
    for request_id in list(overdue.order_by("expires_at").values_list("id", flat=True)[:MAX_AT_ONCE]):
        _expire(request_id)
    left = ApprovalRequest.objects.filter(state=State.APPROVED, decided_at__lte=now - LEFT_AFTER).select_related("asked_by")
    for row in list(left.order_by("decided_at")[:MAX_AT_ONCE]):
        logger.warning("approval_left_behind", approval=str(row.id), kind=row.kind)
        try:
            execute(row, after_crash=True)
        except Unavailable:  # the next round tries again; the others are not kept waiting
            logger.warning("approval_not_finished", approval=str(row.id))


@durable
def _expire(request_id: UUID) -> None:
    row = ApprovalRequest.objects.select_for_update(no_key=True).get(id=request_id)
    if row.state == State.PENDING and row.expires_at <= database_now():
        row.state = State.EXPIRED
        row.save(update_fields=["state"])
        _record("expire", row, ACTOR)


def _record(verb: str, row: ApprovalRequest, actor: str, **told: Any) -> None:
    audit.record(actor=actor, action=f"approval.{verb}", target=row, **told)
