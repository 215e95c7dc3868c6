"""Charges that come while others are being written are written together, by one statement; so are holds, and captures.

Two kinds of queues, of which each has one round at a time. The first thread of a queue writes its own; of those that
come meanwhile the first leads the next round, and writes all that have queued, up to MOST_TOGETHER. Nobody waits on purpose,
there is no thread and no state that outlives the calls, so nothing is left to stop.

* Everybody's: of all accounts. Its rounds wait for nobody: an account that somebody else has locked is left out.
* One account's, for those that were left out: its rounds wait for its row, which would let one of them pass at a time
  anyway. An account delays no other so, and while its queue lasts, its further charges and holds join it.

What was not made (a rejection, a replay) is looked at alone, the long way.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from django.db import DataError, IntegrityError, InternalError, connection

from billing.ledger import fast_path
from billing.ledger.fast_path import Capture, Order, Posted, Undecided
from waule.core.db.connection_pool import release_connection

MOST_TOGETHER = 64
FAULTS = (IntegrityError, DataError, InternalError)  # of one in a round; the database has written nothing of it
EVERYBODY = ""


class _Asked(Protocol):
    @property
    def queue(self) -> str: ...


Asked = TypeVar("Asked", bound=_Asked)
Answer = Posted | Undecided | None


class _Call(Generic[Asked]):
    """What a thread waits for. `turn` is locked until its round is over, or until it is to lead one."""

    __slots__ = ("asked", "error", "is_leader", "made", "turn")

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.is_leader = False
        self.made: Answer = Undecided()
        self.error: BaseException | None = None
        self.turn = threading.Lock()
        self.turn.acquire()


class Gathering(Generic[Asked]):
    """Rounds of one verb: one at a time for everybody, and one for each account that somebody else had locked.

    `one` and `many` write it, and leave it undecided where they are not to wait for an account.
    """

    def __init__(self, one: Callable[..., Answer], many: Callable[..., list[Answer]]) -> None:
        self._one, self._many = one, many
        self._guard = threading.Lock()
        self._waiting: dict[str, deque[_Call[Asked]]] = {}  # by `queue`; it is there while somebody leads a round for it

    def write(self, asked: Asked) -> Posted | None:
        """Return what `one` returns, perhaps written together with others: not inside of a transaction, which may be taken back.

        Raises:
            IntegrityError: as there. Any other failure is raised for each that was to be written with it: nothing
            was, or (a connection lost while committing) only an idempotency key can tell what became of it.
        """
        if connection.in_atomic_block:
            return self._one_that_waits(asked)
        call = _Call(asked)
        if asked.queue not in self._waiting:
            self._take_part(EVERYBODY, call)
        if isinstance(call.made, Undecided):
            call = _Call(asked)
            self._take_part(asked.queue, call)
        return self._one_that_waits(asked) if isinstance(call.made, Undecided) else call.made

    def _one_that_waits(self, asked: Asked) -> Posted | None:
        made = self._one(asked)
        assert not isinstance(made, Undecided), "it was waited for"
        return made

    def _take_part(self, queue: str, call: _Call[Asked]) -> None:
        with self._guard:
            waiting = self._waiting.get(queue)
            if waiting is None:
                self._waiting[queue] = deque()
                call.is_leader = True
            else:
                waiting.append(call)
        if not call.is_leader:
            release_connection()  # a retry may hold one of the few connections, which whoever leads needs
            call.turn.acquire()
        if call.is_leader:
            self._lead(queue, call)
        if call.error is not None:
            raise call.error

    def _lead(self, queue: str, first: _Call[Asked]) -> None:
        with self._guard:
            waiting = self._waiting[queue]
            taken = [first, *(waiting.popleft() for _ in range(min(MOST_TOGETHER - 1, len(waiting))))]
        try:
            self._write(taken, wait=queue != EVERYBODY)
        except BaseException as error:
            for call in taken:
                if isinstance(call.made, Undecided):
                    call.error = error
        finally:
            self._end_round(queue)
            for call in taken[1:]:
                call.turn.release()

    def _end_round(self, queue: str) -> None:
        """Let the next one lead, where somebody waits."""
        with self._guard:
            waiting = self._waiting[queue]
            if not waiting:
                del self._waiting[queue]
                return
            heir = waiting.popleft()
        heir.is_leader = True
        heir.turn.release()

    def _write(self, calls: list[_Call[Asked]], *, wait: bool) -> None:
        """Of several with a fault among them none is decided: which one has it shows when they are asked for again."""
        asked = [call.asked for call in calls]
        try:
            written = [self._one(asked[0], wait=wait)] if len(asked) == 1 else self._many(asked, wait=wait)
        except FAULTS:
            if len(asked) == 1:
                raise
            return
        for call, made in zip(calls, written, strict=True):
            call.made = made


charges: Gathering[Order] = Gathering(fast_path.charge, fast_path.charge_many)
holds: Gathering[Order] = Gathering(fast_path.hold, fast_path.hold_many)
captures: Gathering[Capture] = Gathering(fast_path.capture, fast_path.capture_many)
