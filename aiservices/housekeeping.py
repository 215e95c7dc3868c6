"""What has to be done now and then: each chore by one worker of many, however many there are.

Nobody waits for any of it. A worker that dies in the middle of a chore leaves it half done; the next one does it again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.core.management import call_command
from django.db import DatabaseError, InterfaceError
from django.db.models import Q

from aiservices import figures, health, outbox_delivery, pool, proof, recovery, sora_sync, switches
from aiservices.models import Chore
from billing import alerts
from billing import figures as credit_figures
from billing import services as books
from billing.ledger import database_now
from gateway_client import sora_admin
from storage import waiting
from storage.drivers.local import sweep_incoming
from storage.services import sweep_reservations
from waule import connection_pool
from waule.errors import WauleError
from waule.transactions import retried

CLOCK_MARGIN_SECONDS = 60
logger = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Task:
    """One chore. `name` is its row; `seconds` is how long it rests in between."""

    name: str
    seconds: Callable[[], float]
    do: Callable[[], object]


def _every(seconds: float) -> Callable[[], float]:
    return lambda: seconds


def _push_tokens() -> None:
    if sora_admin.is_configured():
        sora_sync.push_pending()


# Those that ask nobody outside, and those that may have to wait for somebody: a slow service holds up no hold.
AT_HOME = (
    Task("expire_holds", _every(5), books.expire_holds),
    Task("end_model_switches", _every(10), switches.end_due),
    Task("recover", lambda: min(5, settings.JOB_LEASE_SECONDS / 2), recovery.recover_left_behind),
    Task("end_overdue", _every(5), recovery.end_overdue),
    Task("credential_leases", _every(30), pool.housekeep),
    Task("sweep_reservations", _every(60), sweep_reservations),
    Task("sweep_incoming", _every(3600), sweep_incoming),
    Task("alerts", _every(15), alerts.check),
    Task("forget_sessions", _every(24 * 3600), lambda: call_command("clearsessions")),
)
OUTSIDE = (
    Task("probe_services", lambda: max(1, min(5, settings.HEALTH_PROBE_SECONDS)), health.probe_due),
    Task("ask_about_unknown", _every(30), recovery.ask_about_unknown),
    Task("push_tokens", _every(15), _push_tokens),
    Task("outbox", _every(5), outbox_delivery.deliver_due),
    Task("bring_results_home", _every(30), waiting.bring_home),
)
# What reads a day's rows at once has a thread of its own.
FIGURES = (
    Task("figures_of_credits", _every(60), credit_figures.add_up),
    Task("figures_of_generations", _every(60), figures.add_up),
)
# What may take an hour has a thread of its own.
LONG = (Task("reconcile", _every(24 * 3600), proof.prove),)


def do_due(tasks: Sequence[Task]) -> list[str]:
    """Does what is due and nobody else has taken; the names of what was done. A chore that fails stops no other."""
    done = []
    try:
        for task in _due(tasks):
            if _take(task):
                _do(task)
                done.append(task.name)
    except (DatabaseError, InterfaceError, WauleError) as error:
        logger.warning("no_housekeeping", error=type(error).__name__)
    finally:
        connection_pool.give_back()
    return done


def _due(tasks: Sequence[Task]) -> list[Task]:
    names = [task.name for task in tasks]
    rows = dict(Chore.objects.filter(name__in=names).values_list("name", "next_at"))
    now = database_now()
    missing = [Chore(name=name, next_at=now) for name in names if name not in rows]
    if missing:
        Chore.objects.bulk_create(missing, ignore_conflicts=True)
    return [task for task in tasks if not now < rows.get(task.name, now) <= _latest(task, now)]


def _latest(task: Task, now: datetime) -> datetime:
    """What is to be done later than this was put down by a clock that has been put back since.

    The margin: another worker may have taken the chore a moment after this one read the time.
    """
    return now + timedelta(seconds=task.seconds() + CLOCK_MARGIN_SECONDS)


@retried
def _take(task: Task) -> bool:
    """Whether this worker does it."""
    now = database_now()
    due = Chore.objects.filter(Q(next_at__lte=now) | Q(next_at__gt=_latest(task, now)), name=task.name)
    return bool(due.update(next_at=now + timedelta(seconds=task.seconds())))


def _do(task: Task) -> None:
    try:
        task.do()
    except WauleError as error:
        logger.warning("chore_failed", chore=task.name, code=error.code, why=str(error))
    except (DatabaseError, InterfaceError):
        raise
    except Exception:
        logger.exception("chore_broke", chore=task.name)
