"""What the answers so far promise: of each caller's own account, and of what all callers share."""

import threading
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

GRANTED = 1_000_000  # to each caller's tenant
SHARED_GRANTED = 5_000  # to the tenant that all callers charge until nothing is left
PRICE = 7  # of one image
VIDEO_SECONDS, VIDEO_PRICE = 4, 40
CODE_CREDITS, CODE_USES = 50, 2
LEASES_AT_ONCE = 2  # of one key


class Disagreement(AssertionError):
    """Something that no order of events explains."""


def expect(found: Any, wanted: Any, what: str) -> None:
    if found != wanted:
        raise Disagreement(f"{what}: found {found!r}, expected {wanted!r}")


@dataclass
class Account:
    """One caller, one tenant, one account: its balance is known exactly."""

    balance: int = GRANTED
    charges: dict[str, int] = field(default_factory=dict)  # id -> credits that are not refunded yet
    holds: dict[str, int] = field(default_factory=dict)  # id -> credits held
    forgotten: dict[str, int] = field(default_factory=dict)  # holds that nobody ends
    videos: set[str] = field(default_factory=set)  # ids that an order was answered with
    reordered: list[tuple[str, str]] = field(default_factory=list)  # two ids that one key was answered with: the first failed
    unanswered_orders: int = 0  # orders that may have been taken, and whose id nobody was told
    refused_codes: list[int] = field(default_factory=list)
    leases: list["Lease"] = field(default_factory=list)


@dataclass
class Lease:
    """A credential in our hands from `since` to `until` (wall clock), reported as `outcome` ("" where it never was)."""

    id: str
    credential_id: str
    since: float
    until: float
    outcome: str = ""


class Shared:
    """What several callers want at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.charged = 0  # from the shared account
        self.redeemed: dict[int, set[int]] = defaultdict(set)  # a code's number -> the callers who got it
        self.counts: dict[str, int] = defaultdict(int)

    def charge(self, credits: int) -> None:
        with self._lock:
            self.charged += credits

    def redeem(self, code: int, caller: int) -> None:
        with self._lock:
            self.redeemed[code].add(caller)

    def count(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1


def most_at_once(leases: list[Lease]) -> int:
    """How many of these leases of one credential were in somebody's hands at the same moment."""
    timestamps = sorted([(lease.since, 1) for lease in leases] + [(lease.until, -1) for lease in leases])
    most = now = 0
    for _at, change in timestamps:
        now += change
        most = max(most, now)
    return most
