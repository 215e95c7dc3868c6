"""Today's generations, and the models that they are made with."""

from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.cache import cache
from django.db.models import Case, Count, Q, Value, When
from django.utils import timezone

from aiservices.generations.models import Generation
from billing.catalog.models import AIModel, last_warned_day
from waule.core.ids import uuid7_floor

FRESH_SECONDS = 5  # how old today's figures may be
MAX_MODELS = 30


class Uses(NamedTuple):
    """Generations of one model that ended today, by how they went."""

    good: int = 0
    bad: int = 0


@dataclass
class Today:
    images: int = 0
    videos: int = 0
    errors: int = 0
    unknown: int = 0  # of the errors
    images_under_way: int = 0
    videos_under_way: int = 0
    by_model: dict[UUID, Uses] = field(default_factory=dict)

    @property
    def success_percent(self) -> float | None:
        """Of what has ended today."""
        good = self.images + self.videos
        return 100 * good / (good + self.errors) if good + self.errors else None


def today() -> Today:
    """Return what was generated since midnight in BILLING_TIME_ZONE; a few seconds old at most."""
    kept: Today | None = cache.get("ai-services:today")
    if kept is None:
        kept = _today()
        cache.set("ai-services:today", kept, FRESH_SECONDS)
    return kept


def _today() -> Today:
    zone = ZoneInfo(settings.BILLING_TIME_ZONE)
    midnight = timezone.now().astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    rows = Generation.objects.filter(pk__gte=uuid7_floor(midnight)).order_by().values_list("model_id", "type", "state")
    found = Today()
    for model_id, type_, state, count in rows.annotate(count=Count("id")):
        uses = found.by_model.get(model_id, Uses())
        if state == Generation.State.SUCCEEDED:
            uses = uses._replace(good=uses.good + count)
            found.images += count if type_ == Generation.Type.IMAGE else 0
            found.videos += count if type_ == Generation.Type.VIDEO else 0
        elif state in (Generation.State.FAILED, Generation.State.UNKNOWN):
            uses = uses._replace(bad=uses.bad + count)
            found.errors += count
            found.unknown += count if state == Generation.State.UNKNOWN else 0
        elif state in (Generation.State.QUEUED, Generation.State.RUNNING):
            found.images_under_way += count if type_ == Generation.Type.IMAGE else 0
            found.videos_under_way += count if type_ == Generation.Type.VIDEO else 0
        found.by_model[model_id] = uses
    return found


@dataclass
class SeenModel:
    model: AIModel
    is_on: bool
    uses: Uses
    ends: bool = False  # within the days that are warned of, or it has ended


def _ends(model: AIModel, last_day: date) -> bool:
    return model.is_active and model.retires_at is not None and model.retires_at <= last_day


def models(uses: dict[UUID, Uses]) -> tuple[list[SeenModel], int, int]:
    """Return the first models, those that are off or end soon before the others; how many there are, and how many are off."""
    now = timezone.now()
    last_day = last_warned_day(now)
    off = Q(is_active=False) & (Q(disabled_until=None) | Q(disabled_until__gt=now))
    counts = AIModel.objects.aggregate(all=Count("id"), off=Count("id", filter=off))
    place = Case(When(off, then=Value(2)), When(retires_at__lte=last_day, then=Value(1)), default=Value(0))
    found = AIModel.objects.annotate(place=place).order_by("-place", "provider", "model_id")[:MAX_MODELS]
    seen = [SeenModel(row, row.is_on(now), uses.get(row.pk, Uses()), _ends(row, last_day)) for row in found]
    return seen, counts["all"], counts["off"]
