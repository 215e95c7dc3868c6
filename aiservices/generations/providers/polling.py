"""Waiting for a job upstream: asked often at first, less often the longer it takes, until it is over or time is up."""

import time
from collections.abc import Callable
from typing import TypeVar

from aiservices.generations.providers.base import Progress
from gateway_client.errors import OutcomeTimedOut
from gateway_client.transport import Deadline

POLL_SECONDS = (2.0, 15.0)  # between two questions: at first, and when it has taken minutes
POLL_SHARE = 0.2  # of the time that it has taken so far
USUAL_SECONDS = 150.0  # of a video; what progress is guessed from where the upstream tells none

T = TypeVar("T")


def wait_until_over(
    ask: Callable[[], T | None], *, deadline: Deadline, progress: Progress, poll_seconds: tuple[float, float] = POLL_SECONDS
) -> T:
    """Return what `ask` says when it says something: it answers None while the job is under way, or where nobody could say.

    `progress` is called after every question, with a guess: it is also how the caller stops the wait.

    Raises:
        OutcomeTimedOut: the deadline has passed; the job may still be finished. What `ask` and `progress` raise.
    """
    started_at = time.monotonic()
    while (said := ask()) is None:
        elapsed_seconds = time.monotonic() - started_at
        progress(min(95, int(100 * elapsed_seconds / USUAL_SECONDS)))
        least, most = poll_seconds
        left_seconds = deadline.left_seconds() - least
        if left_seconds <= 0:
            raise OutcomeTimedOut(reason="timeout")
        time.sleep(min(left_seconds, most, max(least, POLL_SHARE * elapsed_seconds)))
    return said
