"""`/metrics` for Prometheus. What the database knows is read when it is asked for; what requests took is each process's own.

A server runs several processes and a scrape reaches one of them: its series of requests carry the label `process`, so
that the counters of two processes are never taken for one that jumps.
"""

import hashlib
import hmac
import os
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address

from django.conf import settings
from django.db.models import Count, Min
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from aiservices.models import Generation
from billing import proofs, refusals
from billing.models import Alert, Hold
from tenants.models import OutboxMessage
from waule.errors import Forbidden
from waule.middleware import client_address

METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60, 300)
REGISTRY = CollectorRegistry()
REQUESTS = Histogram(
    "waule_request_seconds",
    "How long answers took, by the address's pattern.",
    ("process", "method", "route", "status"),
    buckets=BUCKETS,
    registry=REGISTRY,
)
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
            series = REQUESTS.labels(str(os.getpid()), method, key[1] or "none", str(key[2]))
            if method != "other":
                _series[key] = series
        series.observe(time.perf_counter() - began_at)
        if (code := getattr(request, "failure_code", None)) is not None:
            refusals.note(code)
        return response


class Books(Collector):
    """Figures of the database: a handful of queries, each by an index."""

    def collect(self) -> Iterator[Metric]:
        now = timezone.now()
        run = proofs.last_run()
        if run is not None:
            yield _gauge("waule_reconcile_ok", "Whether the last proof of the books found them right.", int(run.ok))
            age = (now - run.finished_at).total_seconds()
            yield _gauge("waule_reconcile_age_seconds", "How long ago the last proof ended.", age)
        holds = Hold.objects.filter(state=Hold.State.HELD).aggregate(count=Count("id"), oldest=Min("created_at"))
        oldest = (now - holds["oldest"]).total_seconds() if holds["oldest"] else 0
        yield _gauge("waule_open_holds", "Holds that have not ended.", holds["count"])
        yield _gauge("waule_oldest_hold_seconds", "How old the oldest open hold is.", oldest)
        yield self._generations()
        pending = OutboxMessage.objects.filter(state=OutboxMessage.State.PENDING).count()
        yield _gauge("waule_outbox_pending", "Messages that have not reached their webhook.", pending)
        alerts = GaugeMetricFamily("waule_alerts", "Alerts that stand now.", labels=["kind"])
        standing = dict(Alert.objects.filter(is_raised=True).values_list("kind").annotate(count=Count("id")))
        for kind in Alert.Kind.values:
            alerts.add_metric([kind], standing.get(kind, 0))
        yield alerts

    def describe(self) -> list[Metric]:
        """Nothing: else the registry would collect, and ask the database, when it is made."""
        return []

    def _generations(self) -> Metric:
        family = GaugeMetricFamily("waule_generations", "Generations that have not ended, or nobody knows how.", labels=["state"])
        states = (Generation.State.QUEUED, Generation.State.RUNNING, Generation.State.UNKNOWN)
        rows = Generation.objects.filter(state__in=states).order_by().values_list("state").annotate(count=Count("id"))
        found = dict(rows)
        for state in states:
            family.add_metric([state.value], found.get(state.value, 0))
        return family


REGISTRY.register(Books())


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
    return HttpResponse(generate_latest(REGISTRY), content_type=CONTENT_TYPE_LATEST)


def _may_read(request: HttpRequest) -> bool:
    scheme, _space, sent = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    if settings.METRICS_TOKEN and scheme.lower() == "bearer":
        digests = [hashlib.sha256(text.encode("utf-8", "replace")).digest() for text in (sent.strip(), settings.METRICS_TOKEN)]
        if hmac.compare_digest(*digests):
            return True
    if not settings.TRUST_PROXY_HEADERS and {"HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED"} & request.META.keys():
        return False  # a proxy on this machine speaks for somebody else
    try:
        return ip_address(client_address(request)).is_loopback
    except ValueError:
        return False
