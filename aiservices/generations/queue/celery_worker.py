"""Workers that the broker wakes (TASK_ENGINE=celery), and the sweeper beside them for what the broker lost."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import structlog
from celery import signals
from django.conf import settings
from django.db import connection
from django.db.models import Q

from aiservices.errors import LeaseLost
from aiservices.generations.leases import change
from aiservices.generations.models import Generation
from aiservices.generations.queue import jobs, living
from aiservices.generations.queue.broker import BrokerAway
from aiservices.generations.queue.celery_app import TASK, app, broker, ping, send, waiting_messages
from billing.ledger.posting import database_now
from waule.core import tracing
from waule.core.db import connection_pool
from waule.core.processes import leave

STOP_SECONDS = 2.0  # for Celery's own way out, when everything was handed over
SWEEP_EVERY_SECONDS = 2.0
MAX_SWEPT = 20  # messages that may wait; more would wake nobody else
logger = structlog.get_logger(__name__)

_queue = jobs.Queue()
_stopping = threading.Event()


@app.task(name=TASK)
def do_job(job_id: str) -> None:
    """Do jobs while there are any: whose turn it is, the queue says. So a message that was lost is missed only by the idle."""
    connection_pool.begin()
    try:
        while not _stopping.is_set() and (job := _queue.claim()) is not None:
            if not (_stopping.is_set() and jobs.requeue(job)):
                jobs.run(job)
    finally:
        connection_pool.end()


def run_worker(*, concurrency: int, stopping: threading.Event, drain: Callable[[], None]) -> None:
    """A Celery worker in this process, with the sweeper beside it, until `stopping` and `drain`ed."""
    fallback = Fallback(concurrency=concurrency)
    threading.Thread(target=sweep_until, args=(stopping, fallback), name="sweeper", daemon=True).start()
    # The controller alone: the `celery` command's worker would take our signal handlers away.
    worker = app.WorkController(pool="threads", concurrency=concurrency, without_gossip=True, without_mingle=True)

    def watch() -> None:
        stopping.wait()
        _stopping.set()
        if (consumer := worker.consumer) is not None and consumer.task_consumer is not None:
            consumer.call_soon(consumer.cancel_task_queue, settings.CELERY_QUEUE)  # messages are for others from now on
        drain()
        # Nothing is left to lose. A broker that hangs would keep Celery from ending.
        threading.Timer(STOP_SECONDS, leave_now).start()
        worker.terminate()  # it would wait for its threads otherwise

    threading.Thread(target=watch, name="stop", daemon=True).start()
    worker.start()


def leave_now() -> None:
    living.end()
    tracing.end()
    logger.info("worker_stopped")
    leave()


@signals.setup_logging.connect
def keep_our_logging(**_kwargs: Any) -> None:
    """Celery configures no logging of its own where somebody listens to this signal."""


class Fallback:
    """Does jobs from the rows while the broker is away, as the embedded engine does."""

    def __init__(self, *, concurrency: int) -> None:
        self._slots = threading.Semaphore(concurrency)

    def take(self) -> None:
        """Begin as many jobs as there are, and as there is room for."""
        while not _stopping.is_set() and self._slots.acquire(blocking=False):
            job = _queue.claim()
            if job is None:
                self._slots.release()
                return
            jobs.under_way.begin(job)
            threading.Thread(target=self._do, args=(job,), name=f"job-{job.id}", daemon=True).start()

    def _do(self, job: Generation) -> None:
        connection_pool.begin()
        try:
            jobs.run(job)
        finally:
            connection_pool.end()
            self._slots.release()


def sweep_until(stopping: threading.Event, fallback: Fallback) -> None:
    """Look after what the broker lost; while it is away, after everything."""
    while not stopping.is_set():
        try:
            if not broker.is_away:
                sweep()
            else:
                fallback.take()
                ping()
        except BrokerAway as error:
            logger.warning("broker_away", error=str(error))
        except Exception:  # the database is away
            logger.exception("sweep_failed")
        connection.close()
        stopping.wait(SWEEP_EVERY_SECONDS)


def sweep() -> int:
    """Send for jobs whose message must have been lost, and for those that a dead worker left unfinished. Return how many.

    While messages wait, workers are busy and nothing was lost.
    """
    now = database_now()
    late = jobs.videos(Q(state=Generation.State.QUEUED, run_after__lte=now)).order_by("run_after")
    abandoned = jobs.videos(Q(state=Generation.State.RUNNING, lease_until__lt=now)).order_by("lease_until")
    found = [*abandoned[:MAX_SWEPT], *late[:MAX_SWEPT]][:MAX_SWEPT]
    room = MAX_SWEPT - broker.call(waiting_messages) if found else 0
    for job in found[: max(0, room)]:
        if job.state == Generation.State.QUEUED:
            try:
                change(job, run_after=now + timedelta(seconds=jobs.SWEEP_SECONDS))
            except LeaseLost:
                continue
        send(str(job.id))
    return len(found)
