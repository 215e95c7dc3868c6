"""What an account can spend now, could spend then, and has used between."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Max, Min, OuterRef, Subquery

from billing.errors import TargetNotFound
from billing.ledger.closings import archived_text, closing_that_cuts
from billing.ledger.models import Account, Kind, LedgerEntry
from billing.ledger.rows import balance_and_held
from tenants.principal import Principal
from waule.core.errors import InvalidRequest
from waule.core.ids import parse_uuid


@dataclass(frozen=True)
class Balance:
    """What can be spent, and what is held, in credits."""

    spendable: int
    held: int


def balance_of(account_id: int) -> Balance:
    """Return the figures of now: a hold past its time no longer counts, whether or not anybody has ended it."""
    found = balance_and_held("account", account_id)
    assert found, "accounts are never deleted"
    return Balance(found[0] - found[1], found[1])


def find_balance(target: Principal) -> Balance:
    """Return the same of a target's live account, in one query.

    Raises:
        TargetNotFound: nobody has this id.
    """
    owner_id = parse_uuid(target.id)
    found = balance_and_held(target.kind, owner_id) if owner_id else None
    if found is None:
        raise TargetNotFound(targetType=target.kind, targetId=target.id)
    return Balance(found[0] - found[1], found[1])


def balance_at(account_id: int, timestamp: datetime) -> int:
    """Return the ledger's balance at `timestamp`, inclusive; holds are no entries.

    Raises:
        InvalidRequest: the timestamp lies within an archived month.
    """
    rows = LedgerEntry.objects.filter(account_id=account_id, created_at__lte=timestamp)
    seq, balance = rows.order_by("-seq").values_list("seq", "balance").first() or (0, 0)
    # Just behind the timestamp: an entry of that very timestamp counts.
    if cut := closing_that_cuts(account_id, last_before=seq, timestamp=timestamp + timedelta(microseconds=1)):
        raise InvalidRequest.of_field("at", archived_text(cut))
    return balance


def balances_before(account_id: int, timestamps: Sequence[datetime]) -> list[int]:
    """Return the ledger's balance just before each of the moments, in one query: a look into the index for each."""
    if not timestamps:
        return []
    entries = LedgerEntry.objects.filter(account_id=OuterRef("id")).order_by("-created_at", "-seq").values("balance")
    looks = {
        f"at_{number}": Subquery(entries.filter(created_at__lt=timestamp)[:1]) for number, timestamp in enumerate(timestamps)
    }
    row = Account.objects.filter(id=account_id).annotate(**looks).values_list(*looks).get()
    return [balance or 0 for balance in row]


def used_since(account_id: int, starts: Sequence[datetime], *, until: datetime) -> list[int]:
    """Return the credits that uses took, less what refunds gave back, from each of the moments to before `until`."""
    return used_within([account_id], [(start, until) for start in starts])[account_id]


def used_within(account_ids: Sequence[int], windows: Sequence[tuple[datetime, datetime]]) -> dict[int, list[int]]:
    """Return the same for several accounts, in each of the windows (the end exclusive), in two queries.

    Exact, and as quick for a million uses as for one: what the balance lost, and what was granted meanwhile. Only single
    entries are looked up, and the rare kinds read.
    """
    if not windows or not account_ids:
        return {account_id: [0] * len(windows) for account_id in account_ids}
    timestamps = sorted({timestamp for window in windows for timestamp in window})
    entries = LedgerEntry.objects.filter(account_id=OuterRef("id"))
    newest = entries.order_by("-created_at", "-seq").values("balance")
    looks: dict[str, Subquery] = {
        f"at_{number}": Subquery(newest.filter(created_at__lt=timestamp)[:1]) for number, timestamp in enumerate(timestamps)
    }
    oldest = entries.filter(created_at__gte=timestamps[0]).order_by("created_at", "seq").values("id")
    rows = Account.objects.filter(id__in=account_ids).annotate(first=Subquery(oldest[:1]), **looks)
    balances = {row[0]: (row[1], [balance or 0 for balance in row[2:]]) for row in rows.values_list("id", "first", *looks)}
    granted = _granted_since(balances, timestamps[0])
    found = {}
    for account_id, (_first, held) in balances.items():
        at = dict(zip(timestamps, held, strict=True))
        moved = granted.get(account_id, [])
        found[account_id] = [
            at[start] + sum(amount for timestamp, amount in moved if start <= timestamp < end) - at[end] for start, end in windows
        ]
    return found


def _granted_since(balances: dict[int, tuple[int | None, list[int]]], since: datetime) -> dict[int, list[tuple[datetime, int]]]:
    """By account, the moments and amounts of what was neither a use nor a refund."""
    numbers = [first for first, _balances in balances.values() if first is not None]
    if not numbers:
        return {}
    kinds = [kind.value for kind in Kind if kind not in (Kind.CONSUME, Kind.REFUND)]
    entries = LedgerEntry.objects.filter(account_id__in=list(balances), kind__in=kinds, id__gte=min(numbers))  # by their index
    moved: dict[int, list[tuple[datetime, int]]] = {}
    for account_id, timestamp, amount in entries.filter(created_at__gte=since).values_list("account_id", "created_at", "amount"):
        moved.setdefault(account_id, []).append((timestamp, amount))
    return moved


def first_entry_id(timestamp: datetime) -> int:
    """Return the lowest number from which on entries were made at `timestamp` or later, by halving; numbers follow time
    closely.
    """
    ends = LedgerEntry.objects.aggregate(low=Min("id"), high=Max("id"))
    low, high = ends["low"] or 1, (ends["high"] or 0) + 1
    while low < high:
        middle = (low + high) // 2
        found = LedgerEntry.objects.filter(id__gte=middle).order_by("id").values_list("id", "created_at").first()
        if found is None or found[1] >= timestamp:
            high = middle
        else:
            low = found[0] + 1
    return low
