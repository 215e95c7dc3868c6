"""The WSGI environment of a request."""

import os
import sys
from typing import Any

_base: dict[str, Any] = dict(os.environ) | {
    "GATEWAY_INTERFACE": "CGI/1.1",
    "SCRIPT_NAME": "",
    "SERVER_SOFTWARE": "granian",
    "wsgi.errors": sys.stderr,
    "wsgi.multiprocess": True,
    "wsgi.multithread": True,
    "wsgi.run_once": False,
    "wsgi.version": (1, 0),
}
_names = {"content-type": "CONTENT_TYPE", "content-length": "CONTENT_LENGTH"}
MAX_NAMES = 1000  # callers choose header names: those kept are bounded


def environ_of(scope: Any) -> dict[str, Any]:
    """Return the environment of granian's `scope`, without a body. `waule.peer` is the client's (address, port).

    A header with an underscore in its name is left out: here it could not be told from the one with a hyphen, by which a
    proxy in front says who the client is, and which it does not replace.
    """
    environ = _base.copy()
    address, _colon, port = scope.client.rpartition(":")
    address = address.strip("[]")
    server, _colon, server_port = scope.server.rpartition(":")
    environ["waule.peer"] = (address, int(port or 0))
    environ["REMOTE_ADDR"] = address
    environ["SERVER_NAME"] = server.strip("[]")
    environ["SERVER_PORT"] = server_port
    environ["SERVER_PROTOCOL"] = "HTTP/1.0" if scope.http_version == "1" else "HTTP/1.1"
    environ["REQUEST_METHOD"] = scope.method
    path = scope.path
    # PEP 3333: bytes as Latin-1.
    environ["PATH_INFO"] = path if path.isascii() else path.encode().decode("latin-1")
    query = scope.query_string
    environ["QUERY_STRING"] = query if query.isascii() else query.encode().decode("latin-1")
    environ["wsgi.url_scheme"] = scope.scheme
    headers = scope.headers
    _add_headers(environ, headers.items())
    # Values that are not ASCII are left out above. They are not the same as a header that was never sent.
    for name in headers.keys():  # noqa: SIM118  (granian's headers are no dictionary)
        if "_" not in name:
            environ.setdefault(_name(name), "")
    if "HTTP_HOST" not in environ:
        environ["HTTP_HOST"] = scope.authority or ""
    return environ


def _add_headers(environ: dict[str, Any], items: list[tuple[str, str]]) -> None:
    for key, value in items:
        if "_" in key:
            continue
        name = _names.get(key) or _name(key)
        if name in environ and name in _base:
            environ[name] = value  # a variable of our own environment that happens to be named so
        elif name in environ:
            environ[name] += (";" if name == "HTTP_COOKIE" else ",") + value
        else:
            environ[name] = value


def _name(key: str) -> str:
    name = _names.get(key)
    if name is None:
        name = "HTTP_" + key.upper().replace("-", "_")
        if len(_names) < MAX_NAMES:
            _names[key] = name
    return name
