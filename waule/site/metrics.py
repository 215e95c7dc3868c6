"""`/metrics` for Prometheus: what the database knows, read when it is asked for, and what processes have counted.

The processes of a machine, workers too, count together: whichever of them is asked answers the sums of all.
"""

import hashlib
import hmac
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from ipaddress import ip_address
from typing import Any

from django.conf import settings
from django.db.models import Case, CharField, Count, F, Min, Q, Value, When
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from aiservices.credentials.models import GeminiKey, SoraToken
from aiservices.generations.models import Generation
from aiservices.generations.queue import living
from billing.ledger.expiry import open_holds
from billing.monitoring import rejections
from billing.monitoring.models import Alert
from billing.reconciliation import runs as reconcile_runs
from storage.pending_uploads import pending
from tenants.webhooks.models import OutboxMessage
from waule.core.auth.client_address import client_address
from waule.core.errors import Forbidden
from waule.core.metrics import COUNTED, REJECTIONS, REQUESTS
from waule.core.metrics_directory import VARIABLE

# What proxies, load balancers and CDNs add: Forwarded, X-Forwarded-*, Via, X-Real-IP, True-Client-IP, CF-Connecting-IP …
PROXY_HEADER = re.compile(
    r"HTTP_(?:.*FORWARDED.*|VIA|.*REAL_?IP|.*CLIENT_?IP|.*CONNECTING_IP|.*ORIGINAL.*|CF_.*|CDN_.*|X_ENVOY_.*|X_AMZN_.*|X_PROXY.*)"
)
METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
_series: dict[tuple[str, str, int], Histogram] = {}  # `labels` costs more than the observation itself


class RequestMetrics:
    """Counts and times every answer: two readings of the clock and one look-up."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        began_at = time.perf_counter()
        response = self.get_response(request)
        match = request.resolver_match
        key = (request.method or "", match.route if match else "", response.status_code)
        series = _series.get(key)
        if series is None:
            method = key[0] if key[0] in METHODS else "other"
            series = REQUESTS.labels(method, key[1] or "none", str(key[2]))
            if method != "other":
                _series[key] = series
        series.observe(time.perf_counter() - began_at)
        if (code := getattr(request, "failure_code", None)) is not None:
            rejections.note(code)
            REJECTIONS.labels(code).inc()
        return response


class Database(Collector):
    """Figures of the database: a handful of queries, each by an index."""

    def collect(self) -> Iterator[Metric]:
        now = timezone.now()
        run = reconcile_runs.last_run()
        if run is not None:
            yield _gauge("waule_reconcile_ok", "Whether the last reconciliation found the ledger right.", int(run.ok))
            yield _gauge("waule_reconcile_age_seconds", "How long ago the last reconciliation ended.", _age(run.finished_at, now))
        yield from _holds(now)
        yield from _generations(now)
        yield from _outbox(now)
        yield _labeled(
            "waule_alerts",
            "Alerts that stand now.",
            "kind",
            _counts(Alert.objects.filter(is_raised=True), "kind"),
            Alert.Kind.values,
        )
        yield _gauge("waule_workers", "Workers that live.", living.living())
        yield _gauge("waule_storage_waiting", "Results that wait for a bucket that did not take them.", pending().count())
        yield _credentials(now)

    def describe(self) -> list[Metric]:
        """Nothing: else the registry would collect, and ask the database, when it is made."""
        return []


def _holds(now: datetime) -> Iterator[Metric]:
    open_ = open_holds(now).aggregate(count=Count("id"), oldest=Min("created_at"), unknown=Count("id", filter=Q(is_unknown=True)))
    yield _gauge("waule_open_holds", "Holds that have not ended.", open_["count"])
    yield _gauge("waule_oldest_hold_seconds", "How old the oldest open hold is.", _age(open_["oldest"], now))
    yield _gauge("waule_unknown_holds", "Holds that are kept for an unknown outcome.", open_["unknown"])


def _generations(now: datetime) -> Iterator[Metric]:
    states = (Generation.State.QUEUED, Generation.State.RUNNING, Generation.State.UNKNOWN)
    rows = Generation.objects.filter(state__in=states)
    text = "Generations that have not ended, or nobody knows how."
    yield _labeled("waule_generations", text, "state", _counts(rows, "state"), [state.value for state in states])
    oldest = Generation.objects.filter(state=Generation.State.QUEUED, run_after__lte=now).aggregate(at=Min("run_after"))["at"]
    yield _gauge("waule_queue_age_seconds", "How long the job that waits longest could have run already.", _age(oldest, now))


def _outbox(now: datetime) -> Iterator[Metric]:
    pending = OutboxMessage.objects.filter(state=OutboxMessage.State.PENDING).aggregate(
        count=Count("id"), oldest=Min("created_at")
    )
    yield _gauge("waule_outbox_pending", "Messages that have not reached their webhook.", pending["count"])
    yield _gauge("waule_outbox_age_seconds", "How old the oldest of them is.", _age(pending["oldest"], now))


def _credentials(now: datetime) -> Metric:
    family = GaugeMetricFamily("waule_credentials", "Credentials by state; off: switched off.", labels=["provider", "state"])
    for model in (GeminiKey, SoraToken):
        on = Case(When(is_active=False, then=Value("off")), default=F("state"), output_field=CharField())
        found = _counts(model.objects.annotate(shown=on), "shown")
        for state in ("off", *model.State.values):
            family.add_metric([model.provider, state], found.get(state, 0))
    return family


def _counts(rows: Any, column: str) -> dict[str, int]:
    return dict(rows.order_by().values_list(column).annotate(count=Count("pk")))


def _age(at: datetime | None, now: datetime) -> float:
    return max(0.0, (now - at).total_seconds()) if at is not None else 0.0


def _labeled(name: str, text: str, label: str, found: dict[str, int], values: Iterable[str]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for value in values:
        family.add_metric([value], found.get(value, 0))
    return family


def _registry() -> CollectorRegistry:
    """Return what the processes of this machine counted, and what the database knows."""
    if os.environ.get(VARIABLE) is None:
        return COUNTED
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry


DATABASE = CollectorRegistry()
DATABASE.register(Database())


def _gauge(name: str, text: str, value: float) -> Metric:
    family = GaugeMetricFamily(name, text)
    family.add_metric([], value)
    return family


def metrics(request: HttpRequest) -> HttpResponse:
    """The text that Prometheus reads.

    Raises:
        Forbidden: neither from this machine nor with METRICS_TOKEN.
    """
    if not _may_read(request):
        raise Forbidden
    return HttpResponse(generate_latest(_registry()) + generate_latest(DATABASE), content_type=CONTENT_TYPE_LATEST)


def _may_read(request: HttpRequest) -> bool:
    scheme, _space, sent = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    if settings.METRICS_TOKEN and scheme.lower() == "bearer":
        digests = [hashlib.sha256(text.encode("utf-8", "replace")).digest() for text in (sent.strip(), settings.METRICS_TOKEN)]
        if hmac.compare_digest(*digests):
            return True
    if any(PROXY_HEADER.fullmatch(name) for name in request.META):
        return False  # a proxy on this machine speaks for somebody else
    try:
        return ip_address(client_address(request)).is_loopback
    except ValueError:
        return False
