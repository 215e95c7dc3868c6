"""The worker process: jobs and periodic tasks until it is told to stop.

A stop is quick: what another worker can go on with is handed over at once, with nothing lost and no death counted. Only
what cannot be resumed, a call that the provider has not answered yet, is waited for.
"""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector

from aiservices import periodic_tasks
from aiservices.generations.models import Generation
from aiservices.generations.queue import living
from aiservices.generations.queue.jobs import Queue, run, under_way
from waule.core import tracing
from waule.core.db import connection_pool
from waule.core.errors import WauleError
from waule.core.processes import DRAIN_SECONDS

POLL_SECONDS = 0.5
NOTICE_SECONDS = 1.0  # and so long for its threads to notice that their job was handed over
DRAIN_LOOK_SECONDS = 0.2
CHORE_LOOK_SECONDS = 1.0
TASK_STOP_SECONDS = 3.0  # for periodic tasks under way
logger = structlog.get_logger(__name__)


def run_worker(*, concurrency: int) -> None:
    """Do jobs and periodic tasks until SIGTERM or SIGINT; a second one ends it at once."""
    stopping = threading.Event()
    with stop_on_signals(stopping):
        work(concurrency=concurrency, stop=stopping)


def work(*, concurrency: int, stop: threading.Event) -> None:
    """Do jobs and periodic tasks until `stop` is set."""
    tracing.begin()
    connection_pool.share_connections()
    _export_metrics()
    logger.info("worker_started", concurrency=concurrency, engine=settings.TASK_ENGINE)
    with living.shown(concurrency=concurrency), keeping_house(stop):
        if settings.TASK_ENGINE == "celery":
            from aiservices.generations.queue import celery_worker  # celery is loaded where it is used

            celery_worker.run_worker(concurrency=concurrency, stopping=stop, drain=drain)
        else:
            Worker(concurrency=concurrency, stopping=stop).run()
    tracing.end()
    logger.info("worker_stopped")


def _export_metrics() -> None:
    """Where workers have a machine of their own, no server there tells what they count."""
    if settings.WORKER_METRICS_PORT:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        start_http_server(settings.WORKER_METRICS_PORT, addr=settings.WORKER_METRICS_HOST, registry=registry)


@contextlib.contextmanager
def keeping_house(stop: threading.Event) -> Iterator[None]:
    """Periodic tasks are done meanwhile, in threads of their own: those that may have to wait for a service hold up no others."""
    keepers = [
        threading.Thread(target=_keep_house, args=(periodic_tasks.do_due, tasks, stop), name=name, daemon=True)
        for name, tasks in (
            ("periodic-tasks", periodic_tasks.IN_DATABASE),
            ("periodic-tasks-outside", periodic_tasks.AT_SERVICES),
            ("periodic-tasks-figures", periodic_tasks.DAILY_STATS),
            ("periodic-tasks-long", periodic_tasks.LONG),
        )
    ]
    for keeper in keepers:
        keeper.start()
    yield
    for keeper in keepers:
        keeper.join(TASK_STOP_SECONDS / len(keepers))


def _keep_house(do_due: Callable[[Any], object], tasks: Any, stop: threading.Event) -> None:
    while not stop.is_set():
        do_due(tasks)
        stop.wait(CHORE_LOOK_SECONDS)


@contextlib.contextmanager
def stop_on_signals(stopping: threading.Event) -> Iterator[None]:
    def stop(number: int, _frame: FrameType | None) -> None:
        if stopping.is_set():
            raise SystemExit(128 + number)
        stopping.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Worker:
    """The embedded engine: looks for due jobs and does each in a thread of its own, `concurrency` at a time."""

    def __init__(self, *, concurrency: int, stopping: threading.Event) -> None:
        self.slots = threading.Semaphore(concurrency)
        self.stopping = stopping
        self.queue = Queue()

    def run(self) -> None:
        while not self.stopping.is_set():
            if not self.slots.acquire(timeout=POLL_SECONDS):
                continue
            job = self.look()
            if job is None:
                self.slots.release()
                self.stopping.wait(POLL_SECONDS)
                continue
            under_way.begin(job)  # here: a stop that comes now must see it
            threading.Thread(target=self.do, args=(job,), name=f"job-{job.id}", daemon=True).start()
        drain()

    def look(self) -> Generation | None:
        """Return the next job; a database that is away is looked for again."""
        try:
            return self.queue.claim()
        except (WauleError, DatabaseError, InterfaceError):
            logger.exception("jobs_not_seen")
            connection_pool.release_connection()
            return None

    def do(self, job: Generation) -> None:
        connection_pool.begin()
        try:
            run(job)
        finally:
            connection_pool.end()
            self.slots.release()


def drain() -> None:
    """Hand over what others can go on with, wait for the rest, and leave what is not done by then to whoever comes next.

    In short steps, so that a second signal is heard.
    """
    deadline = time.monotonic() + DRAIN_SECONDS
    while under_way.drain() and time.monotonic() < deadline:
        time.sleep(DRAIN_LOOK_SECONDS)
    under_way.let_go()
    deadline = time.monotonic() + NOTICE_SECONDS
    while under_way.is_busy and time.monotonic() < deadline:
        time.sleep(DRAIN_LOOK_SECONDS)
