"""Processes that belong together: one that ends takes its children along, whatever ended it."""

import logging
import os
import signal
import sys
import threading
import time

PARENT_VARIABLE = "WAULE_PARENT_PID"
LOOK_SECONDS = 0.2
GRACE_SECONDS = 1
DRAIN_SECONDS = 60  # a server or worker that is asked to stop waits so long for what nobody else can finish


def end_with_parent(parent: int | None = None) -> None:
    """End this process when `parent` is gone, even by `kill -9`. Without one: the process named by WAULE_PARENT_PID, if any."""
    parent = parent or int(os.environ.get(PARENT_VARIABLE) or 0)
    if parent:
        threading.Thread(target=_watch, args=(parent,), name="end-with-parent", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


def leave() -> None:
    """End this process with status 0, however many of its threads still wait for somebody.

    Python's own way out would wait for some of them, and trip over others that speak while it clears up.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
