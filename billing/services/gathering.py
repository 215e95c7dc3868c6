"""Charges that come while others are being written are written together, by one statement.

Two kinds of queues, of which each has one round at a time. The first thread of a queue writes its own charge; of those that
come meanwhile the first leads the next round, and writes all that have queued, up to MOST_TOGETHER. Nobody waits on purpose,
there is no thread and no state that outlives the calls, so nothing is left to stop.

* Everybody's: charges of all accounts. Its rounds wait for nobody: an account that somebody else has locked is left out.
* One account's, for charges that were left out: its rounds wait for its row, which would let one of them pass at a time
  anyway. An account delays no other so, and while its queue lasts, its further charges join it.

A charge that was not made (a rejection, a replay) is looked at alone, the long way.
"""

import threading
from collections import deque

from django.db import DataError, IntegrityError, InternalError

from billing.ledger import fast_path
from billing.ledger.fast_path import Order, Posted, Undecided
from waule.core.db.connection_pool import release_connection

MOST_TOGETHER = 64
FAULTS = (IntegrityError, DataError, InternalError)  # of one of the charges; the database has written none of them
EVERYBODY = ""


class _Call:
    """A charge that a thread waits for. `turn` is locked until its round is over, or until it is to lead one."""

    __slots__ = ("error", "is_leader", "made", "order", "turn")

    def __init__(self, order: Order) -> None:
        self.order = order
        self.is_leader = False
        self.made: Posted | Undecided | None = Undecided()
        self.error: BaseException | None = None
        self.turn = threading.Lock()
        self.turn.acquire()


class Gathering:
    """Rounds of charges: one at a time for everybody, and one for each account that somebody else had locked."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: dict[str, deque[_Call]] = {}  # by owner; a queue is there while somebody leads a round for it

    def charge(self, order: Order) -> Posted | None:
        """As `fast_path.charge`, perhaps together with others.

        Raises:
            IntegrityError: as there. Any other failure is raised for each charge that was to be written with it: nothing
            was, or (a connection lost while committing) only an idempotency key can tell what became of it.
        """
        call = _Call(order)
        if order.owner_id not in self._waiting:
            self._take_part(EVERYBODY, call)
        if isinstance(call.made, Undecided):
            call = _Call(order)
            self._take_part(order.owner_id, call)
        made = fast_path.charge(order) if isinstance(call.made, Undecided) else call.made
        assert not isinstance(made, Undecided), "it was waited for"
        return made

    def _take_part(self, queue: str, call: _Call) -> None:
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

    def _lead(self, queue: str, first: _Call) -> None:
        with self._guard:
            waiting = self._waiting[queue]
            taken = [first, *(waiting.popleft() for _ in range(min(MOST_TOGETHER - 1, len(waiting))))]
        try:
            _write(taken, wait=queue != EVERYBODY)
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


def _write(calls: list[_Call], *, wait: bool) -> None:
    """Of several with a fault among them none is decided: which one has it shows when they are asked for again."""
    orders = [call.order for call in calls]
    try:
        if len(orders) == 1:
            written = [fast_path.charge(orders[0], wait=wait)]
        else:
            written = fast_path.charge_many(orders, wait=wait)
    except FAULTS:
        if len(orders) == 1:
            raise
        return
    for call, made in zip(calls, written, strict=True):
        call.made = made


gathering = Gathering()
