"""What this process knows of the broker, and calls of it that end in time, whatever the broker does.

A client library may wait for a broker that accepts a connection and then says nothing for minutes. So each call is made by
a thread of its own, which is left alone when it takes too long; until it returns no other call is made.
"""

import queue
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from waule.core.errors import Unavailable

CALL_SECONDS = 4.0
REST_SECONDS = 10.0  # after a failure nobody is sent to the broker for so long
MAX_WAITING = 1000  # ids to send; more are left to the rows

R = TypeVar("R")


class BrokerAway(Unavailable):
    """The broker refused, or did not answer in time."""


class Broker:
    """Calls of the broker by one process, one at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # held by the call under way, also when nobody waits for it any more
        self._failed_at: float | None = None

    @property
    def is_away(self) -> bool:
        """Whether the last call failed, and lately."""
        return self._failed_at is not None and time.monotonic() - self._failed_at < REST_SECONDS

    def call(self, what: Callable[[], R], *, seconds: float = CALL_SECONDS) -> R:
        """Return what `what` returns.

        Raises:
            BrokerAway: it raised, took longer than `seconds`, or an earlier call has still not come back.
        """
        if not self._lock.acquire(timeout=seconds):
            self._failed_at = time.monotonic()
            raise BrokerAway
        done = threading.Event()
        result: list[Any] = []

        def run() -> None:
            try:
                result.append(what())
            except Exception as error:
                result.append(BrokerAway(type(error).__name__))
            finally:
                self._lock.release()
                done.set()

        threading.Thread(target=run, name="broker-call", daemon=True).start()
        if not done.wait(seconds) or isinstance(result[0], BrokerAway):
            self._failed_at = time.monotonic()
            raise BrokerAway(str(result[0]) if done.is_set() else "timeout")
        self._failed_at = None
        return result[0]


class Sender:
    """Sends ids to the workers behind the back of whoever made them: an order never waits for the broker."""

    def __init__(self, send: Callable[[str], None], broker: Broker) -> None:
        self._send, self._broker = send, broker
        self._ids: queue.Queue[str] = queue.Queue(MAX_WAITING)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def post(self, job_id: str) -> None:
        """Send the id soon, or not at all: the rows tell of it too."""
        if self._broker.is_away:
            return
        try:
            self._ids.put_nowait(job_id)
        except queue.Full:
            return
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="broker-sender", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            job_id = self._ids.get()
            if not self._broker.is_away:
                self._send(job_id)
