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

from aiservices import jobs
from aiservices.errors import LeaseLost
from aiservices.heartbeats import change
from aiservices.models import Generation
from billing.ledger import database_now
from waule import connection_pool

SEND_SECONDS = 2.0
SWEEP_EVERY_SECONDS = 2.0
MAX_SWEPT = 20  # messages that may wait; more would wake nobody else
logger = structlog.get_logger(__name__)

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
    broker_transport_options={"socket_timeout": SEND_SECONDS, "socket_connect_timeout": SEND_SECONDS},
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
            if not (_stopping.is_set() and jobs.put_back(job)):
                jobs.run(job)
    finally:
        connection_pool.end()


def send(job_id: str) -> None:
    """Tells the workers that there is a job. When the broker is away the sweeper will."""
    try:
        do_job.apply_async((job_id,), retry=False)
    except Exception as error:
        logger.warning("job_not_sent", generation=job_id, error=type(error).__name__)


def run_worker(*, concurrency: int, stopping: threading.Event, drain: Callable[[], None]) -> None:
    """A Celery worker in this process, with the sweeper beside it, until `stopping` and `drain`ed."""
    threading.Thread(target=sweep_until, args=(stopping,), name="sweeper", daemon=True).start()
    # The controller alone: the `celery` command's worker would take our signal handlers away.
    worker = app.WorkController(pool="threads", concurrency=concurrency, without_gossip=True, without_mingle=True)

    def watch() -> None:
        stopping.wait()
        _stopping.set()
        if (consumer := worker.consumer) is not None and consumer.task_consumer is not None:
            consumer.call_soon(consumer.cancel_task_queue, settings.CELERY_QUEUE)  # messages are for others from now on
        drain()
        worker.terminate()  # it would wait for its threads otherwise

    threading.Thread(target=watch, name="stop", daemon=True).start()
    worker.start()


@signals.setup_logging.connect
def keep_our_logging(**_kwargs: Any) -> None:
    """Celery configures no logging of its own where somebody listens to this signal."""


def sweep_until(stopping: threading.Event) -> None:
    while not stopping.is_set():
        try:
            sweep()
        except Exception:  # the database is away, or the broker, each with errors of its own
            logger.exception("sweep_failed")
        connection.close()
        stopping.wait(SWEEP_EVERY_SECONDS)


def sweep() -> int:
    """Sends for jobs whose message must have been lost, and for those that a dead worker left behind. Returns how many.

    While messages wait, workers are busy and nothing was lost.
    """
    now = database_now()
    late = jobs.videos(Q(state=Generation.State.QUEUED, run_after__lte=now)).order_by("run_after")
    left_behind = jobs.videos(Q(state=Generation.State.RUNNING, lease_until__lt=now)).order_by("lease_until")
    found = [*left_behind[:MAX_SWEPT], *late[:MAX_SWEPT]][:MAX_SWEPT]
    room = MAX_SWEPT - waiting_messages() if found else 0
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
