"""Calendar budgets of tenants and of their keys, computed from the ledger and the clock: nothing resets them.

What a budget has used is what its period's entries took, less what they gave back, and what is held now. A period
begins at midnight of the tenant's time zone (weeks on Monday). A checkpoint remembers the sum up to one entry number,
so that each look adds the few entries since: entries never change, so a checkpoint can only be old, never wrong.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.conf import settings
from django.db.models import Max, Q, Sum
from django.utils.translation import gettext_lazy as _

from billing.budgets.models import Budget, BudgetCheckpoint
from billing.ledger.expiry import open_holds
from billing.ledger.models import Kind, LedgerEntry
from billing.ledger.posting import database_now
from waule.core.errors import RateLimited

KEEP_AFTER_ENTRIES = 100  # a checkpoint is written anew when it is so many entries old
_COUNTED = (Kind.CONSUME, Kind.REFUND)


class OverBudget(RateLimited):
    """429: the use does not fit into what a budget has left until `details.opensAt`."""

    message = _("The budget is used up.")


@dataclass(frozen=True)
class Pending:
    """What one transaction has posted and not written yet, in credits."""

    used: int = 0
    held: int = 0


PendingOf = Callable[[UUID | None], Pending]  # of one key, or (None) of the whole account


@dataclass(frozen=True)
class Standing:
    """How a budget stands. `used` includes what is held."""

    budget: Budget
    used: int
    starts_at: datetime
    opens_at: datetime

    @property
    def percent(self) -> float:
        return 100 * self.used / self.budget.limit_credits if self.budget.limit_credits else 100.0


def zone_of(name: str) -> ZoneInfo:
    """Return the zone of that name; BILLING_TIME_ZONE where nobody knows it."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo(settings.BILLING_TIME_ZONE)


def period_of(period: str, now: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """When the calendar period around `now` began, and when the next one begins."""
    today = now.astimezone(zone).date()
    first, following = _dates(period, today)
    return datetime.combine(first, time(), zone), datetime.combine(following, time(), zone)


def _dates(period: str, today: date) -> tuple[date, date]:
    if period == Budget.Period.DAY:
        return today, today + timedelta(days=1)
    if period == Budget.Period.WEEK:
        monday = today - timedelta(days=today.weekday())
        return monday, monday + timedelta(days=7)
    first = today.replace(day=1)
    return first, (first + timedelta(days=32)).replace(day=1)


def budgets_for(tenant_id: UUID, api_key_id: UUID | None, *, is_live: bool = True) -> list[Budget]:
    """Return the active budgets that a use of this tenant, by this key, draws on; of test credits only the key's own."""
    which = Q(api_key_id=api_key_id) if api_key_id else Q(pk__in=[])
    if is_live:
        which |= Q(api_key__isnull=True)
    rows = Budget.objects.filter(which, tenant_id=tenant_id, is_active=True)
    return list(rows.select_related("tenant", "checkpoint").order_by("id"))


def standings(*, tenant_id: UUID, api_key_id: UUID | None, account_id: int, is_live: bool, held: int) -> list[Standing]:
    """Return how the budgets stand that a use of this tenant, by this key, draws on; `held` is what the account holds now."""
    budgets, now = budgets_for(tenant_id, api_key_id, is_live=is_live), database_now()
    return [standing_of(budget, account_id, now=now, held=held) for budget in budgets]


def reject_if_over(
    budgets: Sequence[Budget],
    account_id: int,
    credits: int,
    *,
    now: datetime,
    held: int,
    pending: PendingOf | None = None,
) -> None:
    """Under the account's lock: whether `credits` more fit into every budget.

    `held` is the account's; `pending` are the transaction's unwritten sums by key.

    Raises:
        OverBudget.
    """
    for budget in budgets:
        standing = standing_of(budget, account_id, now=now, held=held, pending=pending, keep=True)
        if credits and standing.used + credits > budget.limit_credits:
            raise OverBudget(
                retry_after_seconds=max(1, int((standing.opens_at - now).total_seconds()) + 1),
                budget={
                    "id": str(budget.id),
                    "scope": "apiKey" if budget.api_key_id else "tenant",
                    "period": budget.period,
                },
                limit=budget.limit_credits,
                used=standing.used,
                required=credits,
                opensAt=standing.opens_at.isoformat(),
            )


def standing_of(
    budget: Budget,
    account_id: int,
    *,
    now: datetime,
    held: int,
    pending: PendingOf | None = None,
    keep: bool = False,
) -> Standing:
    """Return how the budget stands at `now`; with `keep`, what was added up is remembered."""
    starts_at, opens_at = period_of(budget.period, now, zone_of(budget.tenant.time_zone))
    used = _used(budget, account_id, starts_at, keep=keep)
    if budget.api_key_id:
        holds = open_holds(now).filter(account_id=account_id, api_key_id=budget.api_key_id)
        held = holds.aggregate(sum=Sum("credits"))["sum"] or 0
    if pending is not None:
        more = pending(budget.api_key_id)
        used, held = used + more.used, held + more.held
    return Standing(budget, max(0, used + held), starts_at, opens_at)


def _used(budget: Budget, account_id: int, starts_at: datetime, *, keep: bool) -> int:
    """Credits that the written entries of the period took, less what they gave back."""
    checkpoint: BudgetCheckpoint | None = getattr(budget, "checkpoint", None)
    rows = LedgerEntry.objects.filter(account_id=account_id)
    if checkpoint is not None and checkpoint.period_start == starts_at:
        since, used = checkpoint.seq, checkpoint.used
        rows = rows.filter(seq__gt=since)
    else:
        since, used = 0, 0
        rows = rows.filter(created_at__gte=starts_at)
    by_budget = Q(kind__in=_COUNTED)
    if budget.api_key_id:
        by_budget &= Q(charge__api_key_id=budget.api_key_id)
    found = rows.aggregate(last=Max("seq"), sum=Sum("amount", filter=by_budget))
    used -= found["sum"] or 0
    last = found["last"] or since
    if keep and last - since >= KEEP_AFTER_ENTRIES:
        BudgetCheckpoint.objects.update_or_create(budget=budget, defaults={"period_start": starts_at, "seq": last, "used": used})
    return used
