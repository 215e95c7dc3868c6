"""A load generator: one process, many kept-alive connections on loopback, as little work per request as Python allows."""

import json
import multiprocessing
import selectors
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Load:
    """What came of one measurement."""

    seconds: float = 0.0
    statuses: dict[int, int] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)  # seconds, sorted

    @property
    def per_second(self) -> float:
        good = sum(count for status, count in self.statuses.items() if status < 300)
        return good / self.seconds if self.seconds else 0.0

    def percentile(self, share: float) -> float:
        """In milliseconds."""
        return 1000 * self.latencies[min(len(self.latencies) - 1, int(share * len(self.latencies)))] if self.latencies else 0.0


def request(method: str, path: str, body: Any = None, **headers: str) -> bytes:
    """Return one HTTP/1.1 request as bytes."""
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(content)}"]
    lines += ["Content-Type: application/json"] if content else []
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + content


FollowUp = Callable[[bytes], bytes]


def run(port: int, connections: int, seconds: float, requests: list[bytes], follow_up: FollowUp | None = None) -> Load:
    """Send `requests` round and round over that many connections for that long, from a process of its own.

    `follow_up`, a function of a module, makes of each good answer's body what its connection sends next.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(False)
    process = context.Process(target=_generate, args=(theirs, port, connections, seconds, requests, follow_up), daemon=True)
    process.start()
    if not ours.poll(seconds + 60):
        process.kill()
        raise RuntimeError("the load generator did not come back")
    load: Load = ours.recv()
    process.join()
    return load


class _Connection:
    __slots__ = ("answer", "follows", "sent_at", "socket")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.answer = b""
        self.follows = False  # what was sent last is a follow-up
        self.sent_at = 0.0

    def send(self, content: bytes, *, follows: bool = False) -> None:
        self.answer = b""
        self.follows = follows
        self.sent_at = time.perf_counter()
        self.socket.sendall(content)

    def receive(self) -> tuple[int, bytes] | None:
        """Return the status and the body, once the whole answer is there."""
        chunk = self.socket.recv(1 << 18)
        if not chunk:
            raise ConnectionError("the server closed a connection")
        self.answer += chunk
        head, found, body = self.answer.partition(b"\r\n\r\n")
        if not found:
            return None
        lower = head.lower()
        start = lower.index(b"content-length:") + 15
        length = int(lower[start:].split(b"\r\n", 1)[0])
        return (int(head[9:12]), body) if len(body) >= length else None


def _generate(
    answer: Any, port: int, connections: int, seconds: float, requests: list[bytes], follow_up: FollowUp | None
) -> None:
    load = Load()
    number = 0
    selector = selectors.DefaultSelector()
    started = time.perf_counter()
    for _connection in range(connections):
        connection = _Connection(port)
        selector.register(connection.socket, selectors.EVENT_READ, connection)
        connection.send(requests[number % len(requests)])
        number += 1
    under_way = connections
    while under_way:
        for key, _events in selector.select(30):
            connection = key.data
            if (received := connection.receive()) is None:
                continue
            status, body = received
            now = time.perf_counter()
            load.statuses[status] = load.statuses.get(status, 0) + 1
            load.latencies.append(now - connection.sent_at)
            if follow_up is not None and status < 300 and not connection.follows:
                connection.send(follow_up(body), follows=True)
            elif now - started < seconds:
                connection.send(requests[number % len(requests)])
                number += 1
            else:
                under_way -= 1
                selector.unregister(connection.socket)
                connection.socket.close()
    load.seconds = time.perf_counter() - started
    load.latencies.sort()
    answer.send(load)
