"""What each day came to, kept in small rows: the first page reads them instead of adding up millions of charges.

Rows of a day are written by periodic tasks that recompute the last days as a whole: done again, they say the same. A day is one
of BILLING_TIME_ZONE. What is counted is live use; a charge and a refund each count on the day they were made, so a day
that is over does not change any more.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import transaction
from django.db.models import Count, F, Q, Sum
from django.db.models.functions import ExtractHour

from billing.ledger.balances import first_entry_id
from billing.ledger.models import GRANT_KINDS, Charge, LedgerEntry, Refund
from billing.ledger.posting import database_now
from billing.monitoring.models import DailyStat
from billing.services.permissions import billing_day
from tenants.models import Mode
from waule.core.db.transactions import retried
from waule.core.ids import uuid7_floor

CREDITS, REFUNDED, USES = "credits", "refunded", "uses"
OF_ACCOUNT, OF_MODEL = "account.credits", "model.credits"  # charged less refunded, by account or model
GRANTED = "granted"  # by kind of entry, in credits
# The same by the hour of the day, 00 to 23: what two days came to until the same hour can be compared.
CREDITS_BY_HOUR, REFUNDED_BY_HOUR, GRANTED_BY_HOUR = "credits.hour", "refunded.hour", "granted.hour"
HOURS = [f"{hour:02}" for hour in range(24)]
REJECTIONS = "refusals"  # by code
SHOWN_DAYS = 31
RECENT_DAYS = 2  # computed anew each time: today, and what clocks and long transactions put into yesterday
KEPT_DAYS = 400
KEPT_ACCOUNTS = 200  # of a day, those that used most
CLOCK_MARGIN = timedelta(hours=1)  # between the clocks of the database and of those who make ids


def add_up(now: datetime | None = None) -> None:
    """Compute the credits of the last days, and of those shown that were never computed; forgets the oldest."""
    today = billing_day(now or database_now())
    for day in due_days(today, CREDITS_BY_HOUR, recent=RECENT_DAYS):
        keep(day, _credits(day), names=(CREDITS, REFUNDED, USES, OF_ACCOUNT, OF_MODEL))
        keep(day, _grants(day), names=(GRANTED, GRANTED_BY_HOUR))
        keep(day, _hours(day), names=(CREDITS_BY_HOUR, REFUNDED_BY_HOUR))  # last: it says that the day was computed
    DailyStat.objects.filter(day__lt=today - timedelta(days=KEPT_DAYS)).delete()


def due_days(today: date, name: str, *, recent: int) -> Iterator[date]:
    """Yield the days to compute: the last ones, and those of the last SHOWN_DAYS that have no figure of this name."""
    since = today - timedelta(days=SHOWN_DAYS - 1)
    done = set(DailyStat.objects.filter(day__gte=since, name=name).values_list("day", flat=True))
    for back in range(SHOWN_DAYS):
        day = today - timedelta(days=back)
        if back < recent or day not in done:
            yield day


def made_on(day: date) -> Q:
    """Return the rows with ids by time that were made on `day`; the primary key's index finds them."""
    start, end = span_of(day)
    by_id = Q(id__gte=uuid7_floor(start - CLOCK_MARGIN), id__lt=uuid7_floor(end + CLOCK_MARGIN))
    return by_id & Q(created_at__gte=start, created_at__lt=end)


def span_of(day: date) -> tuple[datetime, datetime]:
    """When the day begins, and when the next one does."""
    zone = ZoneInfo(settings.BILLING_TIME_ZONE)
    return datetime.combine(day, time(), zone), datetime.combine(day + timedelta(days=1), time(), zone)


@retried
def keep(day: date, figures: Mapping[tuple[str, str], int], *, names: Collection[str]) -> None:
    """Make `figures`, by name and key, the ones of `day`; others of these names are forgotten."""
    rows = [DailyStat(day=day, name=name, key=key, value=value) for (name, key), value in sorted(figures.items())]
    with transaction.atomic():
        stale = DailyStat.objects.filter(day=day, name__in=names)
        there = list(stale.values_list("name", "key", "id"))
        stale.filter(id__in=[pk for name, key, pk in there if (name, key) not in figures]).delete()
        DailyStat.objects.bulk_create(
            rows, update_conflicts=True, unique_fields=["day", "name", "key"], update_fields=["value"], batch_size=500
        )


@retried
def count(name: str, counts: Mapping[str, int]) -> None:
    """Add to today's figures of `name`, by key."""
    day = billing_day(database_now())
    with transaction.atomic():
        rows = [DailyStat(day=day, name=name, key=key, value=0) for key in sorted(counts)]
        DailyStat.objects.bulk_create(rows, ignore_conflicts=True)
        for key, number in sorted(counts.items()):
            DailyStat.objects.filter(day=day, name=name, key=key).update(value=F("value") + number)


def _credits(day: date) -> dict[tuple[str, str], int]:
    """Return what was charged and given back on `day`, in all, and by the accounts that used most and by model."""
    all_of_it: Counter[str] = Counter({CREDITS: 0, REFUNDED: 0, USES: 0})
    accounts: Counter[int] = Counter()
    models: Counter[str] = Counter()
    live = made_on(day) & Q(account__mode=Mode.LIVE)
    # Read as a whole, not by a cursor: PostgreSQL plans those for their first rows, and a day would take fifty times as long.
    charged = Charge.objects.filter(live).order_by().values_list("account_id", "model_id")
    for account_id, model_id, uses, credits in charged.annotate(n=Count("id"), c=Sum("credits")):
        all_of_it.update({USES: uses, CREDITS: credits})
        accounts[account_id] += credits
        models[str(model_id or "")] += credits
    refunds = Refund.objects.filter(live).order_by().values_list("account_id", "charge__model_id")
    for account_id, model_id, credits in refunds.annotate(c=Sum("credits")):
        all_of_it[REFUNDED] += credits
        accounts[account_id] -= credits
        models[str(model_id or "")] -= credits
    figures = {(name, ""): value for name, value in all_of_it.items()}
    figures |= {(OF_ACCOUNT, str(key)): value for key, value in accounts.most_common(KEPT_ACCOUNTS)}
    return figures | {(OF_MODEL, key): value for key, value in models.items()}


def _hours(day: date) -> dict[tuple[str, str], int]:
    """Return what was charged and given back in each hour of `day`."""
    figures = {(CREDITS_BY_HOUR, HOURS[0]): 0}  # there even on a day without any: it was computed
    live = made_on(day) & Q(account__mode=Mode.LIVE)
    for name, model in ((CREDITS_BY_HOUR, Charge), (REFUNDED_BY_HOUR, Refund)):
        rows: Any = model._default_manager.filter(live).order_by().annotate(hour=hour_of("created_at"))
        for hour, credits in rows.values_list("hour").annotate(c=Sum("credits")):
            figures[name, HOURS[hour]] = credits
    return figures


def _grants(day: date) -> dict[tuple[str, str], int]:
    """Return the credits that were granted on `day`, by kind and by hour; adjustments downwards count as less."""
    start, end = span_of(day)
    ids = Q(id__gte=first_entry_id(start - CLOCK_MARGIN), id__lt=first_entry_id(end + CLOCK_MARGIN))
    made = ids & Q(kind__in=GRANT_KINDS, account__mode=Mode.LIVE, created_at__gte=start, created_at__lt=end)
    figures: Counter[tuple[str, str]] = Counter()
    rows: Any = LedgerEntry.objects.filter(made).order_by().annotate(hour=hour_of("created_at"))
    for kind, hour, credits in rows.values_list("kind", "hour").annotate(c=Sum("amount")):
        figures[GRANTED, kind] += credits
        figures[GRANTED_BY_HOUR, HOURS[hour]] += credits
    return dict(figures)


def hour_of(column: str) -> ExtractHour:
    """Return the hour of BILLING_TIME_ZONE in which a row was made."""
    return ExtractHour(column, tzinfo=ZoneInfo(settings.BILLING_TIME_ZONE))


# --- reading -------------------------------------------------------------------------------------------------------


class Days:
    """The figures of the last days, today the last, read in one query."""

    def __init__(self, days: int, now: datetime | None = None) -> None:
        now = now or database_now()
        today = billing_day(now)
        self.now = now.astimezone(ZoneInfo(settings.BILLING_TIME_ZONE))
        self.days = [today - timedelta(days=back) for back in range(days - 1, -1, -1)]
        rows: Any = DailyStat.objects.filter(day__gte=self.days[0]).values_list("day", "name", "key", "value")
        self._values: dict[tuple[date, str, str], int] = {(day, name, key): value for day, name, key, value in rows}

    def by_day(self, name: str, key: str = "") -> list[int | None]:
        """None where nothing was computed."""
        return [self._values.get((day, name, key)) for day in self.days]

    def by_key(self, name: str) -> Counter[str]:
        """Return the sums over the days."""
        sums: Counter[str] = Counter()
        for (_day, each, key), value in self._values.items():
            if each == name:
                sums[key] += value
        return sums

    def today(self, name: str, key: str = "") -> int:
        return self._values.get((self.days[-1], name, key), 0)

    def of_today(self, name: str) -> Counter[str]:
        """Today's figures by key."""
        return Counter({key: value for (day, each, key), value in self._values.items() if each == name and day == self.days[-1]})

    def until_this_hour(self, name: str, back: int, *, computed: str) -> int | None:
        """Return what the figure by hour came to, `back` days ago, until the time of day that it is now.

        Of the hour that has begun it is the part that has passed. None where the day has no figure `computed` by hour.
        """
        day = self.days[-1] - timedelta(days=back)
        found = [self._values.get((day, name, hour), 0) for hour in HOURS]
        if not back:
            return sum(found)
        if not any((day, computed, hour) in self._values for hour in HOURS):
            return None
        return sum(found[: self.now.hour]) + found[self.now.hour] * self.now.minute // 60
