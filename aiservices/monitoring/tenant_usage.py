"""What a tenant used: requests, how they ended, and what they cost, by day of its zone, model and key."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, cast
from uuid import UUID

from django.db.models import Count, Q
from django.db.models.functions import TruncDate

from aiservices.generations.models import Generation
from billing.budgets.limits import zone_of
from billing.catalog.models import AIModel
from billing.ledger.models import Account
from billing.usage_reports.selectors import Dimension, GroupKey, Period, Usage, group_key, ledger_usage
from tenants.models import Tenant
from waule.core.ids import parse_uuid, uuid7_floor

CLOCK_MARGIN = timedelta(hours=1)  # between the clock that made an id and the one that wrote `created_at`
State = Generation.State
DIMENSIONS: tuple[Dimension, ...] = ("day", "model", "key")


@dataclass(frozen=True)
class UsageRow:
    """One group; a dimension that was not asked for is None. `model` is the provider's name, `key_id` may be ""."""

    usage: Usage
    day: date | None = None
    model: str | None = None
    key_id: str | None = None


def tenant_usage(*, tenant: Tenant, mode: str, since: datetime, until: datetime, group_by: Sequence[Dimension]) -> list[UsageRow]:
    """Return the usage of one account of the tenant from `since`, inclusive, to `until`, exclusive, in the order of the groups.

    What was charged counts when the ledger took it, so that credits - refunded is the ledger's own sum; a request that
    was not charged counts when it began.
    """
    wanted = [name for name in DIMENSIONS if name in group_by]
    grouped: Sequence[Dimension] = wanted or ["model"]
    account = Account.objects.only("id").get(tenant=tenant, mode=mode)
    period = Period(since, until, zone_of(tenant.time_zone))
    found = ledger_usage(account.id, period, grouped, zone_name=tenant.time_zone)
    for key, usage in _uncharged(tenant.id, mode, period, grouped).items():
        _merge(found.setdefault(key, Usage()), usage)
    if not wanted:
        return [UsageRow(_total(found.values()))] if found else []
    return _rows(found, wanted)


def _uncharged(tenant_id: UUID, mode: str, period: Period, group_by: Sequence[Dimension]) -> dict[GroupKey, Usage]:
    """Generations without a charge: those that failed, are under way, or whose outcome nobody knows."""
    rows: Any = Generation.objects.filter(
        tenant_id=tenant_id,
        mode=mode,
        charge__isnull=True,
        id__gte=uuid7_floor(period.since - CLOCK_MARGIN),
        id__lt=uuid7_floor(period.until + CLOCK_MARGIN),
        created_at__gte=period.since,
        created_at__lt=period.until,
    ).exclude(state=State.NEW)
    if "day" in group_by:
        rows = rows.annotate(the_day=TruncDate("created_at", tzinfo=period.zone))
    names = {"day": "the_day", "model": "model_id", "key": "api_key_id"}
    counted = rows.order_by().values_list(*(names[name] for name in group_by))
    counted = counted.annotate(
        requests=Count("id"),
        succeeded=Count("id", filter=Q(state=State.SUCCEEDED)),
        failed=Count("id", filter=Q(state__in=[State.FAILED, State.CANCELED])),
    )
    return {group_key(row[:-3]): Usage(*row[-3:]) for row in counted}


def _merge(into: Usage, more: Usage) -> None:
    into.requests += more.requests
    into.succeeded += more.succeeded
    into.failed += more.failed
    into.credits += more.credits
    into.refunded += more.refunded


def _total(usages: Iterable[Usage]) -> Usage:
    total = Usage()
    for usage in usages:
        _merge(total, usage)
    return total


def _rows(found: dict[GroupKey, Usage], wanted: Sequence[Dimension]) -> list[UsageRow]:
    ids: set[UUID] = set()
    if "model" in wanted:
        place = wanted.index("model")
        ids = {pk for key in found if (pk := parse_uuid(key[place]))}
    names = {str(pk): name for pk, name in AIModel.objects.filter(id__in=ids).values_list("id", "model_id")} if ids else {}
    merged: dict[tuple[Any, ...], Usage] = defaultdict(Usage)
    for key, usage in found.items():  # two models may share a name
        _merge(merged[tuple(names.get(value, value) for value in key)], usage)
    rows = []
    for key in sorted(merged, key=lambda values: [str(value) for value in values]):
        named = dict(zip(wanted, key, strict=True))
        day, model, key_id = (named.get(name) for name in DIMENSIONS)
        rows.append(UsageRow(merged[key], cast(date | None, day), model, key_id))
    return rows
