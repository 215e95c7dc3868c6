"""Places where a test may let the process die, as by `kill -9`, to see what the next one finds."""

import os
import signal

from django.conf import settings


def reach(name: str) -> None:
    """Dies here if WAULE_TEST_FAIL_POINT names this place. Nothing but the crash tests sets it."""
    if settings.FAIL_POINT and name == settings.FAIL_POINT:
        os.kill(os.getpid(), signal.SIGKILL)
