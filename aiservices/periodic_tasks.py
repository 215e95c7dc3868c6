"""Periodic tasks: each is run at its interval by one of the workers, however many there are.

A task's row holds when it is due next; the worker that moves this time forward runs the task. A task has to stand being
interrupted: after a worker's death it runs again at the next interval.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.core.management import call_command
from django.db import DatabaseError, InterfaceError
from django.db.models import Q

from aiservices.credentials import pool
from aiservices.credentials import sora as sora_sync
from aiservices.generations import recovery, unknown
from aiservices.generations.settlement import double_charges
from aiservices.monitoring import daily_stats, probes
from aiservices.monitoring.models import PeriodicTask
from aiservices.monitoring.reconcile_task import reconcile_all, reconcile_what_is_new
from aiservices.retention.purge import purge
from billing import services as billing_services
from billing.approvals import services as approvals
from billing.catalog import availability
from billing.ledger.posting import database_now
from billing.monitoring import alerts
from billing.monitoring import daily_stats as credit_stats
from billing.usage_reports.rollup import roll_up_due
from gateway_client.upstreams import sora_admin
from storage import pending_uploads
from storage.drivers.local import sweep_incoming
from storage.services import sweep_reservations
from tenants.webhooks import delivery as outbox_delivery
from waule.core import metrics
from waule.core.db import connection_pool, part_search
from waule.core.db.transactions import retried
from waule.core.errors import WauleError

CLOCK_MARGIN_SECONDS = 60
logger = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Task:
    """One periodic task. `name` is the key of its row; `seconds` returns its interval; `run` does the work."""

    name: str
    seconds: Callable[[], float]
    run: Callable[[], object]


def _every(seconds: float) -> Callable[[], float]:
    return lambda: seconds


def _push_tokens() -> None:
    if sora_admin.is_configured():
        sora_sync.push_pending()


def _look_for_double_charges() -> None:
    if settings.AI_SERVICE_MODE == "gateway":
        double_charges.look_for_all()


# Each of these four groups has a thread of its own in the worker, so that a slow service does not delay the ledger.
IN_DATABASE = (
    Task("expire_holds", _every(5), billing_services.expire_holds),
    Task("end_model_switches", _every(10), availability.end_due),
    Task("recover", lambda: min(5, settings.JOB_LEASE_SECONDS / 2), recovery.recover_left_behind),
    Task("end_overdue", _every(5), recovery.end_overdue),
    Task("credential_leases", _every(30), pool.clean_up),
    Task("sweep_reservations", _every(60), sweep_reservations),
    Task("sweep_incoming", _every(3600), sweep_incoming),
    Task("alerts", _every(15), alerts.check),
    Task("approvals", _every(30), approvals.look_after),
    Task("release_unknown", _every(60), unknown.release_overdue),
    Task("double_charges", _every(5), _look_for_double_charges),
    Task("search_indexes", _every(5), lambda: part_search.merge_pending("billing_charge_pieces", "aiservices_gen_search")),
    Task("forget_sessions", _every(24 * 3600), lambda: call_command("clearsessions")),
)
AT_SERVICES = (
    Task("probe_services", lambda: max(1, min(5, settings.HEALTH_PROBE_SECONDS)), probes.probe_due),
    Task("ask_about_unknown", _every(30), recovery.ask_about_unknown),
    Task("push_tokens", _every(15), _push_tokens),
    Task("outbox", _every(5), outbox_delivery.deliver_due),
    Task("store_pending", _every(15), recovery.store_pending),
    Task("bring_results_home", _every(30), pending_uploads.retry_pending_uploads),
)
DAILY_STATS = (
    Task("figures_of_credits", _every(60), credit_stats.add_up),
    Task("figures_of_generations", _every(60), daily_stats.add_up),
    Task("usage_of_tenants", _every(60), roll_up_due),
)
# What may take an hour has a thread of its own.
LONG = (
    Task("reconcile", _every(24 * 3600), reconcile_all),
    Task("reconcile_new", _every(3600), reconcile_what_is_new),
    Task("purge", _every(24 * 3600), purge),
)


def do_due(tasks: Sequence[Task]) -> list[str]:
    """Run the tasks that are due and that no other worker has taken; return their names. One that fails stops no other."""
    done = []
    try:
        for task in _due(tasks):
            if _take(task):
                _do(task)
                done.append(task.name)
    except (DatabaseError, InterfaceError, WauleError) as error:
        logger.warning("no_periodic_tasks", error=type(error).__name__)
    finally:
        connection_pool.release_connection()
    return done


def _due(tasks: Sequence[Task]) -> list[Task]:
    names = [task.name for task in tasks]
    rows = dict(PeriodicTask.objects.filter(name__in=names).values_list("name", "next_at"))
    now = database_now()
    missing = [PeriodicTask(name=name, next_at=now) for name in names if name not in rows]
    if missing:
        PeriodicTask.objects.bulk_create(missing, ignore_conflicts=True)
    return [task for task in tasks if not now < rows.get(task.name, now) <= _latest(task, now)]


def _latest(task: Task, now: datetime) -> datetime:
    """Return the latest time at which the task can be due next. A later one was written before the clock was set back.

    The margin allows for another worker that took the task just after this one read the clock.
    """
    return now + timedelta(seconds=task.seconds() + CLOCK_MARGIN_SECONDS)


@retried
def _take(task: Task) -> bool:
    """Move the task's next time forward; return whether this worker did, and so has to run it."""
    now = database_now()
    due = PeriodicTask.objects.filter(Q(next_at__lte=now) | Q(next_at__gt=_latest(task, now)), name=task.name)
    return bool(due.update(next_at=now + timedelta(seconds=task.seconds())))


def _do(task: Task) -> None:
    metrics.TASK_RUNS.labels(task.name).inc()
    try:
        task.run()
    except WauleError as error:
        metrics.TASK_FAILURES.labels(task.name).inc()
        logger.warning("periodic_task_failed", task=task.name, code=error.code, why=str(error))
    except (DatabaseError, InterfaceError):
        metrics.TASK_FAILURES.labels(task.name).inc()
        raise
    except Exception:
        metrics.TASK_FAILURES.labels(task.name).inc()
        logger.exception("periodic_task_broke", task=task.name)
