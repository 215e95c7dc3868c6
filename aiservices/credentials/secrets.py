"""What a credential's secrets may be, what a token says of itself, and what of them may be shown."""

import base64
import binascii
import json
import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from django.utils.translation import gettext_lazy as _

from aiservices.credentials.models import Row, SoraToken
from waule.core.crypto.encryption import Secret
from waule.core.errors import InvalidRequest
from waule.core.logs import HIDDEN, redact_text

MAX_SECRET_LENGTH = 8192
MIN_SECRET_LENGTH = 4

_SECRET = re.compile(rf"[\x21-\x7e]{{{MIN_SECRET_LENGTH},{MAX_SECRET_LENGTH}}}")
PROXY_SCHEMES = {"http", "https", "socks5", "socks5h"}


def hidden(text: str, row: Row) -> str:
    """`text` of an upstream without the secrets of `row`, should it repeat them."""
    secrets: list[Secret] = [row.secret]
    if isinstance(row, SoraToken):
        secrets += [row.session_token, row.refresh_token, row.proxy_url, Secret(_password_of(row.proxy_url))]
    for secret in secrets:
        if secret and secret.is_readable:
            text = text.replace(secret.reveal(), HIDDEN)
    return redact_text(text)


def _password_of(url: Secret) -> str:
    try:
        return unquote(urlsplit(url.reveal()).password or "") if url and url.is_readable else ""
    except ValueError:
        return ""


def shown_url(url: Secret) -> str:
    """Return a proxy's address without the account that may be in it."""
    if not url.is_readable:
        return str(url)
    try:
        parts = urlsplit(url.reveal())
        return parts._replace(netloc=f"…@{parts.netloc.rpartition('@')[2]}" if "@" in parts.netloc else parts.netloc).geturl()
    except ValueError:
        return "…"


def check_proxy_url(text: str) -> str:
    """`text` without the spaces around it: the address of a proxy, or none. The Sora service calls it, not waule: it may be
    a name that only its network knows.

    Raises:
        InvalidRequest: it can be no proxy's.
    """
    url = text.strip()
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in PROXY_SCHEMES and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        is_usable = False
    if url and (not is_usable or not url.isascii() or not url.isprintable() or " " in url):
        raise InvalidRequest.of_field("proxy_url", _("Send an address such as http://proxy:8080 or socks5://proxy:1080."))
    return url


def check_secret(text: str, name: str = "secret") -> str:
    """`text` without the spaces around it. Raises InvalidRequest for what can be no credential."""
    found = text.strip()
    if not _SECRET.fullmatch(found):
        raise InvalidRequest.of_field(name, _("Send 4 to 8192 printable ASCII characters without spaces."))
    return found


def claims(token: str) -> dict[str, Any]:
    """Return what a JSON Web Token says about itself, unverified; empty for what is none."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        read = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return {}
    return read if isinstance(read, dict) else {}


def email_of(token: str) -> str:
    """Return the e-mail address in a Sora access token, or an empty text."""
    found = claims(token)
    profile = found.get("https://api.openai.com/profile")
    for place in (found, profile if isinstance(profile, dict) else {}):
        email = place.get("email")
        if isinstance(email, str) and re.fullmatch(r"[^@\s\0]+@[^@\s\0]+", email) and len(email) <= 254:
            return email
    return ""


def expiry_of(token: str) -> datetime | None:
    """When an access token says that it expires."""
    timestamp = claims(token).get("exp")
    if isinstance(timestamp, bool) or not isinstance(timestamp, int | float) or not 0 < timestamp < 32503680000:
        return None
    return datetime.fromtimestamp(timestamp, UTC)
