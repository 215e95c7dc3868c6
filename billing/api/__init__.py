"""`/internal/billing`: the gateway's view of the ledger."""

from billing.api.charges import ChargeViewSet, EstimateViewSet
from billing.api.credits import GrantViewSet, RefundViewSet
from billing.api.holds import HoldViewSet
from billing.api.ledger import BalanceViewSet, EntryViewSet, StatementViewSet, entry_answer

__all__ = [
    "BalanceViewSet",
    "ChargeViewSet",
    "EntryViewSet",
    "EstimateViewSet",
    "GrantViewSet",
    "HoldViewSet",
    "RefundViewSet",
    "StatementViewSet",
    "entry_answer",
]
