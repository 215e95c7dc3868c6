"""TASK_ENGINE=celery: the broker wakes the workers. A message carries the job's id and nothing else.

A message that is lost, doubled or late does no harm: the row says what is to be done, `jobs.Queue` says by whom, and the
sweeper (`celery_worker`) sends again for what waits too long.
"""

import structlog
from celery import Celery
from django.conf import settings

from aiservices.generations.queue.broker import Broker, BrokerAway, Sender

TASK = "aiservices.do_job"
SEND_SECONDS = 2.0
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
broker = Broker()


def send(job_id: str) -> None:
    """Tell the workers that there is a job. Where the broker is away they find it in its row."""
    try:
        broker.call(lambda: app.send_task(TASK, (job_id,), retry=False, ignore_result=True))
    except BrokerAway as error:
        logger.warning("job_not_sent", generation=job_id, error=str(error))


sender = Sender(send, broker)


def ping() -> None:
    """Ask the broker whether it is there.

    Raises:
        BrokerAway.
    """
    broker.call(lambda: waiting_messages())


def waiting_messages() -> int:
    """Return how many messages no worker has taken yet."""
    with app.connection_for_write() as connection:
        try:
            return int(connection.default_channel.queue_declare(settings.CELERY_QUEUE, passive=True).message_count)
        except connection.channel_errors:
            return 0  # nobody has sent one yet
