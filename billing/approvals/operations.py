"""What billing does once it is approved: grants, adjustments, refunds, redemption codes."""

from datetime import datetime

from django.utils.translation import gettext as _

from billing import services
from billing.approvals.models import ApprovalRequest
from billing.approvals.services import Execution, Operation, asker_of, register
from billing.ledger.models import Kind
from billing.redemption.models import RedemptionBatch
from billing.redemption.services import create_codes
from tenants.principal import Principal
from waule.core.errors import InvalidState


def _grant(row: ApprovalRequest) -> Execution:
    assert row.account is not None, "a grant has an account"
    result = services.grant(
        target=Principal.of(row.account),
        credits=row.credits,
        kind=Kind(row.params["kind"]),
        reason=row.reason,
        actor=asker_of(row),
        idempotency_key=row.execution_key,
    )
    return Execution({"balance": result.balance})


def _adjust(row: ApprovalRequest) -> Execution:
    assert row.account_id is not None, "an adjustment has an account"
    result = services.adjust(
        account_id=row.account_id,
        credits=row.credits,
        reason=row.reason,
        actor=asker_of(row),
        idempotency_key=row.execution_key,
    )
    return Execution({"balance": result.balance})


def _refund(row: ApprovalRequest) -> Execution:
    result = services.refund(
        charge_id=row.params["charge"],
        credits=row.credits,
        reason=row.reason,
        actor=asker_of(row),
        idempotency_key=row.execution_key,
    )
    return Execution({"balance": result.balance})


def _make_codes(row: ApprovalRequest) -> Execution:
    given = row.params
    expires_at = datetime.fromisoformat(given["expiresAt"]) if given["expiresAt"] else None
    made = create_codes(
        count=given["codes"],
        credits=given["credits"],
        uses=given["uses"],
        expires_at=expires_at,
        batch=given["batch"],
        actor=asker_of(row),
    )
    return Execution({"batch": str(made.batch.id)}, shown=made)


def _codes_after_crash(row: ApprovalRequest) -> Execution:
    """Nobody would see codes that a worker makes; and those that were made before the crash, nobody has seen."""
    batch = RedemptionBatch.objects.filter(name=row.params["batch"], created_by=asker_of(row)).first()
    if batch is None:
        raise InvalidState(_("The server stopped before the codes were made. Ask again."), state="not_made")
    raise InvalidState(_("The server stopped before the codes were shown. Close the batch and ask again."), state="not_shown")


def register_operations() -> None:
    register(ApprovalRequest.Kind.GRANT, Operation("billing.grant_credits", _grant))
    register(ApprovalRequest.Kind.ADJUST, Operation("billing.adjust_credits", _adjust))
    register(ApprovalRequest.Kind.REFUND, Operation("billing.refund_charge", _refund))
    register(ApprovalRequest.Kind.REDEMPTION, Operation("billing.add_redemptionbatch", _make_codes, finish=_codes_after_crash))
