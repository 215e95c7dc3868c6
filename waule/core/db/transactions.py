"""A verb is one transaction: durable, and tried again where the database says that two of them met.

Retried are serialization failures, deadlocks, lock timeouts and SQLite's "database is locked": at most 5 tries within
2 seconds, with jitter; then `Unavailable` (503). A connection lost while committing is not retried: only an idempotency
key can tell what became of that.
"""

import functools
import inspect
import random
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from django.db import InterfaceError, OperationalError, connection, transaction

from waule.core.db.connection_pool import release_connection
from waule.core.errors import Unavailable

MAX_TRIES = 5
MAX_SECONDS = 2.0
RETRY_SECONDS = 30.0
PATIENCE_PAUSE_SECONDS = 0.5
_LOCK_FAILURES = {"40001", "40P01", "55P03"}  # serialization_failure, deadlock_detected, lock_not_available

P = ParamSpec("P")
R = TypeVar("R")


def is_lock_failure(error: BaseException) -> bool:
    """Return whether the database rolled back because of others, so that trying again can succeed."""
    code = getattr(error.__cause__, "pgcode", None)
    return code in _LOCK_FAILURES or "locked" in str(error)


def retried(verb: Callable[P, R]) -> Callable[P, R]:
    """Call `verb`, a whole transaction, again after a lock failure.

    Raises:
        Unavailable: still failing after 5 tries or 2 seconds; nothing was changed.
    """

    @functools.wraps(verb)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        started = time.monotonic()
        for attempt in range(1, MAX_TRIES + 1):
            try:
                return verb(*args, **kwargs)
            except OperationalError as error:
                # Inside a caller's transaction there is nothing left to retry: it is broken already.
                if connection.in_atomic_block or not is_lock_failure(error):
                    raise
                if attempt == MAX_TRIES or time.monotonic() - started > MAX_SECONDS:
                    raise Unavailable from error
            time.sleep(random.uniform(0.005, 0.02) * 2**attempt)  # noqa: S311  (jitter, not a secret)
        raise AssertionError("unreachable")

    return call


def durable(verb: Callable[P, R]) -> Callable[P, R]:
    """Make `verb` one durable transaction of its own, retried after lock failures."""

    @functools.wraps(verb)
    def in_transaction(*args: P.args, **kwargs: P.kwargs) -> R:
        with transaction.atomic(durable=True):
            return verb(*args, **kwargs)

    return retried(in_transaction)


def in_current_transaction(verb: Callable[P, R]) -> Callable[P, R]:
    """Return the body of a durable `verb`, for a caller whose own transaction it joins: the change forms of the admin."""
    return inspect.unwrap(verb)


def retry_transient(verb: Callable[[], R], *, seconds: float = RETRY_SECONDS) -> R:
    """Return what `verb` gives, called again while the database cannot be reached, for up to `seconds`.

    For verbs that can be repeated, where giving up would lose what cannot be had again.

    Raises:
        OperationalError, InterfaceError, Unavailable: it is still away; or the caller is inside of a transaction.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return verb()
        except (OperationalError, InterfaceError, Unavailable):
            if connection.in_atomic_block or time.monotonic() > deadline:
                raise
            connection.close_if_unusable_or_obsolete()
            release_connection()
        time.sleep(PATIENCE_PAUSE_SECONDS)
