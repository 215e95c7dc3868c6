"""Few database connections for many threads.

A server process has a thread for every request under way, a worker one for every job, and most of them may be waiting for
a provider. So connections are not each thread's own, as Django has them, but pooled: a request checks one out when it first
needs it, and releases it when it ends or before it waits for somebody outside (`release_connection`). A small pool is also what
keeps a hot account quick: its row gets slower with every connection that queues for it.
"""

import queue
import threading
from typing import Any

from django.conf import settings
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from waule.core.errors import Unavailable

WAIT_SECONDS = 20.0
ALIAS = "default"

_thread = threading.local()
_make_connection = connections.create_connection


class Pool:
    """The connections of this process, the ones used last on top: their plans are prepared."""

    def __init__(self, size: int) -> None:
        self.wait_seconds = WAIT_SECONDS
        self.free: queue.LifoQueue[BaseDatabaseWrapper | None] = queue.LifoQueue()
        for _number in range(size):
            self.free.put(None)  # not made yet
        self.broken = 0  # how often a connection was found broken
        self.made_after: dict[int, int] = {}  # id(connection) -> `broken` when it was last known to work

    def take(self) -> BaseDatabaseWrapper:
        try:
            connection = self.free.get(timeout=self.wait_seconds)
        except queue.Empty:
            raise Unavailable from None
        if connection is None:
            connection = _make_connection(ALIAS)
            connection.inc_thread_sharing()
        elif self.made_after.get(id(connection)) != self.broken:
            connection.close()  # what broke another one (the server went away) broke this one too
        self.made_after[id(connection)] = self.broken
        return connection

    def put(self, connection: BaseDatabaseWrapper) -> None:
        if connection.in_atomic_block:  # a request was cut off inside of a transaction
            self.made_after.pop(id(connection), None)
            if connection.connection is not None:
                connection.connection.close()
            self.free.put(None)
            return
        connection.close_if_unusable_or_obsolete()  # at the end of a request Django has done so; of a job nobody has
        if connection.connection is None:
            self.broken += 1
            self.made_after[id(connection)] = self.broken
        self.free.put(connection)


_pool = Pool(settings.DATABASE_CONNECTIONS)


def share_connections() -> None:
    """From now on threads between `begin` and `end` check out their connections from the pool. For servers and workers."""
    connections.create_connection = _create_connection  # type: ignore[method-assign]


def _create_connection(alias: str) -> Any:
    return _pool.take() if alias == ALIAS and getattr(_thread, "uses_pool", False) else _make_connection(alias)


def begin() -> None:
    """A request or a job begins in this thread."""
    _thread.uses_pool = True


def end() -> None:
    """It ends: what it checked out is released."""
    release_connection()
    _thread.uses_pool = False


def release_connection() -> None:
    """Let others have this thread's connection; it gets one again when it needs it. Not inside of a transaction.

    In a thread that uses no pool the connection is closed.
    """
    connection = getattr(connections._connections, ALIAS, None)  # type: ignore[attr-defined]
    if connection is None:
        return
    if getattr(_thread, "uses_pool", False):
        del connections[ALIAS]
        _pool.put(connection)
    elif not connection.in_atomic_block:
        connection.close()
