"""Uses whose entries lie in the ledger's archive: their charges say the same."""

from datetime import timedelta
from typing import Any

from django.db.models import Count, Q, Sum, Value
from django.db.models.functions import Coalesce

from billing.ledger.closings import LedgerClosing
from billing.ledger.models import Charge, Kind, LedgerEntry

# As `rollup.SUMS`, of charges.
CHARGE_SUMS = {"n": Count("id"), "taken": Coalesce(Sum("credits"), 0), "returned": Value(0)}
_SKEW = timedelta(days=1)  # far more than an entry can be younger than its charge


def archived_charges(closing: LedgerClosing) -> Any:
    """Return the charges of the closing's account whose entries, up to the closing, are no longer in the ledger."""
    until = closing.archive.until
    entries = LedgerEntry.objects.filter(account_id=closing.account_id, kind=Kind.CONSUME, charge_id__isnull=False)
    near = entries.filter(Q(seq__lte=closing.last_seq) | Q(created_at__lt=until + _SKEW))
    rows = Charge.objects.filter(account_id=closing.account_id, credits__gt=0, created_at__lt=until)
    return rows.exclude(id__in=near.values("charge_id")).order_by()
