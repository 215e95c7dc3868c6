"""What the admin's page "AI services" shows: how the services are, which credentials need a hand, what is switched off.

A fixed number of queries, however many rows there are; every list is cut at a length that has a name.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.cache import cache
from django.db.models import Case, Count, F, Max, Q, QuerySet, Sum, Value, When
from django.db.models.functions import TruncHour
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from aiservices import credentials, health, pool
from aiservices.models import AIModel, Credential, CredentialLease, Generation, HealthCheck, Service, ServiceStatus, SoraToken
from waule.admin_kit import in_readers_language
from waule.encryption import EncryptedTextField
from waule.ids import uuid7_floor

HOURS = 24
FRESH_SECONDS = 5  # how old today's figures may be
MAX_CREDENTIALS = 10  # rows of a provider
MAX_TROUBLED = 8  # rows of a provider that need a hand
MAX_MODELS = 30
EXPIRES_SOON = timedelta(days=3)

STATUS_COLOURS = {"ok": "success", "degraded": "warning", "down": "danger", "unknown": ""}
CREDENTIAL_COLOURS = {"ready": "success", "cooling": "info", "quota_exhausted": "warning", "invalid": "danger"}
SERVICE_NAMES: dict[str, Any] = {
    "database": _("Database"),
    "storage": _("Storage"),
    "gateway": _("Gateway"),
    "sora": _("Sora service"),
    "gemini": "Gemini",
    "openai": "OpenAI",
    "sandbox": _("Sandbox"),
}


# --- today ---------------------------------------------------------------------------------------------------------


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
    """What was generated since midnight in BILLING_TIME_ZONE; a few seconds old at most."""
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


# --- services ------------------------------------------------------------------------------------------------------

_WORST_FIRST = (ServiceStatus.DOWN, ServiceStatus.DEGRADED, ServiceStatus.OK, ServiceStatus.UNKNOWN)


@dataclass
class Hour:
    """The probes of one hour: how many found what, and their mean latency."""

    starts_at: datetime
    counts: dict[str, int] = field(default_factory=dict)
    timed: int = 0
    timed_ms: int = 0

    @property
    def latency_ms(self) -> float | None:
        return self.timed_ms / self.timed if self.timed else None

    @property
    def status(self) -> str:
        return next((str(status) for status in _WORST_FIRST if self.counts.get(status)), "")

    @property
    def told(self) -> str:
        """The hour in words."""
        return ", ".join(f"{self.counts[status]} × {status.label}" for status in _WORST_FIRST if self.counts.get(status))


@dataclass
class SeenService:
    """A service as it is now, and its last hours, oldest first."""

    service: Service
    hours: list[Hour]
    last_well_at: datetime | None = None

    @property
    def name(self) -> Any:
        return SERVICE_NAMES[self.service.name]

    @property
    def colour(self) -> str:
        return STATUS_COLOURS[self.service.status]

    @property
    def message(self) -> str:
        return in_readers_language(self.service.message)

    @property
    def up_percent(self) -> float | None:
        """Of the probes that learned something, those that found it up."""
        counts = {status: sum(hour.counts.get(status, 0) for hour in self.hours) for status in ServiceStatus}
        known = sum(counts.values()) - counts[ServiceStatus.UNKNOWN]
        return 100 * (known - counts[ServiceStatus.DOWN]) / known if known else None

    @property
    def mean_ms(self) -> float | None:
        timed = sum(hour.timed for hour in self.hours)
        return sum(hour.timed_ms for hour in self.hours) / timed if timed else None


def services() -> list[SeenService]:
    """Every service, in the order in which one looks for trouble."""
    this_hour = timezone.now().astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    starts = [this_hour - timedelta(hours=back) for back in range(HOURS - 1, -1, -1)]
    found = {service.name: SeenService(service, [Hour(starts_at) for starts_at in starts]) for service in health.last_results()}
    probes = HealthCheck.objects.filter(
        service__in=found, checked_at__gte=starts[0], checked_at__lt=this_hour + timedelta(hours=1)
    )
    by_hour = probes.order_by().values_list("service", TruncHour("checked_at", tzinfo=UTC), "status")
    figures = {"count": Count("id"), "timed": Count("latency_ms"), "ms": Sum("latency_ms")}
    for name, starts_at, status, count, timed, timed_ms in by_hour.annotate(**figures):
        hour = found[name].hours[starts.index(starts_at)]
        hour.counts[status] = count
        hour.timed, hour.timed_ms = hour.timed + timed, hour.timed_ms + (timed_ms or 0)
    down = [name for name, seen in found.items() if seen.service.status == ServiceStatus.DOWN]
    if down:
        well = HealthCheck.objects.filter(service__in=down, status__in=(ServiceStatus.OK, ServiceStatus.DEGRADED))
        for name, moment in well.order_by().values_list("service").annotate(at=Max("checked_at")):
            found[name].last_well_at = moment
    return list(found.values())


# --- credentials ---------------------------------------------------------------------------------------------------

_ON = Q(is_active=True)
_REFUSED = Q(state=Credential.State.INVALID)
# What may be wrong with a credential, the worst first: a name, and what a person reads.
TROUBLES: dict[str, Promise | str] = {
    "given_up": _("The upstream refuses it. Replace its secret or delete it."),
    "refused": _("The upstream refused it lately; it is tried again after a rest."),
    "expired": _("It has expired. Replace it."),
    "missing": _("The Sora service no longer has it. Paste it again to add it anew, or delete it."),
    "conflict": _("It was changed here and at the Sora service. See its page."),
    "not_pushed": _("The Sora service does not take the change."),
    "quota_back": _("Its quota should be back by now. Enable it again."),
    "failing": _("Most of its last calls failed through its own fault."),
    "expires_soon": _("It expires within three days."),
}

WELL = len(TROUBLES)


def with_trouble(queryset: QuerySet[Any], *, is_service_down: bool = False) -> QuerySet[Any]:
    """`queryset`, each row with `trouble`: the place in TROUBLES of the worst that is wrong with it, or WELL."""
    whens = _troubles(is_sora=queryset.model is SoraToken, is_service_down=is_service_down)
    return queryset.annotate(trouble=Case(*whens, default=Value(WELL)))


def _troubles(*, is_sora: bool, is_service_down: bool) -> list[When]:
    now = timezone.now()
    own_faults = f"([{''.join(pool.LETTERS[outcome] for outcome in sorted(pool.OWN_FAULTS))}].*)"
    conditions = {
        "given_up": _ON & _REFUSED & Q(cooling_until=None),
        "refused": _ON & (_REFUSED | Q(recent__contains=pool.LETTERS["invalid"])),
        "failing": _ON & Q(recent__regex=f"{own_faults}{{{pool.WINDOW // 2}}}"),
    }
    if is_sora:
        conditions |= {
            "expired": _ON & Q(expires_at__lte=now),
            "missing": Q(is_missing_there=True),
            "conflict": ~Q(conflict={}),
            "quota_back": Q(is_probably_quota=True, is_active=False, reenable_after_cooldown=False, cooling_until__lte=now),
            "expires_soon": _ON & Q(expires_at__lte=now + EXPIRES_SOON),
        }
        if not is_service_down:  # else it is told as soon as it answers, and nobody has to do anything
            conditions["not_pushed"] = ~Q(push_error="")
    return [When(conditions[name], then=Value(place)) for place, name in enumerate(TROUBLES) if name in conditions]


class SeenCredential:
    """A credential as the page shows it."""

    def __init__(self, row: Any, day: date) -> None:
        self.row = row
        self.name = getattr(row, "email", "") or row.name or row.masked
        self.colour = CREDENTIAL_COLOURS[row.state]
        self.why_off = "" if row.is_active else getattr(row, "shown_reason", row.disabled_reason)
        self.error = shown_error(row)
        is_of_today = row.day == day
        self.uses: int = row.uses_today if is_of_today else 0
        self.errors: int = row.errors_today if is_of_today else 0

    @property
    def trouble(self) -> str:
        """What is wrong with it, and what to do."""
        name = list(TROUBLES)[self.row.trouble]
        more = f" {in_readers_language(self.row.push_error)}" if name == "not_pushed" else ""
        return f"{TROUBLES[name]}{more}"

    @property
    def remaining(self) -> int | None:
        """What the Sora service says is left of a token's quota."""
        left = self.row.remote.get("sora2_remaining_count") if isinstance(self.row, SoraToken) else None
        return left if isinstance(left, int) else None

    @property
    def used_percent(self) -> float | None:
        """How much of the day's limit, or of the quota there, is gone."""
        if self.row.daily_limit > 0:
            return min(100.0, 100 * self.uses / self.row.daily_limit)
        total = self.row.remote.get("sora2_total_count") if isinstance(self.row, SoraToken) else None
        if self.remaining is None or not isinstance(total, int) or total <= 0:
            return None
        return min(100.0, max(0.0, 100 - 100 * self.remaining / total))


@dataclass
class Section:
    """The credentials of one provider: how many are in which state, those that need a hand, and the first few."""

    provider: str
    counts: dict[str, int]
    troubled: list[SeenCredential]
    rows: list[SeenCredential]

    @property
    def model(self) -> type[Credential]:
        return pool.MODELS[self.provider]

    @property
    def hidden(self) -> int:
        return self.counts["all"] - len(self.rows)

    @property
    def hidden_troubled(self) -> int:
        return self.counts["troubled"] - len(self.troubled)


def shown_error(credential: Credential) -> str:
    """The last error in the reader's language; where a caller said no more, what kind of error it was."""
    kinds = dict(CredentialLease.Outcome.choices)
    return str(kinds.get(credential.last_error) or in_readers_language(credential.last_error))


def section(provider: str, *, is_service_down: bool = False) -> Section:
    """How the credentials of `provider` are; two queries more or less, whatever their number."""
    day = pool.today(timezone.now())
    found = with_trouble(credentials.rows(provider), is_service_down=is_service_down)
    used = Q(day=day)
    figures = {
        "all": Count("id"),
        "on": Count("id", filter=_ON),
        "ready": Count("id", filter=_ON & Q(state=Credential.State.READY)),
        "resting": Count("id", filter=_ON & Q(state__in=(Credential.State.COOLING, Credential.State.QUOTA_EXHAUSTED))),
        "troubled": Count("id", filter=Q(trouble__lt=WELL)),
        "uses": Sum("uses_today", filter=used),
        "errors": Sum("errors_today", filter=used),
    }
    if provider == "sora":
        figures["waiting"] = Count("id", filter=~Q(to_push=[]))
    counts = {name: count or 0 for name, count in found.aggregate(**figures).items()}
    sealed = [each.name for each in pool.MODELS[provider]._meta.concrete_fields if isinstance(each, EncryptedTextField)]
    rows = found.defer(*sealed)
    lately = F("last_used_at").desc(nulls_last=True)
    troubled = list(rows.filter(trouble__lt=WELL).order_by("trouble", lately, "-id")[:MAX_TROUBLED])
    shown = list(rows.order_by("-is_active", lately, "-id")[:MAX_CREDENTIALS])
    return Section(provider, counts, [SeenCredential(row, day) for row in troubled], [SeenCredential(row, day) for row in shown])


# --- models --------------------------------------------------------------------------------------------------------


@dataclass
class SeenModel:
    model: AIModel
    is_on: bool
    uses: Uses


def models(uses: dict[UUID, Uses]) -> tuple[list[SeenModel], int, int]:
    """The first models, those that are off before the others; how many there are, and how many of them are off."""
    now = timezone.now()
    off = Q(is_active=False) & (Q(disabled_until=None) | Q(disabled_until__gt=now))
    counts = AIModel.objects.aggregate(all=Count("id"), off=Count("id", filter=off))
    rows = AIModel.objects.annotate(is_off=Case(When(off, then=Value(1)), default=Value(0)))
    found = rows.order_by("-is_off", "provider", "model_id")[:MAX_MODELS]
    seen = [SeenModel(row, row.is_on(now), uses.get(row.pk, Uses())) for row in found]
    return seen, counts["all"], counts["off"]


def total(sections: Iterable[Section], name: str) -> int:
    """The sum of one figure over the providers."""
    return sum(each.counts[name] for each in sections)
