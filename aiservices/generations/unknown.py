"""Unknown outcomes, many at once: settled by an operator, or released when nobody will ever know (docs/providers.md)."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import structlog
from django.conf import settings
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from aiservices.errors import LeaseLost, TaskOver
from aiservices.generations import pending
from aiservices.generations.models import Generation
from aiservices.generations.services import settle_unknown
from aiservices.generations.settlement.payment import credits_held
from billing.ledger.posting import database_now
from billing.monitoring import alerts
from billing.monitoring.models import Alert
from waule.core.errors import StorageUnavailable, Unavailable

MAX_AT_ONCE = 200  # released by one round of the worker
MAX_NAMED = 100  # ids in one alert
ASK_FOR_HOURS = 48  # providers that can be asked are asked for so long
ACTOR = "worker"
RELEASED_FLAG = "unknown_released"
# Why credits are given back, by the generation's flag.
WHY_RELEASED = {
    pending.NOT_FETCHED: _("The result was made, but could not be fetched in time. Its credits were given back."),
    pending.WAITS_FOR_STORAGE: _("The result was made, but could not be stored in time. Its credits were given back."),
    "": _("Nobody knows whether it was made. Its credits were given back."),
}
State = Generation.State
logger = structlog.get_logger(__name__)


@dataclass
class Settled:
    """What became of many. `credits` were charged or released; `skipped` had ended, or were busy, meanwhile."""

    ids: list[UUID] = field(default_factory=list)
    skipped: list[UUID] = field(default_factory=list)
    credits: int = 0

    def __add__(self, other: "Settled") -> "Settled":
        return Settled(self.ids + other.ids, self.skipped + other.skipped, self.credits + other.credits)


def unknown_outcomes(*, older_than_hours: float = 0, provider: str = "") -> "QuerySet[Generation]":
    """Outcomes that nobody has known for so many hours, the oldest first; of a model's provider, or of who was asked."""
    rows = Generation.objects.filter(state=State.UNKNOWN).select_related("hold", "model")
    if older_than_hours > 0:
        latest = database_now() - timedelta(hours=older_than_hours)
        rows = rows.filter(Q(completed_at__lte=latest) | Q(completed_at=None, created_at__lte=latest))
    if provider:
        rows = rows.filter(Q(model__provider=provider) | Q(route=provider))
    return rows.order_by("id")


def settle_many(
    rows: Iterable[Generation],
    *,
    charge: bool,
    reason: str,
    actor: str,
    request: HttpRequest | None = None,
    flag: str | None = None,
) -> Settled:
    """End each on its own: charged as held, or released. One that has ended meanwhile stops no other."""
    settled = Settled()
    for row in rows:
        held = credits_held(row)
        try:
            ended = settle_unknown(generation=row, charge=charge, reason=reason, actor=actor, request=request, flag=flag)
        except (LeaseLost, TaskOver, Unavailable, StorageUnavailable):
            settled.skipped.append(row.id)
            continue
        settled.ids.append(row.id)
        settled.credits += ended.credits_charged if charge else held
    return settled


def release_overdue() -> int:
    """Release what has been unknown for UNKNOWN_RELEASE_HOURS: the customer does not bear what nobody can know.

    A provider that can be asked is asked for ASK_FOR_HOURS first. Returns how many were released.
    """
    hours = float(settings.UNKNOWN_RELEASE_HOURS)
    if not hours:
        return 0
    asked_long_enough = Q(upstream_id="") | Q(created_at__lte=database_now() - timedelta(hours=max(hours, ASK_FOR_HOURS)))
    rows = list(unknown_outcomes(older_than_hours=hours).filter(asked_long_enough)[:MAX_AT_ONCE])
    if not rows:
        return 0
    settled = Settled()
    for flag, why in WHY_RELEASED.items():
        those = [row for row in rows if _why(row) == flag]
        settled += settle_many(those, charge=False, reason=str(why), actor=ACTOR, flag=RELEASED_FLAG)
    if settled.ids:
        details = {
            "generationId": str(settled.ids[0]),
            "generationIds": [str(each) for each in settled.ids[:MAX_NAMED]],
            "count": len(settled.ids),
            "credits": settled.credits,
            "afterHours": hours,
        }
        alerts.raise_once(alerts.Crossing(f"{RELEASED_FLAG}:{settled.ids[0]}", Alert.Kind.UNKNOWN_RELEASED, details))
        logger.warning("unknown_released", count=len(settled.ids), credits=settled.credits)
    return len(settled.ids)


def _why(row: Generation) -> str:
    return next((flag for flag in WHY_RELEASED if flag in row.flags), "")
