"""TASK_ENGINE=celery: the broker wakes the workers. A message carries the job's id and nothing else.

A message that is lost, doubled or late does no harm: the row says what is to be done, `jobs.Queue` says by whom, and the
sweeper sends again for what waits too long.
"""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import structlog
from celery import Celery, signals
from django.conf import settings
from django.db import connection
from django.db.models import Q

from aiservices.errors import LeaseLost
from aiservices.generations import living
from aiservices.generations import queue as jobs
from aiservices.generations.broker import Broker, BrokerAway, Sender
from aiservices.generations.leases import change
from aiservices.generations.models import Generation
from billing.ledger.posting import database_now
from waule.core import tracing
from waule.core.db import connection_pool
from waule.core.processes import leave

SEND_SECONDS = 2.0
STOP_SECONDS = 2.0  # for Celery's own way out, when everything was handed over
SWEEP_EVERY_SECONDS = 2.0
MAX_SWEPT = 20  # messages that may wait; more would wake nobody else
logger = structlog.get_logger(__name__)

# Each transport takes what its client library knows, and refuses the rest.
_TIMEOUTS = {
    "redi": {"socket_timeout": SEND_SECONDS, "socket_connect_timeout": SEND_SECONDS},
    "amqp": {"connect_timeout": SEND_SECONDS, "read_timeout": SEND_SECONDS, "write_timeout": SEND_SECONDS},
}
app = Celery("waule", broker=settings.CELERY_BROKER_URL or None)
app.conf.update(
    task_default_queue=settings.CELERY_QUEUE,
    task_ignore_result=True,
    task_serializer="json",
    accept_content=["json"],
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    worker_send_task_events=False,
    worker_enable_remote_control=False,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    broker_connection_timeout=SEND_SECONDS,
    broker_connection_retry_on_startup=True,
    broker_transport_options=_TIMEOUTS.get(settings.CELERY_BROKER_URL.partition(":")[0].rstrip("s"), {}),
    enable_utc=True,
)
_queue = jobs.Queue()
_stopping = threading.Event()


@app.task(name="aiservices.do_job")
def do_job(job_id: str) -> None:
    """Does jobs while there are any: whose turn it is, the queue says. So a message that was lost is missed only by the idle."""
    connection_pool.begin()
    try:
        while not _stopping.is_set() and (job := _queue.claim()) is not None:
            if not (_stopping.is_set() and jobs.requeue(job)):
                jobs.run(job)
    finally:
        connection_pool.end()


broker = Broker()


def send(job_id: str) -> None:
    """Tells the workers that there is a job. Where the broker is away they find it in its row."""
    try:
        broker.call(lambda: do_job.apply_async((job_id,), retry=False))
    except BrokerAway as error:
        logger.warning("job_not_sent", generation=job_id, error=str(error))


sender = Sender(send, broker)


def ping() -> None:
    """Asks the broker whether it is there.

    Raises:
        BrokerAway.
    """
    broker.call(lambda: waiting_messages())


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
    leave()


@signals.setup_logging.connect
def keep_our_logging(**_kwargs: Any) -> None:
    """Celery configures no logging of its own where somebody listens to this signal."""


class Fallback:
    """Does jobs from the rows while the broker is away, as the embedded engine does."""

    def __init__(self, *, concurrency: int) -> None:
        self._slots = threading.Semaphore(concurrency)

    def take(self) -> None:
        """Begins as many jobs as there are, and as there is room for."""
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
    """Looks after what the broker lost; while it is away, after everything."""
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
    """Sends for jobs whose message must have been lost, and for those that a dead worker left unfinished. Returns how many.

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


def waiting_messages() -> int:
    """How many messages no worker has taken yet."""
    with app.connection_for_write() as connection:
        try:
            return int(connection.default_channel.queue_declare(settings.CELERY_QUEUE, passive=True).message_count)
        except connection.channel_errors:
            return 0  # nobody has sent one yet
