"""Charges of one account that come while another of its charges is being written are written together.

An account's row lets one statement pass at a time, so charges of a busy account would queue for it in the database, each
with a connection. Here they queue before it: the first thread writes its own charge; of those that come meanwhile the
first leads the next round, and writes all that have queued, up to MOST_TOGETHER, by one statement (a FEW: by one for
each). Nobody waits on purpose, and no account waits for another. Where the statement does not make a charge (a rejection,
a replay) its thread asks again for itself alone. There is no thread and no state that outlives the calls, so nothing is
left to stop.
"""

import threading
from collections import deque

from django.db import IntegrityError

from billing.ledger import fast_path
from billing.ledger.fast_path import Order, Posted
from waule.core.db.connection_pool import release_connection

MOST_TOGETHER = 64
FEW = 3  # so many are written one by one: the statement over many rows takes longer before its first row


class _Call:
    """A charge that a thread waits for. `turn` is locked until its round is over, or until it is to lead one."""

    __slots__ = ("error", "is_alone", "is_leader", "made", "order", "turn")

    def __init__(self, order: Order) -> None:
        self.order = order
        self.is_leader = self.is_alone = False
        self.made: Posted | None = None
        self.error: BaseException | None = None
        self.turn = threading.Lock()
        self.turn.acquire()


class Gathering:
    """Rounds of charges: one at a time for each account, any number of accounts at the same time."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: dict[str, deque[_Call]] = {}  # by owner; an owner is in it while somebody leads a round for it

    def charge(self, order: Order) -> Posted | None:
        """As `fast_path.charge`, perhaps together with others of the account.

        Raises:
            IntegrityError: as there. Any other failure is raised for each charge that was to be written with it: nothing
            was, or (a connection lost while committing) only an idempotency key can tell what became of it.
        """
        with self._guard:
            waiting = self._waiting.get(order.owner_id)
            if waiting is None:
                self._waiting[order.owner_id] = deque()
            else:
                call = _Call(order)
                waiting.append(call)
        if waiting is None:
            try:
                return fast_path.charge(order)
            finally:
                self._end_round(order.owner_id)
        release_connection()  # a retry may hold one of the few connections, which whoever leads needs
        call.turn.acquire()
        if call.is_leader:
            self._lead(call)
        if call.error is not None:
            raise call.error
        return fast_path.charge(order) if call.is_alone else call.made

    def _lead(self, first: _Call) -> None:
        with self._guard:
            waiting = self._waiting[first.order.owner_id]
            taken = [first, *(waiting.popleft() for _ in range(min(MOST_TOGETHER - 1, len(waiting))))]
        try:
            if len(taken) > FEW:
                _write(taken)
            else:
                for call in taken:
                    _write([call])
        except BaseException as error:
            for call in taken:
                if call.made is None and not call.is_alone:
                    call.error = error
        finally:
            self._end_round(first.order.owner_id)
            for call in taken[1:]:
                call.turn.release()

    def _end_round(self, owner_id: str) -> None:
        """Let the next one lead, where somebody waits."""
        with self._guard:
            waiting = self._waiting[owner_id]
            if not waiting:
                del self._waiting[owner_id]
                return
            heir = waiting.popleft()
        heir.is_leader = True
        heir.turn.release()


def _write(calls: list[_Call]) -> None:
    orders = [call.order for call in calls]
    try:
        written = fast_path.charge_many(orders) if len(orders) > 1 else [fast_path.charge(orders[0])]
    except IntegrityError:  # somebody's key is taken: nothing was written
        written = [None for _order in orders]
    for call, posted in zip(calls, written, strict=True):
        call.made = posted
        call.is_alone = posted is None


gathering = Gathering()
