"""Where settings come from: the process environment, then the `.env` file beside manage.py.

References are not followed. (django-environ would take a value that begins with `$` for the name of another variable,
and a random secret may well begin so.)
"""

import os
import re
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import environ
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parents[2]

QUOTES = ('"', "'")
MAIL_SCHEMES = ("smtp", "smtps", "smtp+tls", "smtp+ssl")
_COMMENT = re.compile(r"(?:^|\s+)#.*")
_QUOTED_ENTRIES = re.compile(r"""(?:"[^"',#]*"|'[^"',#]*')(?:\s*,\s*(?:"[^"',#]*"|'[^"',#]*'))+(?:\s+#.*)?""")

env = environ.Env()
environ.Env.read_env(os.environ.get("WAULE_ENV_FILE", BASE_DIR / ".env"))


def text(name: str, default: str = "") -> str:
    """Return the value of a setting, without what people paste around it: blanks, quotes, and a comment after ` #`.

    (Docker's `--env-file` and systemd keep some of these, shells and dotenv files do not.)
    """
    return _cleaned(name, os.environ.get(name, "")) or default


def _cleaned(name: str, value: str) -> str:
    value = value.strip()
    if not value.isprintable():
        raise ImproperlyConfigured(f"{name} contains a line break or another character that cannot be seen.")
    if value[:1] in QUOTES:
        content, closing, after = value[1:].partition(value[0])
        if not closing or _COMMENT.sub("", after).strip():
            raise ImproperlyConfigured(f"{name} has a quote at its start that is not closed at its end.")
        return content.strip()
    value = _COMMENT.sub("", value)
    if value[-1:] in QUOTES and value.count(value[-1]) % 2:
        raise ImproperlyConfigured(f"{name} has a quote at its end that is not opened at its start.")
    return value


def texts(name: str) -> list[str]:
    """Return a comma-separated list without empty entries and without the spaces and quotes around them."""
    value = os.environ.get(name, "").strip()
    if _QUOTED_ENTRIES.fullmatch(value):
        return [entry for part in _COMMENT.sub("", value).split(",") if (entry := _cleaned(name, part))]
    return [part.strip() for part in text(name).split(",") if part.strip()]


def url(name: str, default: str = "") -> str:
    """Return an http or https URL, without a slash at its end."""
    value = text(name, default)
    try:
        parts = urlsplit(value)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_url = False
    if value and (not is_url or " " in value):
        raise ImproperlyConfigured(f"{name} must be a URL that begins with http:// or https://.")
    return value.rstrip("/")


def time_zone(name: str, default: str) -> str:
    """Return the name of a time zone, such as Asia/Shanghai."""
    value = text(name, default)
    try:
        ZoneInfo(value)
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        raise ImproperlyConfigured(f"{name} must be the name of a time zone, such as Asia/Shanghai.") from None
    return value


def database(name: str, default: str) -> dict[str, Any]:
    """Django's settings of the database that a URL names. The URL may hold a password: it is never shown."""
    value = text(name, default)
    if not value.startswith(("sqlite://", "postgres://", "postgresql://")):
        raise ImproperlyConfigured(f"{name} must begin with sqlite:// or postgresql://.")
    try:
        parts = urlsplit(value)
        is_whole = "#" not in value and (parts.port or 1) > 0
        config: dict[str, Any] = env.db_url_config(value)
    except Exception:
        is_whole, config = False, {}
    if not is_whole or not config.get("NAME"):
        raise ImproperlyConfigured(
            f"{name} is not a database URL: postgresql://user:password@host:port/name (write # as %23, @ as %40, / as %2F)."
        )
    return config


def email(name: str) -> dict[str, Any]:
    """Django's settings of the mail server that a URL names; empty without one. A password in the URL is never shown."""
    value = text(name)
    if not value:
        return {}
    try:
        parts = urlsplit(value)
        is_whole = parts.scheme in MAIL_SCHEMES and bool(parts.hostname) and not (parts.path.strip("/") or parts.fragment)
        config: dict[str, Any] = env.email_url_config(value) if is_whole and (parts.port or 1) > 0 else {}
    except ValueError:
        config = {}
    if not config:
        raise ImproperlyConfigured(
            f"{name} is not the URL of a mail server: smtp://user:password@host:port, or smtp+tls:// or smtp+ssl:// "
            "(write # as %23, @ as %40, / as %2F)."
        )
    default_port = {"smtp": 25, "smtps": 587, "smtp+tls": 587, "smtp+ssl": 465}[parts.scheme]
    return config | {"EMAIL_PORT": parts.port or default_port}


def flag(name: str, default: bool = False) -> bool:
    value = text(name).lower()
    if not value:
        return default
    if value in {"true", "1", "yes", "on"}:
        return True
    if value in {"false", "0", "no", "off"}:
        return False
    raise ImproperlyConfigured(f"{name} must be true or false.")


def number(name: str, default: float, *, low: float, high: float) -> float:
    """Return a number between `low` and `high`, both included."""
    value = text(name)
    try:
        result = float(value) if value else default
    except ValueError:
        result = float("nan")
    if not low <= result <= high:
        raise ImproperlyConfigured(f"{name} must be a number from {low:g} to {high:g}.")
    return result


def decimal(name: str, default: str) -> Decimal:
    """Return a positive decimal number, exactly as it is written."""
    try:
        result = Decimal(text(name, default))
    except InvalidOperation:
        result = Decimal("NaN")
    if not (result.is_finite() and 0 < result <= 1_000_000):
        raise ImproperlyConfigured(f"{name} must be a decimal number above 0, such as {default}.")
    return result


def origins(name: str) -> list[str]:
    """Origins such as https://app.example.com, comma-separated."""
    found = texts(name)
    for origin in found:
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or origin != f"{parts.scheme}://{parts.netloc}" or "*" in origin:
            raise ImproperlyConfigured(f"{name} must hold origins without a path, such as https://app.example.com.")
    return found


def choice(name: str, default: str, allowed: tuple[str, ...]) -> str:
    value = text(name, default)
    if value not in allowed:
        raise ImproperlyConfigured(f"{name} must be one of: {', '.join(allowed)}.")
    return value


def secret(name: str, *, debug: bool) -> str:
    """Return a secret of at least 32 characters. With DEBUG off a missing or weak one stops the start; its value is not shown."""
    value = text(name)
    if debug:
        return value or f"insecure-{name.lower()}-of-a-development-machine-only"
    if len(value) < 32 or len(set(value)) < 8:
        raise ImproperlyConfigured(
            f"{name} is {'too weak' if value else 'missing'}: set it to a random text of at least 32 characters."
        )
    return value
