"""Places where a test may let the process die, as by `kill -9`, or let something else happen in between."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator

from django.conf import settings

_actions: dict[str, Callable[[], object]] = {}


def failpoint(name: str) -> None:
    """Dies here if WAULE_TEST_FAIL_POINT names this place. Nothing but the crash tests sets it."""
    if settings.FAIL_POINT and name == settings.FAIL_POINT:
        os.kill(os.getpid(), signal.SIGKILL)
    if action := _actions.get(name):
        action()


@contextlib.contextmanager
def at(name: str, action: Callable[[], object]) -> Iterator[None]:
    """Does `action` whenever this process reaches the place meanwhile: what others might do at the worst moment."""
    _actions[name] = action
    try:
        yield
    finally:
        del _actions[name]
