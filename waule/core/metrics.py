"""What processes count for Prometheus, in one place. `waule.site.metrics` shows it beside what the database knows.

Servers and workers of a machine count together (`waule.core.metrics_directory`); other processes each for itself.
"""

from prometheus_client import CollectorRegistry, Counter, Histogram

COUNTED = CollectorRegistry()
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60, 300)
PROVIDER_BUCKETS = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 1200, 3600)
REQUESTS = Histogram(
    "waule_request_seconds",
    "How long answers took, by the address's pattern.",
    ("method", "route", "status"),
    buckets=BUCKETS,
    registry=COUNTED,
)
REJECTIONS = Counter("waule_rejections", "Requests that were refused, by the code of the answer.", ("code",), registry=COUNTED)
PROVIDER_CALLS = Histogram(
    "waule_provider_seconds",
    "How long providers took for a generation; outcome is ok or the code of the failure.",
    ("provider", "type", "outcome"),
    buckets=PROVIDER_BUCKETS,
    registry=COUNTED,
)
LEASES_REFUSED = Counter(
    "waule_leases_refused", "Leases of credentials that none was ready for.", ("provider",), registry=COUNTED
)
TASK_FAILURES = Counter("waule_periodic_task_failures", "Periodic tasks that failed.", ("task",), registry=COUNTED)
TASK_RUNS = Counter("waule_periodic_task_runs", "Periodic tasks that ran.", ("task",), registry=COUNTED)
