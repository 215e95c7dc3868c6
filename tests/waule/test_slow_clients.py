"""Hundreds of slow sockets of every kind, and the calls of everybody else meanwhile."""

import contextlib
import resource
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live import LiveWaule
from tests.settings import INTERNAL_SECRET
from tests.waiting import eventually
from waule.server import connections

pytestmark = pytest.mark.once  # the database makes no difference

SOCKETS = 300
SECONDS = 15.0  # within which everybody else is answered, on a slow machine too: who had to wait for them would wait for 30
UNKNOWN = str(uuid.UUID(int=7 << 76 | 2 << 62))
CHARGE = {"targetType": "tenant", "targetId": UNKNOWN, "modelId": "m", "operation": "o"}


@pytest.fixture(autouse=True)
def many_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(4096, hard)), hard))


@contextlib.contextmanager
def sockets(
    waule: LiveWaule, first_bytes: bytes, count: int = SOCKETS, *, receive_buffer: int = 0
) -> Iterator[list[socket.socket]]:
    """Connections that have sent `first_bytes` and then go slow."""
    port = int(waule.url.rpartition(":")[2])
    opened: list[socket.socket] = []
    try:
        for _number in range(count):
            connection = socket.socket()
            if receive_buffer:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            connection.settimeout(60)
            connection.connect(("127.0.0.1", port))
            connection.sendall(first_bytes)
            opened.append(connection)
        yield opened
    finally:
        for connection in opened:
            connection.close()


def head(path: str, *lines: str, method: str = "POST") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *lines, "", ""]).encode()


def everybody_else_is_answered(waule: LiveWaule, times: int = 5) -> None:
    for _time in range(times):
        began_at = time.monotonic()
        status, told = waule.internal("POST", "/internal/billing/charge", CHARGE)
        assert (status, told["code"]) == (404, "target_not_found")
        assert waule.get("/readyz").status_code == 200
        assert waule.get("/v1/models", headers={"Authorization": "Bearer wk_live_none"}).status_code == 401
        assert time.monotonic() - began_at < SECONDS
        waule.session.close()  # a new connection each time


def key_of(waule: LiveWaule) -> str:
    name = uuid.uuid4().hex
    key: str = waule.manage_json("create_tenant", name, "--credits", "1000", "--all-models")["apiKey"]
    return key


def test_bodies_that_do_not_arrive(standing_waule: LiveWaule) -> None:
    """Of callers who are known and of orphans, small and large, announced and in chunks."""
    key = key_of(standing_waule)
    known, secret = f"Authorization: Bearer {key}", f"X-Internal-Secret: {INTERNAL_SECRET}"
    json_type = "Content-Type: application/json"
    heads = [
        head("/v1/images/generations", known, json_type, "Content-Length: 5000000"),
        head("/v1/images/generations", known, json_type, "Transfer-Encoding: chunked"),
        head("/internal/billing/charge", secret, json_type, "Content-Length: 200"),
        head("/api/auth/token", json_type, "Content-Length: 60"),
        head("/admin/login/", "Content-Type: application/x-www-form-urlencoded", "Content-Length: 1000000"),
        head("/nothing", "Content-Length: 1000"),
    ]
    with contextlib.ExitStack() as stack:
        groups = [stack.enter_context(sockets(standing_waule, first, SOCKETS // 3)) for first in heads]
        everybody_else_is_answered(standing_waule)
        began_at = time.monotonic()
        dripping = threading.Event()
        drip = threading.Thread(target=_drip, args=([connection for group in groups[2:4] for connection in group], dripping))
        drip.start()
        try:
            for number, group in enumerate(groups):
                answers = [connection.recv(65536) for connection in (group if number == 0 else group[:1])]
                # A hundred of 5 MB are more than a process keeps: whichever of them came late was told so at once, and
                # so may be those of 1 MB, for which little room is left.
                told = {answer.split()[1] if answer else b"" for answer in answers}
                is_large = b"000000\r\n" in heads[number]
                assert told <= {b"", b"408", b"404"} | ({b"503"} if is_large else set()), answers
                assert b"503" in told or number > 0
                assert time.monotonic() - began_at < 45
            everybody_else_is_answered(standing_waule, 1)
        finally:
            dripping.set()
            drip.join()


def _drip(connections: list[socket.socket], stopped: threading.Event) -> None:
    while not stopped.wait(2):
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.sendall(b" ")


def test_heads_that_do_not_arrive_and_connections_without_a_request(standing_waule: LiveWaule) -> None:
    """Of one address only a few are kept."""
    with sockets(standing_waule, b"GET /healthz HTTP/1.1\r\nHost: loc") as halves, sockets(standing_waule, b"") as silent:
        everybody_else_is_answered(standing_waule)
        # Sooner than the server's limit for heads.
        eventually(lambda: sum(_is_open(connection) for connection in halves + silent) <= 100, seconds=25)
        everybody_else_is_answered(standing_waule, 1)


def test_of_the_connections_of_one_address_those_in_use_stay(standing_waule: LiveWaule) -> None:
    """A gateway's pool, which asks now and then, beside idle connections that are younger."""
    with sockets(standing_waule, head("/healthz", method="GET"), 20) as pool, sockets(standing_waule, b"") as silent:
        until = time.monotonic() + 12
        while time.monotonic() < until:
            for connection in pool:
                assert connection.recv(65536).startswith(b"HTTP/1.1 200")
            time.sleep(3)
            for connection in pool:
                connection.sendall(head("/healthz", method="GET"))
        assert sum(_is_open(connection) for connection in silent) <= 64


def test_a_request_that_has_just_ended_is_no_waiting_connection(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    """Its answer may not be on its way yet, and it began long ago."""
    monkeypatch.setattr(connections, "QUIET_SECONDS", 0.5)
    monkeypatch.setattr(connections, "MAX_WAITING", 1)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        settings.PORT = listener.getsockname()[1]
        clients = [stack.enter_context(socket.create_connection(listener.getsockname())) for _number in range(5)]
        for _client in clients:
            stack.enter_context(listener.accept()[0])
        busy = clients[0].getsockname()
        watch = connections.Watch()
        connections.request_began(busy)
        watch.look()
        time.sleep(1)
        watch.look()
        connections.request_ended(busy)
        watch.look()
        assert _is_open(clients[0])
        assert sum(_is_open(client) for client in clients[1:]) == 1


def _is_open(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def test_readers_that_do_not_read(standing_waule: LiveWaule) -> None:
    """A video that nobody takes, and a long list."""
    media = Path(standing_waule.environ["MEDIA_ROOT"])
    media.mkdir(parents=True, exist_ok=True)
    (media / "slow.mp4").write_bytes(bytes(8 << 20))
    with sockets(standing_waule, head("/media/slow.mp4", method="GET"), receive_buffer=4096) as readers:
        everybody_else_is_answered(standing_waule)
        assert readers[0].recv(12) == b"HTTP/1.1 200"
        eventually(
            lambda: not _sending(standing_waule, readers[1:]), seconds=90, about=lambda: _sending(standing_waule, readers[1:])
        )


def _sending(waule: LiveWaule, connections: list[socket.socket]) -> int:
    """How many of these connections the server's end still holds, as the kernel tells."""
    port = int(waule.url.rpartition(":")[2])
    table = {tuple(line.split()[1:4]) for line in Path("/proc/net/tcp").read_text().splitlines()}
    ends = [(f"0100007F:{port:04X}", f"0100007F:{connection.getsockname()[1]:04X}", "01") for connection in connections]
    return sum(end in table for end in ends)


def test_a_whole_answer_reaches_a_slow_reader_that_does_read(standing_waule: LiveWaule) -> None:
    media = Path(standing_waule.environ["MEDIA_ROOT"])
    media.mkdir(parents=True, exist_ok=True)
    content = bytes(range(256)) * 4096
    (media / "whole.mp4").write_bytes(content)
    with sockets(standing_waule, head("/media/whole.mp4", "Connection: close", method="GET"), 1, receive_buffer=4096) as (
        reader,
    ):
        received = b""
        while part := reader.recv(65536):
            received += part
            time.sleep(0.005)
    assert received.partition(b"\r\n\r\n")[2] == content
