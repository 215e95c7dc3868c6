"""The WSGI application: one handler for people's pages, a leaner one for machines' calls (docs/adr/0003-two-handlers.md)."""

import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from tempfile import SpooledTemporaryFile
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "waule.settings")

import django

django.setup(set_prefix=False)

from django.conf import settings  # noqa: E402
from django.core.handlers.wsgi import WSGIHandler  # noqa: E402
from django.http import FileResponse, HttpResponse  # noqa: E402

from billing import refusals  # noqa: E402
from waule import connection_pool  # noqa: E402

CHUNK_BYTES = 64 << 10
MACHINE_PATHS = ("/internal/", "/v1/", "/media/", "/healthz", "/readyz", "/metrics")


class MachineHandler(WSGIHandler):
    """Django's handler with MACHINE_MIDDLEWARE alone: no session, no cookies, no CSRF, no admin."""

    def load_middleware(self, is_async: bool = False) -> None:
        pages = settings.MIDDLEWARE
        settings.MIDDLEWARE = settings.MACHINE_MIDDLEWARE
        try:
            super().load_middleware(is_async)
        finally:
            settings.MIDDLEWARE = pages


# Static files are found where the apps keep them; there need not be a directory that they were collected into.
warnings.filterwarnings("ignore", message="No directory at", category=UserWarning)
_pages = WSGIHandler()
_machines = MachineHandler()

connection_pool.lend_connections()
refusals.write_down_regularly()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    handler = _machines if environ["PATH_INFO"].startswith(MACHINE_PATHS) else _pages
    if "HTTP_TRANSFER_ENCODING" in environ and not environ.get("CONTENT_LENGTH"):
        take_in_body(environ)
    connection_pool.begin()
    works_on = False
    try:
        response = handler(environ, start_response)
        if not isinstance(response, HttpResponse):
            # A file needs no database; any other stream may still read from it while it is sent.
            works_on = not isinstance(response, FileResponse)
            return Stream(response) if works_on else response
        content = [response.content]
        response.close()
        return content
    finally:
        if not works_on:
            connection_pool.end()
        if environ.get("CONTENT_LENGTH"):
            drop_rest_of_body(environ)


def drop_rest_of_body(environ: dict[str, Any]) -> None:
    """Reads what a refusal left unread, as far as any path would: else the server cuts the caller off while it writes."""
    left = settings.MAX_BODY_WITH_IMAGES_BYTES
    while left > 0 and (chunk := environ["wsgi.input"].read(CHUNK_BYTES)):
        left -= len(chunk)


class Stream:
    """The body of a streamed answer; the server closes it when it is sent or nobody wants it any more."""

    def __init__(self, response: Any) -> None:
        self.response = response

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.response)

    def close(self) -> None:
        try:
            self.response.close()
        finally:
            connection_pool.end()


def take_in_body(environ: dict[str, Any]) -> None:
    """Gives a body that came in chunks the length that Django goes by. Of one too long for any path just enough is read."""
    body = SpooledTemporaryFile(max_size=settings.MAX_BODY_BYTES)  # noqa: SIM115  (closed when the request is dropped)
    left = settings.MAX_BODY_WITH_IMAGES_BYTES + 1
    while left and (chunk := environ["wsgi.input"].read(min(left, CHUNK_BYTES))):
        body.write(chunk)
        left -= len(chunk)
    environ["CONTENT_LENGTH"] = str(body.tell())
    body.seek(0)
    environ["wsgi.input"] = body
