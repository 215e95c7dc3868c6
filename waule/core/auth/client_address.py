"""The address of the client, the same for lockout, audit log, metrics, log lines and limits."""

from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any, Protocol

from django.conf import settings


class HasMeta(Protocol):
    """A request of Django or of REST framework."""

    @property
    def META(self) -> Any: ...


def client_address(request: HasMeta) -> str:
    """Return the client's IP address in its canonical form, "" where the server knows none.

    With TRUST_PROXY_HEADERS it is the entry of `X-Forwarded-For` that the outermost of TRUSTED_PROXY_COUNT proxies
    added: counted from the right, since everything left of it was written by the client. A header with fewer entries,
    or one whose entry is not an address, did not pass through these proxies: then the peer's address counts.
    """
    return address_of(request.META)


def address_of(environ: dict[str, Any]) -> str:
    """As `client_address`, of a WSGI environment."""
    if settings.TRUST_PROXY_HEADERS and (header := environ.get("HTTP_X_FORWARDED_FOR")):
        entries = header.split(",")
        if len(entries) >= settings.TRUSTED_PROXY_COUNT and (
            forwarded := _canonical(entries[-settings.TRUSTED_PROXY_COUNT].strip())
        ):
            return forwarded
    peer = str(environ.get("REMOTE_ADDR") or "")
    return _canonical(peer) or peer[:64]


def address_group(address: str) -> str:
    """Return what limits per address count by: the address, or the /64 network of an IPv6 address (one subscriber's)."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    return str(ip_network((parsed, 64), strict=False)) if parsed.version == 6 and not parsed.is_loopback else address


def _canonical(text: str) -> str:
    """Return the address that `text` spells, with or without a port; "" if it spells none."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return str(address)
