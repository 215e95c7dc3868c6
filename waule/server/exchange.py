"""One request and its answer.

A Python thread is taken only when the whole body is there; until then a request is an entry in `_receiving`. A body
that is not complete 30 s after its head is ended with 408. Bodies of more than SMALL_BYTES are kept only where
`waule.server.body_limits` allows them: only where a path takes them, and the large ones only of authenticated callers.
"""

import io
import logging
import threading
import time
from asyncio import CancelledError
from collections.abc import Iterable
from typing import Any, ClassVar

from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest
from django.utils.translation import gettext_lazy as _

from waule.core.db import connection_pool
from waule.core.errors import InvalidRequest, RequestTimeout, Unavailable, WauleError
from waule.core.http import error_handler
from waule.core.ids import uuid7
from waule.server import connections
from waule.server.answer import StartResponse, send
from waule.server.body_limits import body_limit
from waule.server.environ import environ_of

logger = logging.getLogger(__name__)

SMALL_BYTES = 64 << 10  # kept without a question
BODY_SECONDS = 30.0
LOOK_SECONDS = 0.5
MAX_KEPT_BYTES = 256 << 20  # bodies over SMALL_BYTES that one process keeps, arriving and being answered
RESERVED_THREADS = 64  # of a process's, for the paths below
ALWAYS_ANSWERED = ("/internal/", "/healthz", "/readyz", "/metrics")

CUT_OFF = _("The request body ended before its Content-Length.")

_receiving: dict["Exchange", None] = {}
_kept = 0
_kept_lock = threading.Lock()


class Exchange:
    """A request while it is received, answered, and, where its body was refused, read to its end."""

    __slots__ = ("body", "deadline", "environ", "future", "is_answered", "kept_bytes", "limit", "parts", "proto", "received")

    application: ClassVar[Any]
    max_busy: ClassVar[int] = 512
    busy: ClassVar[int] = 0

    def __init__(self, scope: Any, proto: Any) -> None:
        self.proto = proto
        self.environ = environ_of(scope)
        self.is_answered = False
        self.kept_bytes = self.received = 0

    def begin(self) -> None:
        environ = self.environ
        connections.request_began(environ["waule.peer"])
        try:
            is_chunked = "HTTP_TRANSFER_ENCODING" in environ
            announced = int(environ.get("CONTENT_LENGTH") or 0)
            if not announced and not is_chunked:
                self.answer(b"")
                return
            self.deadline = time.monotonic() + BODY_SECONDS
            if announced <= SMALL_BYTES and not is_chunked:
                _receiving[self] = None
                self.future = self.proto()
                self.future.add_done_callback(self.whole_body_arrived)
                return
            connection_pool.begin()
            try:
                self.limit = body_limit(environ)
            finally:
                connection_pool.end()
            self.parts: list[bytes] | None = []
            if announced > self.limit or not self._keep(announced):
                self.refuse_body()
            _receiving[self] = None
            self.proto.__aiter__()
            self.next_part()
        except Exception:
            logger.exception("a request could not be received")
            self.proto.response_empty(500, [("Connection", "close")])
            self._release()

    # --- the body ------------------------------------------------------------------------------------------------

    def whole_body_arrived(self, future: Any) -> None:
        _receiving.pop(self, None)
        self.future = None  # it refers back to this object, and Python's collector does not see through it
        try:
            body = future.result()
        except CancelledError:
            self.fail(RequestTimeout())
        except Exception:  # the connection was cut, or the sending half of it closed
            self.fail(InvalidRequest(CUT_OFF))
        else:
            self.answer(body)

    def next_part(self) -> None:
        self.future = self.proto.__anext__()
        self.future.add_done_callback(self.part_arrived)

    def part_arrived(self, future: Any) -> None:
        self.future = None
        try:
            part = future.result()
        except CancelledError:
            self._end_receiving()
            if not self.is_answered:
                self.fail(RequestTimeout())
            return
        except Exception:
            self._end_receiving()
            self.fail(InvalidRequest(CUT_OFF))
            return
        if part:
            self.take(part)
            return
        self._end_receiving()
        if not self.is_answered:
            self.body_ended()

    def take(self, part: bytes) -> None:
        self.received += len(part)
        if self.parts is not None:
            if self.received > self.limit or not self._keep(self.received):
                self.refuse_body()
            else:
                self.parts.append(part)
        if self.received > settings.MAX_BODY_WITH_IMAGES_BYTES + SMALL_BYTES:
            self._end_receiving()
            return
        self.next_part()

    def body_ended(self) -> None:
        environ = self.environ
        announced = environ.get("CONTENT_LENGTH")
        if announced and self.received < int(announced):
            self.fail(InvalidRequest(CUT_OFF))
            return
        environ["CONTENT_LENGTH"] = str(self.received)
        parts, self.parts = self.parts or [], None
        body = b"".join(parts)
        parts.clear()
        self.answer(body)

    def refuse_body(self) -> None:
        """Answer without the body, which is read on and dropped: else the client is cut off before it reads the answer."""
        self.parts = None
        self._release()
        self.environ["CONTENT_LENGTH"] = str(max(self.limit + 1, self.received, int(self.environ.get("CONTENT_LENGTH") or 0)))
        self.answer(b"")

    def expire(self) -> None:
        future = self.future
        if future is not None:
            future.cancel()

    def _end_receiving(self) -> None:
        _receiving.pop(self, None)

    def _keep(self, size: int) -> bool:
        """Return whether `size` bytes of this body may be kept; answers 503 where the process keeps too much already."""
        global _kept
        more = size - self.kept_bytes
        if more <= 0:
            return True
        with _kept_lock:
            if _kept + more > MAX_KEPT_BYTES:
                fits = False
            else:
                fits = True
                _kept += more
                self.kept_bytes = size
        if not fits:
            self.parts = None
            self.fail(Unavailable())
        return fits

    def _release(self) -> None:
        global _kept
        if self.kept_bytes:
            with _kept_lock:
                _kept -= self.kept_bytes
            self.kept_bytes = 0

    # --- the answer ----------------------------------------------------------------------------------------------

    def answer(self, body: bytes) -> None:
        """Run the application in this thread and send what it answers."""
        if self.is_answered:
            return
        environ = self.environ
        if Exchange.busy > self.max_busy - RESERVED_THREADS and not environ["PATH_INFO"].startswith(ALWAYS_ANSWERED):
            self.fail(Unavailable())
            return
        self.is_answered = True
        environ["wsgi.input"] = io.BytesIO(body)
        environ["waule.is_caller_there"] = self._is_caller_there
        start = StartResponse()
        Exchange.busy += 1  # under the GIL near enough: a limit, not an account
        try:
            content: Iterable[bytes] = Exchange.application(environ, start)
            wants_to_know = getattr(content, "then", None) is not None
            is_there = wants_to_know and self._is_caller_there()
            send(self.proto, start.status, start.headers, content)
            if is_there:
                content.delivered()  # type: ignore[attr-defined]  # of `waule.wsgi.Whole`
        except WauleError as failure:
            self._send_failure(failure)
        except Exception:
            logger.exception("an answer could not be made")
            self.proto.response_empty(500, [])
        finally:
            Exchange.busy -= 1
            self._release()
            connections.request_ended(environ["waule.peer"])

    def _is_caller_there(self) -> bool:
        return connections.is_open(self.environ["waule.peer"])

    def fail(self, failure: WauleError) -> None:
        """Answer with an error of the server itself, in the shape that the path speaks."""
        if self.is_answered:
            return
        self.is_answered = True
        self._send_failure(failure)
        self._release()
        connections.request_ended(self.environ["waule.peer"])

    def _send_failure(self, failure: WauleError) -> None:
        self.environ["wsgi.input"] = io.BytesIO()
        request = WSGIRequest(self.environ)
        request.request_id = uuid7().hex  # type: ignore[attr-defined]
        response = error_handler.respond(failure, request)
        headers = [*response.items(), ("X-Request-Id", request.request_id), ("Connection", "close")]  # type: ignore[attr-defined]
        self.proto.response_bytes(failure.http_status, headers, response.content)


def end_late_bodies() -> None:
    """Start the thread that ends bodies which did not arrive in time."""
    threading.Thread(target=_look, name="late-bodies", daemon=True).start()


def _look() -> None:
    while True:
        time.sleep(LOOK_SECONDS)
        now = time.monotonic()
        for exchange in list(_receiving):
            if now > exchange.deadline:
                exchange.expire()
