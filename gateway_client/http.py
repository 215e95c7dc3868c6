"""The one way in which waule speaks HTTP to others.

Every call has a deadline over all its tries, a cap on what it reads, follows no redirect, sends no key in a URL, and ends
in an `Answer` or in one of `gateway_client.errors`. A request is sent again only where it was certainly not accepted.
"""

import errno
import http.client
import io
import random
import re
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import requests
import structlog
import urllib3

from gateway_client import answers
from gateway_client.errors import NotAccepted, OutcomeTimedOut, OutcomeUnknown, UpstreamError, UpstreamRateLimited
from gateway_client.request import Files, Request
from gateway_client.transport import Adapter, Deadline, Resolve, resolve_anywhere
from waule.core import tracing
from waule.core.errors import NotConfigured, StorageUnavailable

MAX_JSON_BYTES = 10 << 20  # decoded
MAX_JSON_WITH_MEDIA_BYTES = 64 << 20  # of providers that put the pictures themselves, in base64, into their JSON
MAX_ERROR_BYTES = 64 << 10
MAX_EVENT_BYTES = 1 << 20  # one line of an event stream
MAX_TRIES = 3  # the first and, where certainly nothing was accepted, two more
MAX_RETRY_AFTER_SECONDS = 30
RETRY_PAUSE_SECONDS = 0.2
CHUNK_BYTES = 64 << 10

# Whatever goes wrong between us and the other side. What it means is read from the clock, not from its class.
BROKEN = (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError)

Translate = Callable[[int, Mapping[str, str], Any], UpstreamError | None]  # status, headers, body

logger = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Answer:
    """A success. `body` is the JSON value, or None where the answer had no body; fractions in it are Decimals."""

    status: int
    headers: Mapping[str, str]
    body: Any


def join(base: str, *segments: str) -> str:
    """`base` with more path. Each segment is quoted whole, so none can climb, add a query, or name another host.

    Raises NotConfigured where `base` is no http(s) URL, or has a user, a query or a fragment.
    """
    try:
        parts = urlsplit(base)
        is_usable = parts.scheme in {"http", "https"} and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        is_usable, parts = False, urlsplit("")
    if not is_usable or "@" in parts.netloc or parts.query or parts.fragment or re.search(r"[^\x21-\x7e]|\\", base):
        raise NotConfigured(reason="upstream_url")
    if any(segment in {"", ".", ".."} for segment in segments):
        raise UpstreamError(reason="path")
    path = "/".join([parts.path.rstrip("/"), *(quote(segment, safe=":") for segment in segments)])
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def call(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    bearer: str = "",
    secrets: Mapping[str, str] | None = None,
    payload: Any = None,
    form: Mapping[str, str] | None = None,
    files: Files | None = None,
    deadline: Deadline | None = None,
    max_bytes: int = MAX_JSON_BYTES,
    max_tries: int = MAX_TRIES,
    waits_for_limit: bool = True,
    translate: Translate | None = None,
) -> Answer:
    """Send one request and read its JSON answer.

    A try that was certainly not accepted is repeated, at most `max_tries` in all: after a failure to connect, and after
    a 429 whose `Retry-After` is at most 30 s and still fits the clock (not where `waits_for_limit` is False: the caller
    has another credential). `translate` may know an upstream's own error better than the closed table.

    Raises: an UpstreamError of `gateway_client.errors`; NotConfigured for a URL that is none.
    """
    request = Request(method, url, headers or {}, bearer, secrets or {}, payload, form, files)
    deadline = deadline or Deadline()
    with _reply(request, deadline, max_tries=max_tries, waits_for_limit=waits_for_limit, translate=translate) as response:
        raw = b"".join(_chunks(response, max_bytes))
    try:
        return Answer(response.status_code, response.headers, answers.parse(raw) if raw else None)
    except answers.NotAnAnswer:
        raise OutcomeUnknown(reason="not_json") from None


def deliver(
    url: str, *, content: bytes, headers: Mapping[str, str], deadline: Deadline, resolve: Resolve = resolve_anywhere
) -> int:
    """POST `content` once and return the status of success; what else the answer says is not read.

    Raises: an UpstreamError of `gateway_client.errors`, and what `resolve` raises.
    """
    request = Request("POST", url, headers, content=content)
    with _reply(request, deadline, resolve=resolve, max_tries=1, waits_for_limit=False) as response:
        return response.status_code


def events(
    url: str,
    *,
    payload: Any = None,
    form: Mapping[str, str] | None = None,
    files: Files | None = None,
    headers: Mapping[str, str] | None = None,
    bearer: str = "",
    deadline: Deadline | None = None,
    max_bytes: int = MAX_JSON_BYTES,
    max_event_bytes: int = MAX_EVENT_BYTES,
) -> Generator[str, None, None]:
    """POST a body and yields each line of the answer as it comes, for event streams. Raises what `call` raises."""
    request = Request("POST", url, headers or {}, bearer, payload=payload, form=form, files=files)
    deadline = deadline or Deadline()
    with _reply(request, deadline) as response:
        rest = bytearray()  # of a line that may come in a thousand pieces: none of them is copied twice
        for chunk in _chunks(response, max_bytes, is_live=True):
            first, *more = chunk.split(b"\n")
            rest += first
            for piece in more:
                yield rest.decode("utf-8", "replace").rstrip("\r")
                rest = bytearray(piece)
            if len(rest) > max_event_bytes:
                raise OutcomeUnknown(reason="too_large")
        yield rest.decode("utf-8", "replace").rstrip("\r")


def download(
    url: str,
    *,
    max_bytes: int,
    headers: Mapping[str, str] | None = None,
    bearer: str = "",
    secrets: Mapping[str, str] | None = None,
    deadline: Deadline | None = None,
    resolve: Resolve = resolve_anywhere,
    max_tries: int = MAX_TRIES,
    directory: Path | None = None,
) -> Path:
    """GET `url` into a new temporary file, which the caller must move or delete.

    Raises: what `call` raises (more than `max_bytes` is an OutcomeUnknown), and what `resolve` raises. StorageUnavailable:
    it is there, and our disk does not take it.
    """
    request = Request("GET", url, headers or {}, bearer, secrets or {})
    deadline = deadline or Deadline()
    with _disk():
        descriptor, name = tempfile.mkstemp(dir=directory, prefix="waule-")
    path = Path(name)
    try:
        with (
            io.FileIO(descriptor, "w") as file,
            _reply(request, deadline, resolve=resolve, max_tries=max_tries) as response,
        ):
            for chunk in _chunks(response, max_bytes):
                with _disk():
                    _write(file, chunk)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def _write(file: io.FileIO, chunk: bytes) -> None:
    """All of it: on a disk that is nearly full, a write takes what still fits."""
    rest = memoryview(chunk)
    while rest:
        rest = rest[file.write(rest) or 0 :]


@contextmanager
def _disk() -> Iterator[None]:
    """A failure of our own disk, which is none of the other side's."""
    try:
        yield
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise StorageUnavailable(reason="disk_full" if is_full else "disk") from error


@contextmanager
def _reply(
    request: Request,
    deadline: Deadline,
    *,
    resolve: Resolve = resolve_anywhere,
    max_tries: int = MAX_TRIES,
    waits_for_limit: bool = True,
    translate: Translate | None = None,
) -> Iterator[requests.Response]:
    """A success whose body is still to be read; what goes wrong while it is read becomes our error too."""
    response = _send_with_tries(request, deadline, resolve, max_tries, waits_for_limit, translate)
    try:
        yield response
    except BROKEN:
        raise _failure(deadline) from None
    finally:
        response.close()


def _send_with_tries(
    request: Request,
    deadline: Deadline,
    resolve: Resolve,
    max_tries: int,
    waits_for_limit: bool,
    translate: Translate | None,
) -> requests.Response:
    for number in range(1, max_tries + 1):
        try:
            return (_send_traced if tracing.is_on() else _send)(request, deadline, resolve, translate)
        except NotAccepted:
            pause = RETRY_PAUSE_SECONDS * 2**number * (0.5 + random.random())  # noqa: S311
            if number == max_tries or pause >= deadline.left_seconds():
                raise
        except UpstreamRateLimited as error:
            if error.retry_after_seconds is None or error.blames_credential or not waits_for_limit:
                raise
            pause = error.retry_after_seconds
            if number == max_tries or pause > MAX_RETRY_AFTER_SECONDS or pause >= deadline.left_seconds():
                raise
        logger.info("upstream_try_again", host=urlsplit(request.url).hostname, pause_seconds=round(pause, 2))
        time.sleep(pause)
    raise AssertionError("a call has at least one try")


def _send_traced(request: Request, deadline: Deadline, resolve: Resolve, translate: Translate | None) -> requests.Response:
    """Return one try as a step of the request or job that it is made for, if any; the other side is told to go on with the trace.

    The step names the host and no path: that of a webhook or a signed URL may be a secret.
    """
    parts = urlsplit(request.url)
    attributes: dict[str, tracing.Value] = {"http.request.method": request.method, "server.address": parts.hostname or ""}
    if parts.port:
        attributes["server.port"] = parts.port
    with tracing.span(f"{request.method} {parts.hostname}", "client", is_root=False, attributes=attributes) as step:
        if step.traceparent:
            request = replace(request, headers={**request.headers, tracing.HEADER: step.traceparent})
        try:
            response = _send(request, deadline, resolve, translate)
        except UpstreamError as error:
            if error.upstream_status:
                step.set("http.response.status_code", error.upstream_status)
            raise
        step.set("http.response.status_code", response.status_code)
        return response


def _send(request: Request, deadline: Deadline, resolve: Resolve, translate: Translate | None) -> requests.Response:
    """Return one try: a success, or the error that its failure means."""
    prepared = request.prepared()
    deadline.begin_try()
    began_at = time.monotonic()
    try:
        adapter = Adapter(deadline, resolve)
        response = adapter.send(prepared, stream=True, timeout=(deadline.connect_seconds, deadline.read_seconds))
    except BROKEN:
        failure = _failure(deadline)
        _log(request, began_at, why=failure.details["reason"])
        raise failure from None
    status = response.status_code
    _log(request, began_at, status=status)
    if 200 <= status < 300:
        return response
    with response:
        body = _error_body(response)
    error = translate(status, response.headers, body) if translate else None
    error = error or answers.problem(status, response.headers, body, request.secret_values())
    error.upstream_status, error.upstream_body = status, body
    error.redirected_to = response.headers.get("Location", "") if 300 <= status < 400 else ""
    raise error


def _failure(deadline: Deadline) -> UpstreamError:
    """Return what a call without an answer means; the socket knows whether anything was sent."""
    if not deadline.was_sent:
        return NotAccepted(reason="timeout" if deadline.timed_out else "not_reached")
    if deadline.timed_out:
        return OutcomeTimedOut(reason="timeout")
    return OutcomeUnknown(reason="cut_off")


def _chunks(response: requests.Response, max_bytes: int, *, is_live: bool = False) -> Iterator[bytes]:
    """Yield the decoded body, in pieces of bounded size; `is_live`: as it comes, without waiting for full pieces."""
    size = 0
    read = response.raw.read1 if is_live else response.raw.read
    while chunk := read(CHUNK_BYTES, decode_content=True):
        size += len(chunk)
        if size > max_bytes:
            raise OutcomeUnknown(reason="too_large")
        yield chunk


def _error_body(response: requests.Response) -> Any:
    """Return the JSON of an error answer, or None: the status alone will have to do."""
    try:
        return answers.parse(b"".join(_chunks(response, MAX_ERROR_BYTES)))
    except (*BROKEN, OutcomeUnknown, answers.NotAnAnswer):
        return None


def _log(request: Request, began_at: float, **facts: Any) -> None:
    """Host and path without the query: a signed URL is a secret."""
    parts = urlsplit(request.url)
    elapsed_ms = round((time.monotonic() - began_at) * 1000)
    logger.info("upstream_call", method=request.method, host=parts.hostname, path=parts.path, elapsed_ms=elapsed_ms, **facts)
