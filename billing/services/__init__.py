"""The verbs of the ledger. Each is one durable transaction; each says who did it; each can be repeated safely with its key.

Amounts are whole credits. `actor` is who did it, as the ledger shows it: "gateway", "admin:root", "user:<id>", "command".
"""

from billing.services.charges import BatchItem, ChargeResult, charge, charge_many
from billing.services.estimates import Estimate, check_use, estimate
from billing.services.grants import GrantResult, adjust, grant
from billing.services.holds import CaptureResult, HoldResult, ReleaseResult, capture, expire_holds, hold, mark_unknown, release
from billing.services.refunds import RefundResult, refund, refund_undelivered
from billing.services.stuck_holds import release_stuck

__all__ = [
    "BatchItem",
    "CaptureResult",
    "ChargeResult",
    "Estimate",
    "GrantResult",
    "HoldResult",
    "RefundResult",
    "ReleaseResult",
    "adjust",
    "capture",
    "charge",
    "charge_many",
    "check_use",
    "estimate",
    "expire_holds",
    "grant",
    "hold",
    "mark_unknown",
    "refund",
    "refund_undelivered",
    "release",
    "release_stuck",
]
