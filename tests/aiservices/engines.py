"""The job engines on the brokers of this machine, for tests that hold on all of them."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import kombu
import pytest

from tests.settings import ENVIRONMENT

BROKERS = {
    "redis": os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/0"),
    "rabbitmq": os.environ.get("TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672//"),
}
# Each broker with one of the databases: what Celery brings to us does not depend on both at once.
ENGINES = ["embedded", "rabbitmq" if ENVIRONMENT["DATABASE_URL"].startswith("postgres") else "redis"]


@contextmanager
def engine(name: str) -> Iterator[dict[str, str]]:
    """The settings of that engine, with a queue of the test's own; skips the test where its broker does not answer."""
    if name == "embedded":
        yield {}
        return
    url, queue = BROKERS[name], f"waule-test-{secrets.token_hex(6)}"
    with kombu.Connection(url, connect_timeout=2) as connection:
        try:
            connection.ensure_connection(max_retries=1, interval_start=0.1, timeout=3)
        except Exception as error:
            pytest.skip(f"no {name} answers at {connection.as_uri()}: {type(error).__name__}")
    yield {"TASK_ENGINE": "celery", "CELERY_BROKER_URL": url, "CELERY_QUEUE": queue}
    with kombu.Connection(url) as connection:
        connection.default_channel.queue_delete(queue)


def forget_messages(settings: dict[str, str]) -> None:
    """Loses every message that waits, as a broker without a disk does when it is killed."""
    connection = kombu.Connection(settings["CELERY_BROKER_URL"])
    with connection, contextlib.suppress(connection.channel_errors):  # no queue yet: nothing waits in it
        connection.default_channel.queue_purge(settings["CELERY_QUEUE"])
