"""Waiting for what other processes and threads do in their own time."""

import time
from collections.abc import Callable
from typing import TypeVar

WAIT_SECONDS = 60.0  # more than anything takes on a busy machine: it is a failure that waits so long
PAUSE_SECONDS = 0.02

Seen = TypeVar("Seen")


def eventually(look: Callable[[], Seen], *, seconds: float = WAIT_SECONDS, about: Callable[[], object] | None = None) -> Seen:
    """Ask `look` until its answer is true, and return that answer.

    Fail after `seconds`, with what was seen last, and with what `about` tells of it (a log).
    """
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        if time.monotonic() > deadline:
            told = "" if about is None else f"\n{about()}"
            raise AssertionError(f"after {seconds:g} seconds it is still {seen!r}{told}")
        time.sleep(PAUSE_SECONDS)
    return seen
