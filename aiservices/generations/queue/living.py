"""Which workers live: each writes down every few seconds that it does. Nobody else can tell, whatever the engine."""

import contextlib
import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import DatabaseError, InterfaceError

from aiservices.generations.models import WorkerProcess
from billing.ledger.posting import database_now
from waule.core.db import connection_pool
from waule.core.errors import WauleError

BEAT_SECONDS = 5.0
SILENT_SECONDS = 20.0  # a worker that has not been heard of for so long is dead, or cut off from the database
FORGOTTEN_SECONDS = 24 * 3600.0
END_SECONDS = 2.0
ALIVE_FILE = Path(tempfile.gettempdir()) / "waule-worker-alive"  # touched with each beat: for a container's health check


def living() -> int:
    """Return how many workers live."""
    return WorkerProcess.objects.filter(seen_at__gte=database_now() - timedelta(seconds=SILENT_SECONDS)).count()


_stop = threading.Event()
_beating: threading.Thread | None = None


@contextlib.contextmanager
def shown(*, concurrency: int) -> Iterator[None]:
    """This process is a living worker meanwhile. One that ends says so; one that dies falls silent."""
    global _beating
    _stop.clear()
    name = f"{socket.gethostname()}:{os.getpid()}"[:100]
    _beating = threading.Thread(target=_beat, args=(name, concurrency), name="worker-beats", daemon=True)
    _beating.start()
    try:
        yield
    finally:
        end()


def end() -> None:
    """This process is a living worker no more."""
    _stop.set()
    if _beating is not None:
        _beating.join(END_SECONDS)


def _beat(name: str, concurrency: int) -> None:
    row = None
    while not _stop.is_set():
        ALIVE_FILE.touch()
        with contextlib.suppress(DatabaseError, InterfaceError, WauleError):  # it is written down when the database is back
            now = database_now()
            WorkerProcess.objects.filter(seen_at__lt=now - timedelta(seconds=FORGOTTEN_SECONDS)).delete()
            if row is None:
                about = {"started_at": now, "concurrency": concurrency, "engine": settings.TASK_ENGINE}
                row = WorkerProcess.objects.create(name=name, seen_at=now, **about)
            elif not WorkerProcess.objects.filter(id=row.id).update(seen_at=now):
                row = None
        connection_pool.release_connection()
        _stop.wait(BEAT_SECONDS)
    with contextlib.suppress(DatabaseError, InterfaceError, WauleError):
        if row is not None:
            WorkerProcess.objects.filter(id=row.id).delete()
    connection_pool.release_connection()
