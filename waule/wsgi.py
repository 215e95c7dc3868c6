"""The WSGI application: one handler for people's pages, a leaner one for machines' calls (docs/adr/0003-two-handlers.md)."""

import logging
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "waule.settings")

import django

django.setup(set_prefix=False)

from django.conf import settings  # noqa: E402
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest  # noqa: E402
from django.http import HttpRequest, HttpResponse  # noqa: E402
from django.urls import ResolverMatch  # noqa: E402

from aiservices.monitoring import jobs_health  # noqa: E402
from billing.monitoring import rejections  # noqa: E402
from waule.core import tracing  # noqa: E402
from waule.core.db import connection_pool  # noqa: E402

UUID_SEGMENT = re.compile(r"/[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}(?=/|$)")
CHUNK_BYTES = 64 << 10
logger = logging.getLogger(__name__)
MACHINE_PATHS = ("/internal/", "/v1/", "/dashboard/billing/", "/api/usage/token", "/media/", "/healthz", "/readyz", "/metrics")


class MachineHandler(WSGIHandler):
    """Django's handler with MACHINE_MIDDLEWARE alone: no session, no cookies, no CSRF, no admin.

    It sends no signals (connections are leased below, and nothing else listens) and wraps no view in a transaction
    (`ATOMIC_REQUESTS` is off: a verb is a transaction).
    """

    def __init__(self) -> None:
        super().__init__()
        self._shapes: dict[str, ResolverMatch] = {}  # by path without its id; of those that have one
        self._literal: dict[str, ResolverMatch] = {}  # by path; there are as many as routes without a variable part

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        response = self.get_response(WSGIRequest(environ))
        start_response(f"{response.status_code} {response.reason_phrase}", list(response.items()))
        return response

    def resolve_request(self, request: HttpRequest) -> ResolverMatch:
        """Look literal paths up; only those with a variable part are matched against one pattern after the other."""
        match = self._literal.get(request.path_info) or self._of_shape(request)
        if match is None:
            match = super().resolve_request(request)
            if not match.kwargs and not match.args:
                self._literal[request.path_info] = match
        request.resolver_match = match
        return match

    def _of_shape(self, request: HttpRequest) -> ResolverMatch | None:
        """Return the route of a path with one id in it, as it was found for another id; None where there is none."""
        ids = UUID_SEGMENT.findall(request.path_info)
        if len(ids) != 1:
            return None
        shape = request.path_info.replace(ids[0], "/")
        if (match := self._shapes.get(shape)) is None:
            match = super().resolve_request(request)
            if match.args or list(match.kwargs.values()) != [ids[0][1:]]:
                return match
            self._shapes[shape] = match
        (name,) = match.kwargs
        given = {name: ids[0][1:]}
        return ResolverMatch(
            match.func, (), given, match.url_name, [*match.app_names], [*match.namespaces], match.route, captured_kwargs=given
        )

    def make_view_atomic(self, view: Callable[..., Any]) -> Callable[..., Any]:
        return view

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

tracing.begin()
connection_pool.share_connections()
rejections.write_down_regularly()
jobs_health.watch_from_server()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    handler = _machines if environ["PATH_INFO"].startswith(MACHINE_PATHS) else _pages
    connection_pool.begin()
    try:
        response = handler(environ, start_response)
        if not isinstance(response, HttpResponse):
            return Stream(response)
        content = response.content
        if handler is _pages:
            response.close()
        else:  # without the signal
            for close in response._resource_closers:  # type: ignore[attr-defined]
                close()
        return Whole(content, getattr(response, "on_delivered", None))
    finally:
        connection_pool.end()  # an answer is sent without a connection


class Whole(list[bytes]):
    """A whole answer. The server calls `delivered` when it has sent it to a caller who was still there."""

    def __init__(self, content: bytes, then: Callable[[], Any] | None) -> None:
        super().__init__([content])
        self.then = then

    def delivered(self) -> None:
        if self.then is None:
            return
        connection_pool.begin()
        try:
            self.then()
        except Exception:  # the answer is with its caller
            logger.exception("delivery not noted")
        finally:
            connection_pool.end()


class Stream:
    """The body of a streamed answer; the server closes it when it is sent or nobody wants it any more.

    `file_part` is the part of a file that it is, which a server can send by itself.
    """

    def __init__(self, response: Any) -> None:
        self.response = response
        self.file_part = getattr(response, "file_part", None)

    def __iter__(self) -> Iterator[bytes]:
        connection_pool.begin()
        return iter(self.response)

    def close(self) -> None:
        try:
            self.response.close()
        finally:
            connection_pool.end()
