"""Limits per client address, counted in each process: they bound what orphans can make a server do, and need no database."""

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

MAX_ADDRESSES = 10_000


@dataclass(slots=True)
class _Count:
    since: float
    hits: int


class AddressLimit:
    """At most `limit` hits of one address in `seconds`."""

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit, self.seconds = limit, seconds
        self._counts: OrderedDict[str, _Count] = OrderedDict()
        self._lock = threading.Lock()

    def hit(self, address: str) -> int:
        """Count a hit. Returns 0 while the address is within its limit, else the seconds until it may come again."""
        now = time.monotonic()
        with self._lock:
            count = self._counts.get(address)
            if count is None or now - count.since >= self.seconds:
                count = self._counts[address] = _Count(now, 0)
                self._counts.move_to_end(address)
                if len(self._counts) > MAX_ADDRESSES:
                    self._counts.popitem(last=False)
            count.hits += 1
            return 0 if count.hits <= self.limit else max(1, round(self.seconds - (now - count.since)))

    def clear(self) -> None:
        with self._lock:
            self._counts.clear()
