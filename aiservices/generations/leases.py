"""Who works on a generation: leases in the rows, kept alive by one thread of each process.

A lease that is not renewed has ended: whoever comes next takes the row over by raising `attempt`, and everything that
the former owner still writes misses its mark.
"""

import contextlib
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from django.db.models import F, Q

from aiservices.errors import LeaseLost
from aiservices.generations.models import Generation
from billing.ledger.posting import database_now
from waule.core.db.prepared import IS_POSTGRESQL, Prepared
from waule.core.db.transactions import retried
from waule.core.errors import WauleError

BEATS_PER_LEASE = 3
State = Generation.State
logger = structlog.get_logger(__name__)


def lease_end(now: datetime) -> datetime:
    return now + timedelta(seconds=settings.JOB_LEASE_SECONDS)


def is_abandoned(generation: Generation, now: datetime) -> bool:
    """Return whether somebody worked on it and has gone."""
    working = generation.state in (State.NEW, State.RUNNING)
    return working and generation.lease_until is not None and generation.lease_until < now


@retried
def change(generation: Generation, *where: Q, **values: Any) -> None:
    """Write `values`, if the row is still in the hands in which `generation` was read.

    Raises:
        LeaseLost: it is not.
    """
    held = Generation.objects.filter(*where, id=generation.id, attempt=generation.attempt)
    if not held.update(**values):
        raise LeaseLost
    for name, value in values.items():
        setattr(generation, name, value)


_CALLED = Prepared(
    """
    UPDATE aiservices_generation SET called_at = clock_timestamp(), started_at = coalesce(started_at, clock_timestamp())
    WHERE id = %(id)s AND attempt = %(attempt)s RETURNING called_at, started_at
    """,
    {"id": "uuid", "attempt": "int"},
)


@retried
def note_called(generation: Generation) -> None:
    """Note, by the database's clock, that its provider is about to be called.

    Raises:
        LeaseLost.
    """
    if not IS_POSTGRESQL:
        now = database_now()
        change(generation, called_at=now, started_at=generation.started_at or now)
        return
    row = _CALLED.write(str(generation.id), generation.attempt)
    if row is None:
        raise LeaseLost
    generation.called_at, generation.started_at = row


@retried
def take_over(generation: Generation, *where: Q, **values: Any) -> bool:
    """Make this process the one that works on it. False: somebody was quicker.

    That is also who had it before, woke up, and called the provider since `generation` was read: to go on by what was read
    would call it again.
    """
    now = database_now()
    values |= {"lease_owner": owner(), "lease_until": lease_end(now)}
    as_read = Q(called_at=generation.called_at) if generation.called_at else Q(called_at__isnull=True)
    as_read &= Q(upstream_id=generation.upstream_id, outcome=generation.outcome)
    free = Generation.objects.filter(*where, as_read, id=generation.id, attempt=generation.attempt)
    if not free.update(attempt=F("attempt") + 1, **values):
        return False
    generation.attempt += 1
    for name, value in values.items():
        setattr(generation, name, value)
    return True


class Heartbeat:
    """Renews the leases of this process's generations, all in one statement, while there are any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._attempts: dict[UUID, int] = {}
        self._lost: set[tuple[UUID, int]] = set()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._pid = 0

    @contextlib.contextmanager
    def keep(self, generation: Generation) -> Iterator[None]:
        """Keeps the lease of `generation`, which this process has, alive meanwhile."""
        attempt = generation.attempt
        self._add(generation.id, attempt)
        try:
            yield
        finally:
            with self._lock:
                # Another thread of this process may have taken it over meanwhile.
                if self._attempts.get(generation.id) == attempt:
                    del self._attempts[generation.id]
                self._lost.discard((generation.id, attempt))

    def check(self, generation: Generation) -> None:
        """Raise LeaseLost where the lease was found lost."""
        if (generation.id, generation.attempt) in self._lost:
            raise LeaseLost

    def lose(self, generation: Generation) -> None:
        """The lease was given away: it is kept alive no longer, and `check` says so."""
        with self._lock:
            if self._attempts.get(generation.id) == generation.attempt:
                del self._attempts[generation.id]
                self._lost.add((generation.id, generation.attempt))

    def _add(self, generation_id: UUID, attempt: int) -> None:
        with self._lock:
            if self._pid != os.getpid():  # a forked process has no threads of its parent
                self._attempts, self._thread, self._pid = {}, None, os.getpid()
            self._attempts[generation_id] = attempt
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="generation-heartbeat", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            time.sleep(settings.JOB_LEASE_SECONDS / BEATS_PER_LEASE)
            with self._lock:
                if not self._attempts:
                    self._thread = None
                    return
                attempts = dict(self._attempts)
            try:
                self._beat(attempts)
            except (DatabaseError, InterfaceError, WauleError) as error:
                logger.warning("leases_not_renewed", error=type(error).__name__)
            finally:
                connection.close()

    def _beat(self, attempts: dict[UUID, int]) -> None:
        mine = Generation.objects.filter(id__in=attempts, lease_owner=owner())
        # One that has just ended keeps its row as it ended.
        renewed = mine.filter(state__in=[State.NEW, State.RUNNING]).update(lease_until=lease_end(database_now()))
        if renewed < len(attempts):
            still = dict(mine.values_list("id", "attempt"))
            lost = {(key, attempt) for key, attempt in attempts.items() if still.get(key) != attempt}
            with self._lock:
                self._lost |= {(key, attempt) for key, attempt in lost if self._attempts.get(key) == attempt}


heartbeat = Heartbeat()
_owner = ""


def owner() -> str:
    """This process, among all processes of all machines."""
    return _owner


def _name_owner() -> None:
    global _owner
    _owner = f"{socket.gethostname()[:48]}:{os.getpid()}:{secrets.token_hex(8)}"


# Not when it is first asked for: two threads would ask at once, and what the one began would be renewed by the other's name.
_name_owner()
os.register_at_fork(after_in_child=_name_owner)
