"""Add new ledger entries to the roll-ups, a bounded stretch of entry numbers at a time.

Entries never change and are numbered without a gap, so the roll-ups up to a number are final. Another time zone of the
tenant means other days: then they are made anew, those of archived entries from their charges.
"""

from datetime import date
from typing import Any

from django.db.models import Count, F, Q, Sum
from django.db.models.functions import Coalesce, TruncDate

from billing.budgets.limits import zone_of
from billing.ledger.closings import LedgerClosing, last_closing
from billing.ledger.models import Account, Kind, LedgerEntry
from billing.usage_reports.archived import CHARGE_SUMS, archived_charges
from billing.usage_reports.models import UsageDay, UsageProgress
from waule.core.db.transactions import durable

MAX_ENTRIES = 500_000  # of one step
MAX_ACCOUNTS = 500  # of one periodic run
MIN_TAIL = 200  # entries that are not worth a step of the periodic task
COUNTED = (Kind.CONSUME, Kind.REFUND)
SUMS = {
    "n": Count("id", filter=Q(kind=Kind.CONSUME)),
    "taken": Coalesce(-Sum("amount", filter=Q(kind=Kind.CONSUME)), 0),
    "returned": Coalesce(Sum("amount", filter=Q(kind=Kind.REFUND)), 0),
}
Key = tuple[date, str, str]


@durable
def roll_up(account_id: int, *, zone_name: str, max_entries: int = MAX_ENTRIES) -> bool:
    """Roll up the account's next entries, at most `max_entries`. Return whether there are more."""
    progress, _made = UsageProgress.objects.select_for_update(of=("self",)).get_or_create(
        account_id=account_id, defaults={"time_zone": zone_name}
    )
    if progress.time_zone != zone_name:
        UsageDay.objects.filter(account_id=account_id).delete()
        progress.seq, progress.time_zone = 0, zone_name
    last = LedgerEntry.objects.filter(account_id=account_id).order_by("-seq").values_list("seq", flat=True).first() or 0
    closing = last_closing(account_id)
    is_anew = closing is not None and progress.seq < closing.last_seq
    end = closing.last_seq if closing is not None and is_anew else min(last, progress.seq + max_entries)
    if end > progress.seq:
        sums = _sums(account_id, progress.seq, end, zone_name)
        if closing is not None and is_anew:
            _merge(sums, _archived_sums(closing, zone_name))
        _add(account_id, sums)
        progress.seq = end
    progress.save()
    return end < last


def _sums(account_id: int, after: int, last: int, zone_name: str) -> dict[Key, tuple[int, int, int]]:
    rows: Any = LedgerEntry.objects.filter(account_id=account_id, seq__gt=after, seq__lte=last, kind__in=COUNTED).order_by()
    rows = rows.annotate(day=TruncDate("created_at", tzinfo=zone_of(zone_name)))
    grouped = rows.values_list("day", "charge__model_id", "charge__api_key_id").annotate(**SUMS)
    return {(day, str(model or ""), str(key or "")): tuple(sums) for day, model, key, *sums in grouped}


def _archived_sums(closing: LedgerClosing, zone_name: str) -> dict[Key, tuple[int, int, int]]:
    rows = archived_charges(closing).annotate(day=TruncDate("created_at", tzinfo=zone_of(zone_name)))
    grouped = rows.values_list("day", "model_id", "api_key_id").annotate(**CHARGE_SUMS)
    return {(day, str(model or ""), str(key or "")): tuple(sums) for day, model, key, *sums in grouped}


def _merge(sums: dict[Key, tuple[int, int, int]], more: dict[Key, tuple[int, int, int]]) -> None:
    for key, (requests, credits, refunded) in more.items():
        there = sums.get(key, (0, 0, 0))
        sums[key] = (there[0] + requests, there[1] + credits, there[2] + refunded)


def _add(account_id: int, sums: dict[Key, tuple[int, int, int]]) -> None:
    days = {day for day, _model, _key in sums}
    there = {(row.day, row.model, row.api_key): row for row in UsageDay.objects.filter(account_id=account_id, day__in=days)}
    new = []
    for key, (requests, credits, refunded) in sums.items():
        row = there.get(key)
        if row is None:
            row = UsageDay(account_id=account_id, day=key[0], model=key[1], api_key=key[2])
            new.append(row)
        row.requests += requests
        row.credits += credits
        row.refunded += refunded
    UsageDay.objects.bulk_create(new, batch_size=500)
    changed = [there[key] for key in sums if key in there]
    UsageDay.objects.bulk_update(changed, ["requests", "credits", "refunded"], batch_size=500)


def roll_up_due() -> int:
    """Roll up the tenants' accounts that have new entries. Return how many there were. For the periodic task."""
    rows = Account.objects.filter(tenant__isnull=False, last_seq__gte=MIN_TAIL)
    reached = UsageProgress.objects.filter(account__tenant__isnull=False)
    behind = rows.exclude(id__in=reached.filter(seq__gt=F("account__last_seq") - MIN_TAIL).values("account_id"))
    due = list(behind.values_list("id", "tenant__time_zone").order_by("id")[:MAX_ACCOUNTS])
    for account_id, zone_name in due:
        roll_up(account_id, zone_name=zone_name)
    return len(due)
