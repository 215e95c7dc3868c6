"""Which hosts may be fetched from, when the URL was named by a caller, a tenant or a provider.

The form of a URL is judged when it comes in. Its address is judged at the very moment of connecting, by the code that
then connects to exactly that address: a name server that changes its mind gains nothing.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import SplitResult, unquote, urlsplit

import requests
from django.conf import settings

from gateway_client.transport import resolve_anywhere
from waule.core.errors import NotConfigured

MAX_URL_LENGTH = 4096

# Everything in IPv4 that is not public unicast (IANA's special-purpose registry), and two addresses of clouds' own
# metadata services that lie outside it. Python's `is_private` misses several of these.
FORBIDDEN_V4 = (
    "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 "
    "192.31.196.0/24 192.52.193.0/24 192.88.99.0/24 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 "
    "203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 100.100.100.200/32 168.63.129.16/32"
)
# In IPv6 only 2000::/3 is public unicast; within it these carry an IPv4 address, a tunnel, or a mere example.
PUBLIC_V6 = ip_network("2000::/3")
FORBIDDEN_V6 = "2001::/23 2001:db8::/32 2002::/16 2620:4f:8000::/48 3fff::/20"
_FORBIDDEN = [ip_network(text) for text in f"{FORBIDDEN_V4} {FORBIDDEN_V6}".split()]


NOT_PUBLIC = "The URL leads to an address that is not public."


class Forbidden(Exception):
    """This URL or address may not be fetched. The text says why, and never repeats the URL."""


def is_public(address: str) -> bool:
    """Return whether an IP address is public unicast."""
    ip = ip_address(address)
    return (ip.version == 4 or ip in PUBLIC_V6) and not any(ip in network for network in _FORBIDDEN)


@dataclass(frozen=True)
class Allowed:
    """One entry of OUTBOUND_ALLOW: a host name, or a network (an address is the network of itself), and perhaps a port."""

    host: str = ""
    network: IPv4Network | IPv6Network | None = None
    port: int | None = None

    def has_name(self, host: str, port: int) -> bool:
        return bool(self.host) and self.host == host and self.port in {None, port}

    def has_address(self, address: IPv4Address | IPv6Address, port: int) -> bool:
        return self.network is not None and address in self.network and self.port in {None, port}


_ENTRY = re.compile(r"(?:\[(?P<v6>[^]]+)\]|(?P<bare>[^:]+))(?::(?P<port>[0-9]{1,5}))?")


def parse_allowed(entry: str) -> Allowed:
    """Return what an entry of OUTBOUND_ALLOW allows: `name`, `10.0.0.0/8`, `::1`, each with `:port`; `[fd00::/8]:80`.

    Raises NotConfigured, naming the setting, for what is none of these.
    """
    try:
        return Allowed(network=ip_network(entry, strict=False))
    except ValueError:
        match = _ENTRY.fullmatch(entry)
    port = int(match["port"]) if match and match["port"] else None
    if match is None or (port is not None and not 0 < port < 65536):
        raise NotConfigured(reason="OUTBOUND_ALLOW")
    text = match["v6"] or match["bare"]
    try:
        return Allowed(network=ip_network(text, strict=False), port=port)
    except ValueError:
        if match["v6"] or not re.fullmatch(r"[A-Za-z0-9._-]+", text) or _ends_in_a_number(text):
            raise NotConfigured(reason="OUTBOUND_ALLOW") from None
    return Allowed(host=text.lower().rstrip("."), port=port)


def _ends_in_a_number(host: str) -> bool:
    """Return whether some reader would take `host` for an IPv4 address: `2130706433`, `0x7f.1`, `127.1`, `0177.0.0.1`."""
    last = host.rstrip(".").rpartition(".")[2]
    return last.isdigit() or re.fullmatch(r"0[xX][0-9a-fA-F]*", last) is not None


@dataclass(frozen=True)
class Rules:
    """Judges URLs and addresses. `resolve` is how names become addresses."""

    allowed: tuple[Allowed, ...] = ()
    resolve: Callable[[str, int, float], Sequence[str]] = resolve_anywhere

    def check_form(self, url: str) -> str:
        """Return the URL as it will be sent (ASCII). Raises Forbidden: not http(s), a user in it, an odd spelling of a host."""
        if len(url) > MAX_URL_LENGTH or re.search(r"[\0-\x20\x7f\\]", url):
            raise Forbidden("The URL is too long, or has spaces, backslashes or control characters.")
        if not re.match(r"(?i)https?://", url):
            raise Forbidden("The URL does not begin with http:// or https://.")
        try:
            given = urlsplit(url)
            has_port_0 = given.port == 0  # which `requests` would take for no port at all
            prepared = requests.Request("GET", url).prepare().url or ""
            host, _port = _host_of(urlsplit(prepared))
        except (ValueError, requests.RequestException):
            raise Forbidden("The URL is not well formed.") from None
        if "@" in given.netloc or "@" in urlsplit(prepared).netloc:
            raise Forbidden("The URL has a user name in it.")
        if has_port_0 or not host or host.endswith(".") or "%" in host:
            raise Forbidden("The URL's host or port is not a usable one.")
        try:
            if ":" in host:
                IPv6Address(host)
            elif _ends_in_a_number(host):
                IPv4Address(host)  # refuses leading zeros, hexadecimal, and fewer than four parts
        except ValueError:
            raise Forbidden("The URL's host is an odd spelling of an address.") from None
        return prepared

    def check(self, url: str, *, seconds: float = 5) -> str:
        """Form and address of what somebody else has named, now or to be used later. Connects to nothing.

        A name without an address is refused in the words for one that is not public: the answer does not tell which names
        there are. A name that OUTBOUND_ALLOW has is not looked up.

        Raises:
            Forbidden.
        """
        checked = self.check_form(url)
        host, port = _host_of(urlsplit(checked))
        if any(entry.has_name(host.strip("[]").lower().rstrip("."), port) for entry in self.allowed):
            return checked
        try:
            self.addresses(host, port, seconds)
        except OSError:
            raise Forbidden(NOT_PUBLIC) from None
        return checked

    def addresses(self, host: str, port: int, seconds: float) -> list[str]:
        """Return the addresses of `host` that may be connected to: all of them, or Forbidden is raised."""
        name = host.strip("[]").lower().rstrip(".")
        found = list(self.resolve(host, port, seconds))
        if any(entry.has_name(name, port) for entry in self.allowed):
            return found
        for address in found:
            ip = ip_address(address)
            if not is_public(address) and not any(entry.has_address(ip, port) for entry in self.allowed):
                raise Forbidden(NOT_PUBLIC)
        return found


def check_place(url: str) -> None:
    """Reject a URL to which names of files cannot be appended: with a query, a fragment, or dots that lead elsewhere.

    Raises:
        Forbidden.
    """
    path = url.partition("://")[2].partition("/")[2]
    if re.search(r"[?#;]", url) or {".", ".."} & set(unquote(path).split("/")):
        raise Forbidden("The URL has a query, a fragment or dots in its path.")


def _host_of(parts: SplitResult) -> tuple[str, int]:
    return parts.hostname or "", parts.port if parts.port is not None else 443 if parts.scheme == "https" else 80


def rules() -> Rules:
    """Return the rules of this installation."""
    return Rules(_allowed(tuple(settings.OUTBOUND_ALLOW)))


def with_own(url: str) -> Rules:
    """Return the rules of this installation, which also allow the address of `url`: one that an operator configured."""
    host, port = _host_of(urlsplit(url))
    return Rules((*rules().allowed, Allowed(host=host.strip("[]").lower(), port=port)))


@lru_cache(maxsize=8)
def _allowed(entries: tuple[str, ...]) -> tuple[Allowed, ...]:
    return tuple(parse_allowed(entry) for entry in entries)
