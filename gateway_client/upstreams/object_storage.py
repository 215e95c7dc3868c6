"""The way to object storage: requests that the storage's own SDK has signed, over our transport.

`storage` knows this function by the setting OBJECT_STORAGE_TRANSPORT only, so what it raises are Python's own errors.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import structlog

from gateway_client import addresses
from gateway_client.http import BROKEN, CHUNK_BYTES
from gateway_client.transport import Adapter, Deadline, resolve_anywhere
from waule.core import tracing

MAX_ANSWER_BYTES = 4 << 20  # a list of 1000 long keys
MAX_OBJECT_BYTES = 1 << 30
READ_SECONDS = 60
READING_SECONDS = 600
SENDING_SECONDS = 60  # and more for what is large:
SLOWEST_BYTES_PER_SECOND = 256 << 10
_NOT_SENT = {"expect", "connection"}  # nobody here waits for a 100; every call has a connection of its own

logger = structlog.get_logger(__name__)


def send(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    body: Any = None,
    is_operators: bool,
    target: Path | None = None,
) -> tuple[int, Mapping[str, str], bytes]:
    """Send one signed request: status, headers and body of the answer. A success goes into the file `target`, if given.

    `is_operators`: the address is the operator's word. A tenant's may lead to public addresses (and OUTBOUND_ALLOW) only.

    Raises:
        TimeoutError, ConnectionError: no whole answer, or an address that is forbidden (the log tells which).
    """
    host = urlsplit(url).hostname or ""
    attributes: dict[str, tracing.Value] = {"http.request.method": method, "server.address": host}
    with tracing.span(f"{method} {host}", "client", is_root=False, attributes=attributes) as step:
        answer = _send(method, url, headers, body, is_operators, target)
        step.set("http.response.status_code", answer[0])
        return answer


def _send(
    method: str, url: str, headers: Mapping[str, str], body: Any, is_operators: bool, target: Path | None
) -> tuple[int, Mapping[str, str], bytes]:
    deadline = Deadline(read_seconds=READ_SECONDS, total_seconds=_total_seconds(method, headers))
    sent = {name: value for name, value in headers.items() if name.lower() not in _NOT_SENT}
    host = urlsplit(url).hostname
    try:
        if not is_operators:
            addresses.rules().check_form(url)
        request = requests.Request(method, url, headers=sent | {"Connection": "close"}, data=body).prepare()
        adapter = Adapter(deadline, resolve_anywhere if is_operators else addresses.rules().addresses)
        with adapter.send(request, stream=True, timeout=(deadline.connect_seconds, READ_SECONDS)) as response:
            content = _read(response, target if response.status_code in (200, 206) else None)
    except addresses.Forbidden as error:
        logger.warning("object_call", method=method, host=host, why=str(error))
        raise ConnectionError("the storage could not be reached") from None
    except BROKEN as error:
        logger.info("object_call", method=method, host=host, why=type(error).__name__)
        if deadline.timed_out:
            raise TimeoutError("the storage did not answer in time") from None
        raise ConnectionError("the storage could not be reached") from None
    logger.info("object_call", method=method, host=host, status=response.status_code)
    return response.status_code, response.headers, content


def _total_seconds(method: str, headers: Mapping[str, str]) -> float:
    """Return how long a call may take: a bucket that swallows slowly must not keep a generation for hours."""
    if method == "GET":
        return READING_SECONDS
    length = next((value for name, value in headers.items() if name.lower() == "content-length"), "0")
    return SENDING_SECONDS + (int(length) / SLOWEST_BYTES_PER_SECOND if length.isdecimal() else READING_SECONDS)


def _read(response: requests.Response, target: Path | None) -> bytes:
    """Return the body; none of it where it goes into `target`."""
    if target is None:
        return b"".join(_chunks(response, MAX_ANSWER_BYTES))
    with target.open("wb") as file:
        for chunk in _chunks(response, MAX_OBJECT_BYTES):
            file.write(chunk)
    return b""


def _chunks(response: requests.Response, max_bytes: int) -> Iterator[bytes]:
    size = 0
    while chunk := response.raw.read(CHUNK_BYTES, decode_content=True):
        size += len(chunk)
        if size > max_bytes:
            raise OSError("the storage's answer is too large")
        yield chunk
