"""What the ledger took from a tenant's account, by day, model and key: roll-ups, and the few entries since."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

from django.db.models import Count, Max, Sum
from django.db.models.functions import Coalesce, TruncDate

from billing.ledger.closings import LedgerClosing, last_closing
from billing.ledger.models import Charge, LedgerEntry
from billing.usage_reports.archived import CHARGE_SUMS, archived_charges
from billing.usage_reports.models import UsageDay, UsageProgress
from billing.usage_reports.rollup import COUNTED, SUMS, roll_up
from waule.core.errors import Unavailable

MAX_TAIL = 2_000  # entries that a read adds up by itself
Dimension = Literal["day", "model", "key"]
GroupKey = tuple[Any, ...]  # of the dimensions asked for, in that order; ids as text, "" for none


@dataclass
class Usage:
    """Counts of requests, and credits before refunds."""

    requests: int = 0
    succeeded: int = 0
    failed: int = 0
    credits: int = 0
    refunded: int = 0


@dataclass(frozen=True)
class Period:
    """A stretch of time, `since` inclusive, `until` exclusive, and its whole days in a zone."""

    since: datetime
    until: datetime
    zone: ZoneInfo
    first_day: date = field(init=False)
    end_day: date = field(init=False)  # exclusive

    def __post_init__(self) -> None:
        first = self.since.astimezone(self.zone).date()
        if midnight(first, self.zone) < self.since:
            first += timedelta(days=1)
        object.__setattr__(self, "first_day", first)
        object.__setattr__(self, "end_day", max(first, self.until.astimezone(self.zone).date()))

    @property
    def edges(self) -> list[tuple[datetime, datetime]]:
        """What lies before the first whole day and behind the last one."""
        first, end = midnight(self.first_day, self.zone), midnight(self.end_day, self.zone)
        stretches = [(self.since, min(first, self.until)), (max(end, self.since), self.until)]
        return [(since, until) for since, until in stretches if since < until] if first < self.until else stretches[:1]


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """When the day begins in the zone."""
    return datetime.combine(day, time(), zone)


def ledger_usage(account_id: int, period: Period, group_by: Sequence[Dimension], *, zone_name: str) -> dict[GroupKey, Usage]:
    """Return what the account's entries of the period took, up to the last entry. A charge is a request that succeeded."""
    while True:
        progress = _caught_up(account_id, zone_name)
        found: dict[GroupKey, Usage] = defaultdict(Usage)
        whole_days = {"day__gte": period.first_day, "day__lt": period.end_day}
        rolled: Any = UsageDay.objects.filter(account_id=account_id, **whole_days).order_by()
        names = [{"day": "day", "model": "model", "key": "api_key"}[name] for name in group_by]
        _add(found, rolled.values_list(*names).annotate(n=Sum("requests"), c=Sum("credits"), r=Sum("refunded")), len(names))
        if period.first_day < period.end_day:
            whole = (midnight(period.first_day, period.zone), midnight(period.end_day, period.zone))
            _add(found, _entries(account_id, *whole, group_by, period.zone, after=progress), len(names))
        closing = last_closing(account_id)
        for since, until in period.edges:
            _add(found, _entries(account_id, since, until, group_by, period.zone), len(names))
            if closing is not None and since < closing.archive.until:
                _add(found, _archived(closing, since, until, group_by, period.zone), len(names))
        _add_free(found, account_id, period, group_by)
        if _progress(account_id, zone_name) == progress:  # else somebody rolled up meanwhile
            return dict(found)


def _progress(account_id: int, zone_name: str) -> int | None:
    return UsageProgress.objects.filter(account_id=account_id, time_zone=zone_name).values_list("seq", flat=True).first()


def _caught_up(account_id: int, zone_name: str) -> int | None:
    """Return up to which entry the roll-ups reach, so that few are left; None where there are none."""
    last = LedgerEntry.objects.filter(account_id=account_id).aggregate(last=Max("seq"))["last"] or 0
    progress = _progress(account_id, zone_name)
    is_other_zone = progress is None and UsageProgress.objects.filter(account_id=account_id).exists()
    closing = last_closing(account_id)
    is_archived = closing is not None and (progress or 0) < closing.last_seq  # and not rolled up
    is_stale = is_other_zone or is_archived
    while is_stale or last - (progress or 0) > MAX_TAIL:
        try:
            has_more = roll_up(account_id, zone_name=zone_name)
        except Unavailable:  # somebody else does it; the entries themselves say the same
            if is_archived:
                raise
            break
        progress, is_stale = _progress(account_id, zone_name), False
        if not has_more:
            break
    return progress


def _entries(
    account_id: int, since: datetime, until: datetime, group_by: Sequence[Dimension], zone: ZoneInfo, *, after: int | None = None
) -> Any:
    rows: Any = LedgerEntry.objects.filter(account_id=account_id, kind__in=COUNTED, created_at__gte=since, created_at__lt=until)
    if after:
        rows = rows.filter(seq__gt=after)
    columns = {"day": TruncDate("created_at", tzinfo=zone), "model": "charge__model_id", "key": "charge__api_key_id"}
    return _grouped(rows, columns, group_by).annotate(**SUMS)


def _archived(closing: LedgerClosing, since: datetime, until: datetime, group_by: Sequence[Dimension], zone: ZoneInfo) -> Any:
    rows = archived_charges(closing).filter(created_at__gte=since, created_at__lt=until)
    columns = {"day": TruncDate("created_at", tzinfo=zone), "model": "model_id", "key": "api_key_id"}
    return _grouped(rows, columns, group_by).annotate(**CHARGE_SUMS)


def _grouped(rows: Any, columns: dict[str, Any], group_by: Sequence[Dimension]) -> Any:
    if "day" in group_by:
        rows = rows.annotate(the_day=columns["day"])
    names = {"day": "the_day", "model": columns["model"], "key": columns["key"]}
    return rows.order_by().values_list(*(names[name] for name in group_by))


def _add(found: dict[GroupKey, Usage], rows: Iterable[Any], width: int) -> None:
    for row in rows:
        requests, credits, refunded = (value or 0 for value in row[width:])
        if not (requests or credits or refunded):
            continue
        usage = found[group_key(row[:width])]
        usage.requests += requests
        usage.succeeded += requests
        usage.credits += credits
        usage.refunded += refunded


def group_key(values: Iterable[Any]) -> GroupKey:
    """Return ids as text, days as they are."""
    return tuple(value if isinstance(value, date) else str(value or "") for value in values)


def _add_free(found: dict[GroupKey, Usage], account_id: int, period: Period, group_by: Sequence[Dimension]) -> None:
    """Charges of no credits have no entry: they are requests all the same."""
    rows: Any = Charge.objects.filter(account_id=account_id, credits=0, created_at__gte=period.since, created_at__lt=period.until)
    columns = {"day": TruncDate("created_at", tzinfo=period.zone), "model": "model_id", "key": "api_key_id"}
    for row in _grouped(rows, columns, group_by).annotate(n=Count("id")):
        usage = found[group_key(row[:-1])]
        usage.requests += row[-1]
        usage.succeeded += row[-1]


def credits_used_ever(account_id: int, *, zone_name: str) -> int:
    """Return what the account's uses took since its first entry, less what was refunded."""
    while True:
        progress = _caught_up(account_id, zone_name)
        rolled = UsageDay.objects.filter(account_id=account_id).aggregate(
            used=Coalesce(Sum("credits"), 0) - Coalesce(Sum("refunded"), 0)
        )["used"]
        since = LedgerEntry.objects.filter(account_id=account_id, seq__gt=progress or 0, kind__in=COUNTED)
        used = (rolled if progress else 0) - (since.aggregate(sum=Sum("amount"))["sum"] or 0)
        if _progress(account_id, zone_name) == progress:
            return int(used)
