"""`manage.py serve`: the production HTTP server alone."""

import multiprocessing
import os
import resource
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server import Server

from waule.core.checks import internal_secret_problem
from waule.core.commands import PlainCommand
from waule.core.processes import DRAIN_SECONDS, end_with_parent
from waule.server.worker import run

WORKERS = 2
# A generation holds its thread while the provider works; this many and more can wait and /internal still has threads.
# Threads are made when they are needed. How many requests work with the database at once is waule.core.db.connection_pool's.
THREADS_PER_WORKER = 512
CONNECTIONS_PER_WORKER = 4096
HEAD_MILLISECONDS = 30_000  # a connection without a whole request head ends after so long
FILES = 16_384  # open files of a process, as far as the system lets it
BACKLOG = 2048
RESPAWN_SECONDS = 0.5
PORT_WAIT_SECONDS = 2.0  # a server that was just killed lets its port go within this time


class Command(PlainCommand):
    help = "Serves waule over HTTP until it is asked to stop (SIGTERM, SIGINT). Pictures that are being made then are answered."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=settings.PORT)
        parser.add_argument("--workers", type=int, default=WORKERS, help="server processes")

    def handle(self, *, host: str, port: int, workers: int, **options: Any) -> None:
        wait_for_port(host, port)
        if problem := internal_secret_problem():
            self.stderr.write(problem)
        end_with_parent()
        if port != settings.PORT:
            # PUBLIC_URL follows the port: processes that start from scratch read their settings anew.
            os.environ["PORT"] = str(port)
            multiprocessing.set_start_method("spawn", force=True)
        server = Server(
            "waule.wsgi:application",
            address=host,
            port=port,
            interface=Interfaces.WSGI,
            http=HTTPModes.http1,
            websockets=False,
            workers=workers,
            blocking_threads=THREADS_PER_WORKER,
            backlog=BACKLOG,
            backpressure=CONNECTIONS_PER_WORKER,
            http1_settings=HTTP1Settings(header_read_timeout=HEAD_MILLISECONDS),
            respawn_failed_workers=True,
            respawn_interval=RESPAWN_SECONDS,
            workers_kill_timeout=DRAIN_SECONDS,
            log_level=LogLevels.error,
        )
        server.respawned_wrks = _NeverACrashLoop()
        allow_open_files()
        server.serve(spawn_target=run, target_loader=load_application, wrap_loader=False)


class _NeverACrashLoop(dict[int, float]):
    """When which worker was replaced, as granian notes it to give up on one that dies twice within seconds.

    A server of money does not give up: settings and migrations were looked at before, so what kills a worker twice is a
    machine in trouble, and its other requests still deserve an answer.
    """

    def get(self, key: int, default: Any = None) -> Any:
        return default


def load_application() -> Callable[..., Any]:
    """Return the WSGI application, in a server process that ends with the one that made it."""
    end_with_parent(os.getppid())
    # Ctrl-C reaches every process of the terminal, but only the first one is to act on it: told twice, granian's hang.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # while it loads; then granian listens
    from waule.wsgi import application

    return application


def allow_open_files() -> None:
    """Raise this process's limit of open files: a connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def wait_for_port(host: str, port: int) -> None:
    """Return when nobody listens there. (The server would share the port with whoever does, so it is asked beforehand.)

    Raises:
        CommandError: the port stays taken, or is not ours to take.
    """
    deadline = time.monotonic() + PORT_WAIT_SECONDS
    while problem := _port_problem(host, port):
        if time.monotonic() > deadline:
            raise CommandError(f"Cannot serve on {host}:{port}: {problem}. Choose another port with --port.")
        time.sleep(0.1)


def _port_problem(host: str, port: int) -> str | None:
    try:
        family, _type, _protocol, _name, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, OverflowError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None
