"""How the services that waule depends on are doing: free probes, and what real traffic tells.

A probe costs nobody anything: a list of models, the gateway's `/health`, the Sora service's counters. Its result, its
latency and what callers reported in the last minutes make the status; the newest MAX_HISTORY results are kept.
"""

import logging
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection
from django.db.models import Count, Q
from django.utils import timezone, translation
from django.utils.translation import gettext_lazy as _

from aiservices.credentials import sora as sora_sync
from aiservices.credentials.models import CredentialLease, GeminiKey
from aiservices.generations.models import Generation
from aiservices.generations.queue import living
from aiservices.monitoring import jobs_health
from aiservices.monitoring.models import HealthCheck, Service, ServiceStatus
from aiservices.monitoring.upstream_probes import PROBE_SECONDS, Ask, Note, ask_gateway, ask_gemini, ask_openai, ask_sora
from billing.catalog.provider_lists import Listed, keep, known_names, sold_by
from gateway_client.errors import CredentialRefused, UpstreamRateLimited
from gateway_client.upstreams import sora_admin
from storage.backends import platform_backend
from storage.checks import readiness
from storage.checks.backend import PROBED_FOLDER
from storage.drivers import driver_of
from storage.drivers.self_test import self_test
from storage.pending_uploads import pending
from waule.core.db.connection_pool import release_connection
from waule.core.db.transactions import durable
from waule.core.errors import NotConfigured, WauleError
from waule.core.logs import redact_text

logger = logging.getLogger(__name__)

SLOW_MS = 5000
DOWN_AGAIN_SECONDS = 30  # what is down is looked at sooner
MAX_HISTORY = 2000  # results kept per service
TRAFFIC_MINUTES = 10
TRAFFIC_REPORTS = 5  # fewer reports say nothing
DEGRADED_SHARE = 0.3
DOWN_SHARE = 0.9
PROBED_KEYS = 3
STALE_PROBES = 3  # so many probes missed, and nobody knows any more


@dataclass(frozen=True)
class Probe:
    """What a probe found; `latency_ms` is None where nothing was asked."""

    status: str
    message: str = ""
    latency_ms: int | None = None
    listed: Listed = field(default_factory=dict)


Status = ServiceStatus
in_english = translation.override("en")  # what is stored; pages put it into their reader's language


# --- probes --------------------------------------------------------------------------------------------------------


@in_english
def _timed(ask: Ask) -> Probe:
    started = time.monotonic()
    try:
        message = ask()
        status = Status.DEGRADED if message and not isinstance(message, Note) else Status.OK
    except NotConfigured as error:
        return Probe(Status.UNKNOWN, str(error))
    except (CredentialRefused, UpstreamRateLimited) as error:
        status, message = Status.DEGRADED, _sentence(error)  # it answers, but not us, or not now
    except WauleError as error:
        status, message = Status.DOWN, _sentence(error)
    except (DatabaseError, OSError) as error:
        status, message = Status.DOWN, redact_text(str(error))
    latency_ms = round((time.monotonic() - started) * 1000)
    if status == Status.OK and latency_ms > SLOW_MS:
        status, message = Status.DEGRADED, str(_("It answers, but slowly."))
    return Probe(status, str(message)[:500], latency_ms, message.listed if isinstance(message, Note) else {})


def _sentence(error: WauleError) -> str:
    reason = error.details.get("reason", "")
    return f"{error} ({reason})" if reason else str(error)


def _ask_database() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.fetchone()
    return ""


def _ask_storage(waiting_results: int) -> Ask:
    def ask() -> str:
        if (problem := readiness.disk_state()) is not None:
            raise problem
        self_test(driver_of(platform_backend()), PROBED_FOLDER)
        if waiting_results:
            return _("Results wait for a bucket that did not take them.") + f" ({waiting_results})"
        return ""

    return ask


def _probes() -> dict[str, Ask]:
    """Return what can be asked, by the service's name. Reads what it needs from the database now: asking runs in threads."""
    keys = GeminiKey.objects.filter(is_active=True).exclude(state=GeminiKey.State.INVALID).order_by("-last_used_at")
    secrets = [key.secret.reveal() for key in keys[:PROBED_KEYS] if key.secret.is_readable]
    sold, known = {name: sold_by(name) for name in ("gemini", "openai", "sora", "gateway")}, known_names()
    asked: dict[str, Ask] = {
        "storage": _ask_storage(pending().count()),
        "sora": ask_sora(sold["sora"], known),
        "gemini": ask_gemini(secrets, sold["gemini"]),
        "openai": ask_openai(sold["openai"]),
        "sandbox": lambda: "",
    }
    if settings.TASK_ENGINE == "celery":
        asked["broker"] = jobs_health.ask_broker
    if settings.AI_SERVICE_MODE == "gateway":
        asked["gateway"] = ask_gateway(sold["gateway"], known)
    return asked


def names() -> list[str]:
    """Return every service, in the order in which one looks for trouble."""
    gateway = ["gateway"] if settings.AI_SERVICE_MODE == "gateway" else []
    broker = ["broker"] if settings.TASK_ENGINE == "celery" else []
    return ["database", "storage", "workers", *broker, *gateway, "sora", "gemini", "openai", "sandbox"]


# --- real traffic --------------------------------------------------------------------------------------------------


def traffic() -> dict[str, tuple[int, int]]:
    """(reports, failures of the service) of the last minutes, by service."""
    since = timezone.now() - timedelta(minutes=TRAFFIC_MINUTES)
    counted: dict[str, tuple[int, int]] = {}
    leases = CredentialLease.objects.filter(ended_at__gte=since).exclude(outcome=CredentialLease.Outcome.EXPIRED)
    failing = Count("id", filter=Q(outcome__in=("overloaded", "error")))
    for provider, total, failed in leases.values_list("provider").order_by().annotate(total=Count("id"), failed=failing):
        counted[provider] = (total, failed)
    ended = Generation.objects.filter(
        created_at__gte=since - timedelta(minutes=TRAFFIC_MINUTES),
        completed_at__gte=since,
        state__in=(Generation.State.SUCCEEDED, Generation.State.FAILED, Generation.State.UNKNOWN),
    )
    failing = Count(
        "id",
        filter=Q(state=Generation.State.UNKNOWN)
        | Q(state=Generation.State.FAILED, error_code__in=("upstream_error", "upstream_timeout")),
    )
    for provider, total, failed in ended.values_list("model__provider").order_by().annotate(total=Count("id"), failed=failing):
        name = provider if provider in ("openai", "sandbox") or settings.AI_SERVICE_MODE != "gateway" else "gateway"
        if name not in ("sora", "gemini"):  # those report their leases
            before = counted.get(name, (0, 0))
            counted[name] = (before[0] + total, before[1] + failed)
    return counted


@in_english
def judged(probe: Probe, reports: int, failures: int) -> Probe:
    """Return the probe's status, made worse by what callers met. A service that cannot be probed is known by its traffic."""
    if reports < TRAFFIC_REPORTS or probe.status == Status.DOWN:
        return probe
    share = failures / reports
    if share < DEGRADED_SHARE:
        return Probe(Status.OK, "", probe.latency_ms) if probe.status == Status.UNKNOWN else probe
    said = _("Too many of the last calls failed.") + f" ({failures}/{reports})"
    return Probe(Status.DOWN if share >= DOWN_SHARE else Status.DEGRADED, said, probe.latency_ms)


# --- checking ------------------------------------------------------------------------------------------------------


def check(only: Iterable[str] | None = None) -> list[Service]:
    """Probe now, all at once, and keep the results. No database connection is held while services are asked."""
    wanted = [name for name in names() if only is None or name in set(only)]
    here = {"database": _ask_database, "workers": jobs_health.ask_workers}  # they ask the database: not in threads
    found = {name: _timed(ask) for name, ask in here.items() if name in wanted}
    asked = {name: ask for name, ask in _probes().items() if name in wanted}
    release_connection()
    if asked:
        with ThreadPoolExecutor(len(asked)) as threads:
            found |= zip(asked, threads.map(_timed, asked.values()), strict=True)
    for name, probe in found.items():
        keep(name, probe.listed)
    seen = traffic()
    _keep({name: judged(found[name], *seen.get(name, (0, 0))) for name in wanted})
    return last_results()


@durable
def _keep(found: dict[str, Probe]) -> None:
    now = timezone.now()
    for name, probe in sorted(found.items()):
        wait = settings.HEALTH_PROBE_SECONDS
        if probe.status == Status.DOWN or name == "storage":  # ours, and soon full
            wait = min(wait, DOWN_AGAIN_SECONDS)
        values = {
            "status": probe.status,
            "latency_ms": probe.latency_ms,
            "message": probe.message,
            "checked_at": now,
        }
        Service.objects.update_or_create(name=name, defaults=values | {"next_probe_at": now + timedelta(seconds=wait)})
        HealthCheck.objects.create(service=name, **values)
        history = HealthCheck.objects.filter(service=name).order_by("-id")
        oldest = history.values_list("id", flat=True)[MAX_HISTORY - 1 : MAX_HISTORY].first()
        if oldest is not None:
            HealthCheck.objects.filter(service=name, id__lt=oldest).delete()


def last_results() -> list[Service]:
    """Return how every service was last seen, without asking any. What was not looked at for long is unknown."""
    kept = {service.name: service for service in Service.objects.all()}
    stale = timezone.now() - timedelta(seconds=STALE_PROBES * settings.HEALTH_PROBE_SECONDS + PROBE_SECONDS)
    found = []
    for name in names():
        service = kept.get(name) or Service(name=name, message=str(_("Not looked at yet.")))
        if service.checked_at is not None and service.checked_at < stale:
            service.status, service.message = Status.UNKNOWN, str(_("Not looked at for a while."))
        if name == "workers":
            _see_workers(service)
        found.append(service)
    return found


def _see_workers(service: Service) -> None:
    """Workers do the probing: where none lives, the last result is of when one did."""
    if not living.living():
        service.status, service.message, service.checked_at = Status.DOWN, str(jobs_health.NO_WORKER), timezone.now()


def probe_due() -> list[str]:
    """For the worker: probes what is due, each service by one worker of many; answers what it probed.

    When the Sora service answers, tokens are brought into step with it.
    """
    now = timezone.now()
    Service.objects.bulk_create([Service(name=name, next_probe_at=now) for name in names()], ignore_conflicts=True)
    due = Service.objects.filter(name__in=names(), next_probe_at__lte=now).values_list("name", flat=True)
    claimed = [
        name
        for name in due
        if Service.objects.filter(name=name, next_probe_at__lte=now).update(
            next_probe_at=now + timedelta(seconds=settings.HEALTH_PROBE_SECONDS)
        )
    ]
    if not claimed:
        return []
    results = {service.name: service.status for service in check(claimed)}
    if "sora" in claimed and results["sora"] in (Status.OK, Status.DEGRADED) and sora_admin.is_configured():
        try:
            sora_sync.sync()
        except WauleError as error:
            logger.warning("tokens could not be brought into step", extra={"why": str(error)})
    return claimed
