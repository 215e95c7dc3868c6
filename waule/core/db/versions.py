"""Versions of rows: short keyed digests of their values, by which whoever changes a row says which one they have read."""

import json
from collections.abc import Iterable
from datetime import date, datetime
from typing import Any

from django.conf import settings
from django.db import models
from django.utils.crypto import constant_time_compare, salted_hmac

from waule.core.crypto.encryption import Secret
from waule.core.errors import Conflict

DIGEST_LENGTH = 24  # hexadecimal digits
_SALT = "waule.row-version"


def digest(value: Any) -> str:
    """Return a digest of one value. It is keyed: that of a secret does not help to guess it."""
    text = json.dumps(_plain(value), sort_keys=True, default=str)
    return salted_hmac(_SALT, text, settings.LOOKUP_KEY, algorithm="sha256").hexdigest()[:DIGEST_LENGTH]


def version_of(row: models.Model, names: Iterable[str]) -> str:
    """Return the version of `row`, as far as the fields `names` go."""
    return digest({name: getattr(row, name) for name in sorted(names)})


def check_version(expected: str | None, row: models.Model, names: Iterable[str]) -> None:
    """Reject to change a row, locked by now, that has changed since it was read as version `expected`.

    Raises:
        Conflict.
    """
    current = version_of(row, names)
    if expected is not None and not constant_time_compare(expected, current):
        raise Conflict(version=current)


def _plain(value: Any) -> Any:
    """Return the same for equal values, however they were made."""
    if isinstance(value, Secret):
        return value.reveal() if value.is_readable else (value.sealed or b"").hex()
    if isinstance(value, models.Model):
        return str(value.pk)
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, models.QuerySet | set | frozenset):
        return sorted(str(_plain(each)) for each in value)
    if isinstance(value, list | tuple):
        plain = [_plain(each) for each in value]
        return sorted(plain) if any(isinstance(each, models.Model) for each in value) else plain
    if isinstance(value, datetime):
        return f"{value.timestamp():.6f}"
    if isinstance(value, date):
        return value.isoformat()
    return value if value is None or isinstance(value, bool | int | str) else str(value)
