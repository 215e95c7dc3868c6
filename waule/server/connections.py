"""Looks after the connections of a server process: granian bounds how many there are, not whose.

Once a second each connection is asked of the kernel (TCP_INFO, so on Linux alone). Two kinds are closed:
* readers that take less than MIN_BYTES of an answer in STALL_SECONDS;
* of the connections of one address that wait without a request, those over MAX_WAITING that have waited longest.
"""

import contextlib
import fcntl
import logging
import os
import socket
import stat
import struct
import sys
import termios
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from waule.core.auth.client_address import address_group

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
STALL_SECONDS = 30.0
MIN_BYTES = 32 << 10
MAX_WAITING = 64  # connections of one address in one process that have no request; behind proxies of ours no address counts
QUIET_SECONDS = 5.0  # a request that has arrived begins within this time, on a busy machine too
TCP_INFO_BYTES = 144
TCP_ESTABLISHED = 1
BYTES_ACKED_AT = 120  # in Linux's struct tcp_info

Peer = tuple[str, int]
_under_way: dict[Peer, int] = {}


def request_began(peer: Peer) -> None:
    _under_way[peer] = _under_way.get(peer, 0) + 1


def request_ended(peer: Peer) -> None:
    left = _under_way.get(peer, 1) - 1
    if left > 0:
        _under_way[peer] = left
    else:
        _under_way.pop(peer, None)


@dataclass(slots=True)
class Seen:
    """What was known of a connection when it was looked at."""

    used_at: float  # when it was last seen with a request under way or more of an answer than before, or first seen at all
    progress_at: float
    progress_acked: int


class Watch:
    """The connections of this process, from look to look."""

    def __init__(self) -> None:
        self.seen: dict[Peer, Seen] = {}

    def look(self) -> None:
        now = time.monotonic()
        seen: dict[Peer, Seen] = {}
        waiting: dict[str, list[tuple[float, Peer]]] = defaultdict(list)
        for number in _descriptors():
            with contextlib.suppress(OSError), _connection(number) as connection:
                if connection is None:
                    continue
                peer = _peer(connection)
                acked, unsent = _acked_and_unsent(connection)
                known = seen[peer] = self.seen.get(peer) or Seen(now, now, acked)
                if not unsent:
                    # (The answer of a request that has just ended may not be on its way yet.)
                    if acked != known.progress_acked or peer in _under_way:
                        known.used_at = now
                    known.progress_at, known.progress_acked = now, acked
                    if now - known.used_at > QUIET_SECONDS:
                        waiting[address_group(peer[0])].append((known.used_at, peer))
                elif now - known.progress_at > STALL_SECONDS:
                    if acked - known.progress_acked < MIN_BYTES:
                        connection.shutdown(socket.SHUT_RDWR)
                    known.progress_at, known.progress_acked = now, acked
        self.seen = seen
        if not settings.TRUST_PROXY_HEADERS:
            self.close_surplus(waiting)

    def close_surplus(self, waiting: dict[str, list[tuple[float, Peer]]]) -> None:
        surplus = {peer for peers in waiting.values() for _since, peer in sorted(peers)[: max(0, len(peers) - MAX_WAITING)]}
        if not surplus:
            return
        for number in _descriptors():
            with contextlib.suppress(OSError), _connection(number) as connection:
                if connection is not None and (peer := _peer(connection)) in surplus and peer not in _under_way:
                    connection.shutdown(socket.SHUT_RDWR)
        logger.warning("closed %s connections without a request", len(surplus))


def is_open(peer: Peer) -> bool:
    """Return whether the connection of that peer is established still: who has gone will not read the answer."""
    if sys.platform != "linux":
        return True
    for number in _descriptors():
        with contextlib.suppress(OSError), _connection(number) as connection:
            if connection is not None and _peer(connection) == peer:
                return bool(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_ESTABLISHED)
    return False


def watch_connections() -> None:
    """Start the thread that looks after this process's connections."""
    if sys.platform == "linux":
        threading.Thread(target=_watch, name="connections", daemon=True).start()


def _watch() -> None:
    watch = Watch()
    while True:
        time.sleep(LOOK_SECONDS)
        try:
            watch.look()
        except Exception:
            logger.exception("connections could not be looked after")


def _descriptors() -> list[int]:
    return [int(entry.name) for entry in os.scandir("/proc/self/fd")]


@contextlib.contextmanager
def _connection(number: int) -> Any:
    """The accepted connection behind a descriptor, None for anything else. A duplicate: the number may be another's soon."""
    if not stat.S_ISSOCK(os.fstat(number).st_mode):
        yield None
        return
    with socket.socket(fileno=os.dup(number)) as connection:
        is_ours = connection.family in (socket.AF_INET, socket.AF_INET6) and connection.type == socket.SOCK_STREAM
        yield connection if is_ours and connection.getsockname()[1] == settings.PORT else None


def _peer(connection: socket.socket) -> Peer:
    address = connection.getpeername()
    return str(address[0]), int(address[1])


def _acked_and_unsent(connection: socket.socket) -> tuple[int, int]:
    """Return how many bytes the peer has acknowledged, and how many wait to be sent or acknowledged."""
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
    acked = int(struct.unpack_from("<Q", info, BYTES_ACKED_AT)[0])
    return acked, int(struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0])
