"""Sockets that keep a deadline, and connections that go only where they may.

A timeout of `requests` is per read: a body that drips one byte a second never meets it. Here every read and write of a
call draws on one clock. Every call opens its own connection: on a kept-alive one that the other side was just closing,
"was the request accepted?" could not be answered.
"""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, partial
from ipaddress import ip_address
from typing import Any, TypeVar

import certifi
from django.conf import settings
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.ssl_ import create_urllib3_context

Resolve = Callable[[str, int, float], Sequence[str]]  # host, port, seconds → the IP addresses to connect to
T = TypeVar("T")


class Deadline:
    """How long one call may take altogether, and how far its present try has come.

    In seconds; what is left out comes from the settings. The tries of one call share its clock.
    """

    def __init__(
        self,
        *,
        connect_seconds: float | None = None,
        read_seconds: float | None = None,
        total_seconds: float | None = None,
    ) -> None:
        self.connect_seconds = settings.UPSTREAM_CONNECT_SECONDS if connect_seconds is None else connect_seconds
        self.read_seconds = settings.UPSTREAM_READ_SECONDS if read_seconds is None else read_seconds
        self.ends_at = time.monotonic() + (settings.UPSTREAM_TOTAL_SECONDS if total_seconds is None else total_seconds)
        self.was_sent = False  # a byte of the request has left: from here on its outcome may be unknown
        self.timed_out = False

    def begin_try(self) -> None:
        self.was_sent = self.timed_out = False

    def left_seconds(self) -> float:
        return self.ends_at - time.monotonic()

    def wait_seconds(self, limit_seconds: float) -> float:
        """Return the timeout of the next single step. Raises TimeoutError when the time is up."""
        left = self.left_seconds()
        if left <= 0:
            self.timed_out = True
            raise TimeoutError("the time of this call is up")
        return min(limit_seconds, left)

    def step(self, sock: socket.socket, operation: Callable[..., T], *arguments: Any) -> T:
        """Return one read or write of `sock`, within what is left."""
        sock.settimeout(self.wait_seconds(self.read_seconds))
        try:
            return operation(*arguments)
        except TimeoutError:
            self.timed_out = True
            raise


class _PlainSocket(socket.socket):
    deadline: Deadline

    def recv_into(self, *arguments: Any) -> int:
        return self.deadline.step(self, super().recv_into, *arguments)

    def sendall(self, *arguments: Any) -> None:
        self.deadline.was_sent = True
        self.deadline.step(self, super().sendall, *arguments)


class _TLSSocket(ssl.SSLSocket):
    deadline: Deadline

    def recv_into(self, *arguments: Any) -> int:
        return self.deadline.step(self, super().recv_into, *arguments)

    def send(self, *arguments: Any) -> int:  # sendall sends in pieces through here
        self.deadline.was_sent = True
        return self.deadline.step(self, super().send, *arguments)


class _Connection(HTTPConnection):
    def __init__(self, *arguments: Any, deadline: Deadline, resolve: Resolve, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.deadline, self.resolve = deadline, resolve

    def _new_conn(self) -> socket.socket:
        assert self.port is not None
        return _connect(self.host, self.port, self.deadline, self.resolve)


class _TLSConnection(HTTPSConnection):
    def __init__(self, *arguments: Any, deadline: Deadline, resolve: Resolve, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.deadline, self.resolve = deadline, resolve

    def _new_conn(self) -> socket.socket:
        assert self.port is not None
        return _connect(self.host, self.port, self.deadline, self.resolve)

    def connect(self) -> None:
        super().connect()
        assert isinstance(self.sock, _TLSSocket)
        self.sock.deadline = self.deadline


def _connect(host: str, port: int, deadline: Deadline, resolve: Resolve) -> _PlainSocket:
    """Return a socket to one of the host's addresses; all of them together get `connect_seconds`.

    The very addresses that `resolve` has judged are connected to: there is no second look-up that could differ.
    """
    ends_at = time.monotonic() + deadline.wait_seconds(deadline.connect_seconds)
    addresses = resolve(host, port, ends_at - time.monotonic())
    failure: OSError = OSError("the name has no address")
    for index, address in enumerate(addresses):
        share = (ends_at - time.monotonic()) / (len(addresses) - index)
        if share <= 0:
            raise TimeoutError("the time to connect is up")
        sock = _PlainSocket(socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET)
        sock.deadline = deadline
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(share)
            sock.connect((address, port))
        except OSError as error:
            sock.close()
            failure = error
            continue
        sock.settimeout(max(ends_at - time.monotonic(), 0.01))  # what the TLS handshake may still take
        return sock
    raise failure


def resolve_anywhere(host: str, port: int, seconds: float) -> list[str]:
    """Return every address of `host`. Raises OSError where there is none, TimeoutError where nobody knows in time."""
    with suppress(ValueError):
        return [str(ip_address(host.strip("[]")))]
    found: list[str] = []
    failures: list[OSError] = []

    def look_up() -> None:
        try:
            for *_rest, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
                if (text := str(address[0]).partition("%")[0]) not in found:
                    found.append(text)
        except UnicodeError:
            failures.append(OSError("not a host name"))
        except OSError as error:
            failures.append(error)

    # getaddrinfo knows no timeout; a resolver that is away may take half a minute.
    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError("the name server does not answer")
    if failures:
        raise failures[0]
    return found


@cache
def _tls_context() -> ssl.SSLContext:
    """Return one context for all calls: reading the certificate authorities takes longer than a call to a near neighbour."""
    context = create_urllib3_context()
    context.load_default_certs()  # also what SSL_CERT_FILE names: an operator's own authority
    context.load_verify_locations(certifi.where())
    context.verify_mode = ssl.CERT_REQUIRED
    context.check_hostname = True
    context.sslsocket_class = _TLSSocket
    return context


class Adapter(HTTPAdapter):
    """Sends the requests of one call. Used without a `Session`: that would read a redirect's body, however long."""

    def __init__(self, deadline: Deadline, resolve: Resolve) -> None:
        self.deadline, self.resolve = deadline, resolve
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def get_connection_with_tls_context(self, *arguments: Any, **options: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*arguments, **options)
        is_tls = pool.scheme == "https"
        kind = partial(_TLSConnection, ssl_context=_tls_context()) if is_tls else _Connection
        pool.ConnectionCls = partial(kind, deadline=self.deadline, resolve=self.resolve)
        return pool

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Nothing to set up per connection: the context knows the authorities and always verifies."""
