"""An upstream that misbehaves, on raw sockets: no HTTP library would send what it sends."""

import gzip
import json
import socket
import ssl
import struct
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Seen:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


Behaviour = Callable[[socket.socket, Seen], None]


@dataclass
class BadServer:
    """Answers connection after connection with the behaviours it was given; the last one stays."""

    behaviours: list[Behaviour] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    host: str = "127.0.0.1"
    tls: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        self.listener = socket.create_server((self.host, 0), backlog=64)
        self.port: int = self.listener.getsockname()[1]
        self.connections = 0
        self.stopping = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def will(self, *behaviours: Behaviour) -> "BadServer":
        self.behaviours = list(behaviours)
        return self

    def stop(self) -> None:
        self.stopping.set()
        self.listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _address = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with self.tls.wrap_socket(connection, server_side=True) if self.tls else connection as stream:
                request = read_request(stream)
                self.seen.append(request)
                behaviour = self.behaviours.pop(0) if len(self.behaviours) > 1 else self.behaviours[0]
                behaviour(stream, request)
        except OSError:
            pass  # the client hung up: that is what some tests wait for


def read_request(stream: socket.socket) -> Seen:
    raw = b""
    while b"\r\n\r\n" not in raw:
        chunk = stream.recv(65536)
        if not chunk:
            raise OSError("hung up")
        raw += chunk
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        body += stream.recv(65536)
    method, path, _version = first.split(" ")
    return Seen(method, path, headers, body)


def head(status: int, headers: dict[str, str], length: int | None) -> bytes:
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in headers.items())]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join([*lines, "", ""]).encode()


def answer(body: Any = None, status: int = 200, headers: dict[str, str] | None = None, *, length: int | None = None) -> Behaviour:
    """Any body: bytes as they are, all else as JSON; `length` may lie."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()

    def behave(stream: socket.socket, _request: Seen) -> None:
        kind = {"Content-Type": "application/json"} | (headers or {})
        stream.sendall(head(status, kind, len(raw) if length is None else length) + raw)

    return behave


def raw(text: bytes) -> Behaviour:
    return lambda stream, _request: stream.sendall(text)


def reset(stream: socket.socket, _request: Seen) -> None:
    """The connection is reset instead of answered."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.close()


def hang_up(stream: socket.socket, _request: Seen) -> None:
    stream.close()


def silence(seconds: float = 30) -> Behaviour:
    return lambda _stream, _request: time.sleep(seconds)


def drip(text: bytes, *, every_seconds: float = 0.05) -> Behaviour:
    """One byte at a time: no single read ever times out."""

    def behave(stream: socket.socket, _request: Seen) -> None:
        for byte in text:
            stream.sendall(bytes([byte]))
            time.sleep(every_seconds)

    return behave


def endless(chunk: bytes = b"x" * 65536) -> Behaviour:
    """200 and then a body that never ends."""

    def behave(stream: socket.socket, _request: Seen) -> None:
        stream.sendall(head(200, {"Content-Type": "application/json"}, None))
        while True:
            stream.sendall(chunk)

    return behave


def gzip_bomb(decoded_bytes: int) -> Behaviour:
    """A small body that becomes a huge one. It is never whole in this process, whose memory tests look at."""
    packer, zeros = zlib.compressobj(wbits=-zlib.MAX_WBITS), b"0" * (1 << 20)
    begin = packer.compress(b'{"data": "') + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(zeros) + packer.flush(zlib.Z_FULL_FLUSH)  # after a full flush it can be repeated
    end = packer.compress(b'"}') + packer.flush()
    count, checksum = decoded_bytes // len(zeros), zlib.crc32(b'{"data": "')
    for _block in range(count):
        checksum = zlib.crc32(zeros, checksum)
    trailer = struct.pack("<II", zlib.crc32(b'"}', checksum), count * len(zeros) + 12)
    packed = gzip.compress(b"")[:10] + begin + block * count + end + trailer
    return raw(head(200, {"Content-Encoding": "gzip", "Content-Type": "application/json"}, len(packed)) + packed)


def media(body: bytes, content_type: str = "image/png") -> Behaviour:
    return answer(body, headers={"Content-Type": content_type})


def server_sent(*events: Any, done: bool = True) -> Behaviour:
    """An event stream in chunks; each event is JSON."""

    def behave(stream: socket.socket, _request: Seen) -> None:
        stream.sendall(head(200, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"}, None))
        texts = [f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n" for event in events]
        for text in [*texts, *(["data: [DONE]\n\n"] if done else [])]:
            part = text.encode()
            stream.sendall(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        if done:
            stream.sendall(b"0\r\n\r\n")

    return behave


PNG = (
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\b\6\0\0\0\x1f\x15\xc4\x89\0\0\0\rIDATx\x9cc\xf8\xcf\xc0\xf0"
    b"\x1f\0\5\0\1\xff\x89\x99=\x1d\0\0\0\0IEND\xaeB`\x82"
)
MP4 = b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + b"\0" * 64
