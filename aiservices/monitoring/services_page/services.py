"""Services in the last day, hour by hour."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Count, Max, Sum
from django.db.models.functions import TruncHour
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from aiservices.monitoring import probes as health
from aiservices.monitoring.models import HealthCheck, Service, ServiceStatus
from waule.core.admin import in_readers_language

HOURS = 24

STATUS_COLOURS = {"ok": "success", "degraded": "warning", "down": "danger", "unknown": ""}
SERVICE_NAMES: dict[str, Any] = {
    "database": _("Database"),
    "workers": _("Workers"),
    "storage": _("Storage"),
    "broker": _("Broker"),
    "gateway": _("Gateway"),
    "sora": _("Sora service"),
    "gemini": "Gemini",
    "openai": "OpenAI",
    "sandbox": _("Sandbox"),
}

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
    """Return every service, in the order in which one looks for trouble."""
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
        for name, timestamp in well.order_by().values_list("service").annotate(at=Max("checked_at")):
            found[name].last_well_at = timestamp
    return list(found.values())
