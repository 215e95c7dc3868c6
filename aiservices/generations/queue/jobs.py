"""Videos are jobs: rows that workers claim, keep with heartbeats, and finish under a fencing token.

The rows are the truth. TASK_ENGINE says only what wakes the workers (`aiservices.worker`): `embedded` ones look at
the table, `celery` ones are sent the job's id. Which job is done next is decided here either way: the one whose owner has the
fewest running, so that a thousand jobs of one tenant do not keep another's waiting.
"""

import contextlib
import threading
import time
from collections import OrderedDict
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection, transaction
from django.db.models import Count, Min, Q, QuerySet

from aiservices.errors import Interrupted, LeaseLost
from aiservices.generations.execution import can_be_resumed, may_exist, perform, timed_out
from aiservices.generations.leases import change, heartbeat, take_over
from aiservices.generations.models import Generation, GenerationInput
from aiservices.generations.settlement.outcomes import apply_outcome, fail
from aiservices.generations.unfinished import ask_what_became_of
from billing.ledger.posting import database_now
from gateway_client.errors import OutcomeUnknown
from waule.core import tracing
from waule.core.db import connection_pool
from waule.core.db.transactions import retried
from waule.core.errors import WauleError

MAX_CRASHES = 5  # of its workers; then a job is given up
SWEEP_SECONDS = 5  # until a job whose message was lost is woken again
MAX_REMEMBERED_OWNERS = 10_000
CLAIM_TRIES = 20

State = Generation.State
Owner = tuple[Any, Any]  # tenant's id or None, user's id or None
logger = structlog.get_logger(__name__)


# --- waking --------------------------------------------------------------------------------------------------------


def wake_after(now: datetime) -> datetime:
    """When a new job is due: at once, or, where a message is sent for it, when that message must have been lost."""
    return now + timedelta(seconds=SWEEP_SECONDS) if settings.TASK_ENGINE == "celery" else now


def wake(job: Generation) -> None:
    """Send the job's id once the job is committed. A broker that is away is no reason to refuse: the sweeper sends again."""
    if settings.TASK_ENGINE != "celery":
        return
    from aiservices.generations.queue import celery_app  # celery is loaded where it is used

    transaction.on_commit(lambda: celery_app.sender.post(str(job.id)))


# --- claiming ------------------------------------------------------------------------------------------------------


class Queue:
    """Chooses the next job, fairly between owners."""

    def __init__(self) -> None:
        self._served: OrderedDict[Owner, float] = OrderedDict()  # when each owner's turn was last
        self._lock = threading.Lock()

    def claim(self) -> Generation | None:
        """Return a job that is ours now; None where there is none. What a dead worker left unfinished comes first."""
        now = database_now()
        return self._claim_left_behind(now) or self._claim_queued(now)

    def _claim_left_behind(self, now: datetime) -> Generation | None:
        lost = Q(state=State.RUNNING, lease_until__lt=now)
        for found in videos(lost).order_by("lease_until")[:CLAIM_TRIES]:
            if take_over(found, lost, crash_count=found.crash_count + 1):
                logger.warning("job_taken_over", generation=str(found.id), attempt=found.attempt)
                return found
        return None

    def _claim_queued(self, now: datetime) -> Generation | None:
        due = due_jobs(now)
        for _try in range(CLAIM_TRIES):
            for owner in self._owners(due):
                if (found := self._take(due.filter(tenant_id=owner[0], user_id=owner[1]), now)) is not None:
                    self._note_turn(owner)
                    return found
            if not due.exists():
                return None
        return None

    def _owners(self, due: "QuerySet[Generation]") -> list[Owner]:
        """Return those who have due jobs, the one whose turn it is first."""
        waiting = {
            (tenant, user): oldest
            for tenant, user, oldest in due.order_by().values_list("tenant_id", "user_id").annotate(Min("run_after"))
        }
        if not waiting:
            return []
        running = {
            (tenant, user): count
            for tenant, user, count in videos(Q(state=State.RUNNING))
            .order_by()
            .values_list("tenant_id", "user_id")
            .annotate(Count("id"))
        }
        with self._lock:
            return sorted(waiting, key=lambda owner: (running.get(owner, 0), self._served.get(owner, 0.0), waiting[owner]))

    def _note_turn(self, owner: Owner) -> None:
        with self._lock:
            self._served[owner] = time.monotonic()
            self._served.move_to_end(owner)
            if len(self._served) > MAX_REMEMBERED_OWNERS:
                self._served.popitem(last=False)

    @staticmethod
    @retried
    def _take(jobs: "QuerySet[Generation]", now: datetime) -> Generation | None:
        """Return the first of `jobs` that nobody else is just taking."""
        with transaction.atomic():
            ordered = jobs.order_by("-priority", "id")
            if connection.features.has_select_for_update_skip_locked:
                ordered = ordered.select_for_update(skip_locked=True, of=("self",))
            found = ordered.first()
            if found is None:
                return None
            deadline = found.deadline_at or now + timedelta(seconds=settings.VIDEO_JOB_SECONDS)
            started_at = found.started_at or now
            taken = take_over(found, Q(state=State.QUEUED), state=State.RUNNING, deadline_at=deadline, started_at=started_at)
            return found if taken else None


def videos(*where: Q) -> "QuerySet[Generation]":
    return Generation.objects.select_related("model", "hold").filter(*where, type=Generation.Type.VIDEO)


def due_jobs(now: datetime) -> "QuerySet[Generation]":
    """Jobs that may begin. A message may come before `run_after`, which then says when it counts as lost."""
    due = Q(state=State.QUEUED, outcome="")
    return videos(due if settings.TASK_ENGINE == "celery" else due & Q(run_after__lte=now))


# --- doing ---------------------------------------------------------------------------------------------------------


def run(job: Generation) -> None:
    """Do a claimed job, or what is left of it. Whatever happens, the row says how far it came."""
    with structlog.contextvars.bound_contextvars(generation=str(job.id), request_id=job.request_id):
        try:
            under_way.begin(job)
            with heartbeat.keep(job), _span_of(job) as span:
                _run(job)
                span.set("waule.outcome", job.outcome)
        except LeaseLost:
            logger.warning("job_lost")
        except (WauleError, DatabaseError, InterfaceError):
            logger.exception("job_interrupted")  # its lease ends, then another worker settles it
        finally:
            under_way.end(job)
            connection_pool.release_connection()


def _span_of(job: Generation) -> AbstractContextManager[tracing.Span]:
    """Return the job as a step of the trace that its request began, where traces are on."""
    if not tracing.is_on():
        return tracing.span("job")
    kept = GenerationInput.objects.filter(generation_id=job.id).values_list("trace_parent", flat=True).first()
    attributes: dict[str, tracing.Value] = {
        "waule.generation_id": str(job.id),
        "waule.request_id": job.request_id,
        "waule.attempt": job.attempt,
    }
    return tracing.span("job", "consumer", parent=kept or "", attributes=attributes)


def _run(job: Generation) -> None:
    if job.outcome:
        apply_outcome(job)
    elif job.deadline_at is not None and job.deadline_at < database_now():
        give_up(job)
    elif not can_be_resumed(job):
        ask_what_became_of(job)
    elif job.crash_count >= MAX_CRASHES:
        logger.error("job_killed_its_workers", crash_count=job.crash_count)
        if may_exist(job):
            fail(job, OutcomeUnknown(reason="interrupted"), outcome=State.UNKNOWN)
        else:
            fail(job, Interrupted())
    else:
        perform(job)


def give_up(job: Generation) -> None:
    """End a job that is past its deadline."""
    error = timed_out(job) if job.called_at is not None else Interrupted()
    fail(job, error, outcome=State.UNKNOWN if getattr(error, "is_unknown", False) else State.FAILED)


def requeue(job: Generation) -> bool:
    """Give a job that can be resumed back to the queue; who works on it here finds its lease lost. False: too late."""
    mine = Generation(id=job.id, attempt=job.attempt)  # not `job`: that is in the hands of the thread that works on it
    free = {"state": State.QUEUED, "attempt": job.attempt + 1, "lease_owner": "", "lease_until": None}
    try:
        change(mine, Q(outcome="", state=State.RUNNING), run_after=database_now(), **free)
    except (LeaseLost, WauleError, DatabaseError, InterfaceError):
        return False
    heartbeat.lose(job)
    wake(mine)
    logger.info("job_put_back", generation=str(job.id))
    return True


class UnderWay:
    """The jobs that this process is doing now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[int, Generation] = {}  # by id() of the object, which is one thread's own
        self._busy: set[int] = set()  # also those that were handed over and whose thread does not know it yet

    def begin(self, job: Generation) -> None:
        with self._lock:
            self._jobs[id(job)] = job
            self._busy.add(id(job))

    def end(self, job: Generation) -> None:
        with self._lock:
            self._jobs.pop(id(job), None)
            self._busy.discard(id(job))

    @property
    def is_busy(self) -> bool:
        return bool(self._busy)

    def drain(self) -> bool:
        """Put back what another worker can go on with. Return whether anything is left that has to be waited for."""
        for job in self._snapshot():
            if not job.outcome and can_be_resumed(job) and requeue(job):
                with self._lock:
                    self._jobs.pop(id(job), None)
        return bool(self._snapshot())

    def let_go(self) -> None:
        """End the leases of the rest: whoever comes next asks what became of it, without waiting for their time."""
        for job in self._snapshot():
            with contextlib.suppress(LeaseLost, WauleError, DatabaseError, InterfaceError):
                change(Generation(id=job.id, attempt=job.attempt), lease_owner="", lease_until=database_now())

    def _snapshot(self) -> list[Generation]:
        with self._lock:
            return list(self._jobs.values())


under_way = UnderWay()
