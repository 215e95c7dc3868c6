"""The load: wrk where it is installed, else a process of Python, which takes more of the processors that it shares.

Both keep many connections on loopback alive and send the same bytes.
"""

import json
import multiprocessing
import os
import re
import selectors
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from benchmarks.servers import PROJECT

GENERATOR = "wrk" if shutil.which("wrk") else "Python"


@dataclass
class Load:
    """What came of one measurement. Times in seconds; `good` answers have a status below 300."""

    seconds: float
    good: int
    bad: int
    p50: float
    p99: float

    @property
    def per_second(self) -> float:
        return self.good / self.seconds if self.seconds else 0.0


def request(method: str, path: str, body: Any = None, **headers: str) -> bytes:
    """Return one HTTP/1.1 request as bytes."""
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(content)}"]
    lines += ["Content-Type: application/json"] if content else []
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + content


class FollowUp(NamedTuple):
    """What a connection sends after a good answer: `template` with what `pattern` finds there in place of `{}`.

    The pattern is one that Python and Lua read alike, and that is not found in the follow-up's own answer.
    """

    pattern: str
    template: bytes


def run(port: int, connections: int, seconds: float, requests: list[bytes], follow_up: FollowUp | None = None) -> Load:
    """Send `requests` round and round over that many connections for that long; with 0 seconds, one over each."""
    if seconds and GENERATOR == "wrk":
        return _replay(port, connections, seconds, requests, follow_up)
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


def _replay(port: int, connections: int, seconds: float, requests: list[bytes], follow_up: FollowUp | None) -> Load:
    with tempfile.NamedTemporaryFile() as file:
        for each in requests:
            file.write(b"%d\n%s" % (len(each), each))
        file.flush()
        given = {"REQUESTS": file.name}
        if follow_up:
            given |= {"FOLLOW_PATTERN": follow_up.pattern, "FOLLOW_TEMPLATE": follow_up.template.decode()}
        return wrk("replay.lua", port, connections, seconds, given)


def wrk(script: str, port: int, connections: int, seconds: float, environ: Mapping[str, str]) -> Load:
    """Run wrk with one of the scripts beside this file, which ends with `figures.lua`."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "30s", "-s", f"benchmarks/{script}"]
    ran = subprocess.run(
        [*command, f"http://127.0.0.1:{port}"], cwd=PROJECT, env=os.environ | environ, capture_output=True, text=True
    )
    figures = [line for line in ran.stdout.splitlines() if line.startswith("FIGURES")]
    if not figures:
        raise RuntimeError(f"wrk gave nothing: {ran.stdout[-500:]}{ran.stderr[-500:]}")
    answers, microseconds, p50, p99, bad = map(int, figures[0].split()[1:])
    return Load(microseconds / 1e6, max(0, answers - bad), bad, p50 / 1e6, p99 / 1e6)


class _Connection:
    __slots__ = ("answer", "sent_at", "socket")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.answer = b""
        self.sent_at = 0.0

    def send(self, content: bytes) -> None:
        self.answer = b""
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
    good, bad, latencies, number = 0, 0, [], 0
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
            good, bad = (good + 1, bad) if status < 300 else (good, bad + 1)
            latencies.append(now - connection.sent_at)
            found = re.search(follow_up.pattern, body.decode()) if follow_up is not None else None
            if follow_up is not None and found:
                connection.send(follow_up.template.replace(b"{}", found[1].encode()))
            elif now - started < seconds:
                connection.send(requests[number % len(requests)])
                number += 1
            else:
                under_way -= 1
                selector.unregister(connection.socket)
                connection.socket.close()
    latencies.sort()
    p50, p99 = (latencies[int(share * (len(latencies) - 1))] for share in (0.5, 0.99))
    answer.send(Load(time.perf_counter() - started, good, bad, p50, p99))
