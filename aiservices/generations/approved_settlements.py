"""Unknown outcomes that are settled once a second person has agreed."""

from aiservices.generations.unknown import settle_many, unknown_outcomes
from billing.approvals.models import ApprovalRequest
from billing.approvals.services import Execution, Operation, asker_of, register

PERMISSION = "aiservices.settle_generation"


def _settle(row: ApprovalRequest) -> Execution:
    """Those that have ended meanwhile stay as they are, and are counted."""
    rows = unknown_outcomes().filter(pk__in=row.params["generations"])
    settled = settle_many(list(rows), charge=row.params["charge"], reason=row.reason, actor=asker_of(row))
    count = len(settled.ids)
    return Execution({"settled": count, "skipped": len(row.params["generations"]) - count, "credits": settled.credits})


def register_operations() -> None:
    register(ApprovalRequest.Kind.SETTLE, Operation(PERMISSION, _settle))
