"""Waiting for what other processes and threads do in their own time."""

import time
from collections.abc import Callable
from typing import TypeVar

WAIT_SECONDS = 60.0  # more than anything takes on a busy machine: it is a failure that waits so long
PAUSE_SECONDS = 0.02  # at first; each look may be a request, and they would keep the processors from what is waited for
MAX_PAUSE_SECONDS = 0.2
PAUSE_SHARE = 0.1  # of the time waited so far

Seen = TypeVar("Seen")


def eventually(look: Callable[[], Seen], *, seconds: float = WAIT_SECONDS, about: Callable[[], object] | None = None) -> Seen:
    """Ask `look` until its answer is true, and return that answer.

    Fail after `seconds`, with what was seen last, and with what `about` tells of it (a log).
    """
    began_at = time.monotonic()
    while not (seen := look()):
        waited = time.monotonic() - began_at
        if waited > seconds:
            told = "" if about is None else f"\n{about()}"
            raise AssertionError(f"after {seconds:g} seconds it is still {seen!r}{told}")
        time.sleep(min(max(PAUSE_SECONDS, waited * PAUSE_SHARE), MAX_PAUSE_SECONDS))
    return seen
