"""Sends what the application answers.

Whole answers and files go to granian, which sends them without a Python thread however slowly they are taken. Other
streams pass through a pipe; a reader that takes less than MIN_BYTES in STALL_SECONDS is cut off.
"""

import fcntl
import os
import select
import struct
import termios
import threading
import time
from collections.abc import Iterable
from typing import Any

from waule.core.errors import Unavailable

STALL_SECONDS = 30.0
MIN_BYTES = 32 << 10
PIPE_BYTES = 16 << 10  # surely fits an empty pipe
OPEN_SECONDS = 10.0
MAX_STREAMS = 64  # of a process, each with a thread
_streams = threading.BoundedSemaphore(MAX_STREAMS)


class StartResponse:
    """WSGI's `start_response`."""

    __slots__ = ("headers", "status")

    def __call__(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
        self.status = int(status[:3])
        self.headers = headers


def send(proto: Any, status: int, headers: list[tuple[str, str]], content: Iterable[bytes]) -> None:
    if isinstance(content, list):
        proto.response_bytes(status, headers, content[0] if len(content) == 1 else b"".join(content))
        return
    try:
        part = getattr(content, "file_part", None)
        if part is not None and part.length:
            proto.response_file_range(status, headers, str(part.path), part.first, part.first + part.length)
        elif part is not None:
            proto.response_empty(status, headers)
        else:
            _send_through_pipe(proto, status, headers, content)
    finally:
        close = getattr(content, "close", None)
        if close is not None:
            close()


def _send_through_pipe(proto: Any, status: int, headers: list[tuple[str, str]], content: Iterable[bytes]) -> None:
    chunks = iter(content)
    first = next((chunk for chunk in chunks if chunk), None)
    if first is None:
        proto.response_empty(status, headers)
        return
    if not _streams.acquire(blocking=False):
        raise Unavailable
    reading, writing = os.pipe()
    try:
        os.set_blocking(writing, False)
        proto.response_file(status, headers, f"/proc/self/fd/{reading}")
        pipe = _Pipe(writing)
        is_taken = pipe.write(first[:PIPE_BYTES])
        _wait_until_opened(reading, len(first[:PIPE_BYTES]))
        os.close(reading)  # granian has opened an end of its own; when that one is closed, writing fails
        reading = -1
        is_taken = is_taken and pipe.write(first[PIPE_BYTES:])
        while is_taken and (chunk := next(chunks, None)) is not None:
            is_taken = pipe.write(chunk)
    finally:
        os.close(writing)
        if reading >= 0:
            os.close(reading)
        _streams.release()


class _Pipe:
    """The writing end, with a least speed for whoever reads."""

    def __init__(self, writing: int) -> None:
        self.writing = writing
        self.checked_at, self.sent = time.monotonic(), 0

    def write(self, chunk: bytes) -> bool:
        """Return whether the reader took it."""
        view = memoryview(chunk)
        while view:
            try:
                written = os.write(self.writing, view)
            except BlockingIOError:
                if not self._wait():
                    return False
            except BrokenPipeError:
                return False
            else:
                self.sent += written
                view = view[written:]
        return True

    def _wait(self) -> bool:
        select.select([], [self.writing], [], 1.0)
        now = time.monotonic()
        if now - self.checked_at > STALL_SECONDS:
            if self.sent < MIN_BYTES:
                return False
            self.checked_at, self.sent = now, 0
        return True


def _wait_until_opened(reading: int, written: int) -> None:
    """Return when granian has begun to read the `written` bytes (or does not come to it)."""
    deadline = time.monotonic() + OPEN_SECONDS
    while time.monotonic() < deadline and _bytes_in(reading) >= written:
        time.sleep(0.001)


def _bytes_in(descriptor: int) -> int:
    return int(struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0\0\0\0"))[0])
