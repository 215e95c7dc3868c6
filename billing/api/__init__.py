"""`/internal/billing`: the gateway's view of the books."""

from billing.api.books import BalanceViewSet, EntryViewSet, StatementViewSet, entry_answer
from billing.api.charges import ChargeViewSet, EstimateViewSet
from billing.api.credits import GrantViewSet, RefundViewSet
from billing.api.holds import HoldViewSet

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
