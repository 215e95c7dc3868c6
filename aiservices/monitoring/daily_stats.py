"""What each day's generations came to: how they ended, why they failed, how long the good ones took.

Kept as `billing.monitoring.daily_stats` keeps credits. A generation counts on the day it was asked for; the last days are
computed anew each time, because jobs end later and unknown outcomes are settled later still.
"""

from collections import Counter
from datetime import date
from statistics import quantiles
from typing import Any

from django.db.models import Count, Q

from aiservices.generations.models import Generation
from billing.ledger.posting import database_now
from billing.monitoring import daily_stats as figures
from billing.services.permissions import billing_day
from tenants.models import Mode

ENDED = "generations"  # by state; those that have not ended do not count
FAILURES = "failures"  # by error code
SUCCEEDED_BY_HOUR, ENDED_BY_HOUR = "succeeded.hour", "generations.hour"  # by the hour in which they were asked for
MEDIAN_MS, P95_MS = "latency.median_ms", "latency.p95_ms"  # by type: from the start of the work to its end
NAMES = (ENDED, FAILURES, SUCCEEDED_BY_HOUR, ENDED_BY_HOUR, MEDIAN_MS, P95_MS)
RECENT_DAYS = 3
TIMED = 5000  # of a day and type, the newest that latency is measured of
State = Generation.State
OVER = (State.SUCCEEDED, State.FAILED, State.CANCELED, State.UNKNOWN)


def add_up() -> None:
    """Compute the last days, and those shown that were never computed."""
    today = billing_day(database_now())
    for day in figures.due_days(today, SUCCEEDED_BY_HOUR, recent=RECENT_DAYS):
        figures.keep(day, _generations(day), names=NAMES)


def _generations(day: date) -> dict[tuple[str, str], int]:
    made = figures.made_on(day) & Q(mode=Mode.LIVE)
    ended: Counter[str] = Counter({State.SUCCEEDED.value: 0})  # there even on a day without any: it was computed
    failures: Counter[str] = Counter()
    hours: Counter[tuple[str, str]] = Counter({(SUCCEEDED_BY_HOUR, figures.HOURS[0]): 0})
    rows: Any = Generation.objects.filter(made, state__in=OVER).order_by().annotate(hour=figures.hour_of("created_at"))
    for state, code, hour, count in rows.values_list("state", "error_code", "hour").annotate(n=Count("id")):
        ended[state] += count
        hours[ENDED_BY_HOUR, figures.HOURS[hour]] += count
        if state == State.SUCCEEDED:
            hours[SUCCEEDED_BY_HOUR, figures.HOURS[hour]] += count
        if state in (State.FAILED, State.UNKNOWN) and code:
            failures[code] += count
    found = {(ENDED, state): count for state, count in ended.items()} | dict(hours)
    found |= {(FAILURES, code): count for code, count in failures.items()}
    return found | _latency(made)


def _latency(made: Q) -> dict[tuple[str, str], int]:
    """Milliseconds."""
    found: dict[tuple[str, str], int] = {}
    for kind in Generation.Type.values:
        timed = Generation.objects.filter(made, type=kind, state=State.SUCCEEDED, started_at__isnull=False)
        rows: Any = timed.order_by("-id").values_list("started_at", "completed_at")[:TIMED]
        took = [max(0, round((end - start).total_seconds() * 1000)) for start, end in rows if end is not None]
        if took:
            cuts = quantiles(took, n=20, method="inclusive") if len(took) > 1 else took * 19
            found |= {(MEDIAN_MS, kind): round(cuts[9]), (P95_MS, kind): round(cuts[18])}
    return found
