"""Secrets at rest: sealed with authenticated encryption under rotatable keys, found again by a keyed hash.

`EncryptedTextField` stands on django-cryptography's `EncryptedMixin`, but seals JSON with Fernet keys of our own
(`ENCRYPTION_KEYS`, newest first: the newest writes, all of them read), so that neither SECRET_KEY nor pickle is involved.
"""

import hashlib
import hmac
import json
from functools import lru_cache
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _
from django_cryptography.fields import EncryptedMixin

from waule.errors import NotConfigured


class SecretUnreadable(NotConfigured):
    """503: a stored secret was sealed with a key that `ENCRYPTION_KEYS` no longer has."""

    message = _(
        "A stored secret cannot be decrypted: its key is missing from ENCRYPTION_KEYS. "
        "Put the key back or enter the secret again."
    )


class Unreadable:
    """Stands where a secret that no key opens should be. Saving it writes the sealed bytes back as they were."""

    def __init__(self, sealed: bytes) -> None:
        self.sealed = sealed

    def __str__(self) -> str:
        return str(_("cannot be decrypted"))

    __repr__ = __str__


@lru_cache(maxsize=4)
def _keyring(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key.encode()) for key in keys])


def seal(value: Any) -> bytes:
    """`value` (anything JSON can spell) sealed under the newest key."""
    return _keyring(tuple(settings.ENCRYPTION_KEYS)).encrypt(json.dumps(value).encode())


def open_sealed(sealed: bytes) -> Any:
    """What `seal` was given; an `Unreadable` if no key opens it."""
    try:
        return json.loads(_keyring(tuple(settings.ENCRYPTION_KEYS)).decrypt(sealed))
    except InvalidToken:
        return Unreadable(sealed)


def is_sealed_by_newest_key(sealed: bytes) -> bool:
    try:
        Fernet(settings.ENCRYPTION_KEYS[0].encode()).decrypt(sealed)
    except InvalidToken:
        return False
    return True


class EncryptedTextField(EncryptedMixin, models.TextField):
    """A text sealed in the row. Cannot be searched or sorted by: keep a `keyed_hash` beside it where that is needed."""

    base_class = models.TextField
    wasinstance = False

    def _dump(self, value: Any) -> bytes:
        return value.sealed if isinstance(value, Unreadable) else seal(value)

    def _load(self, value: bytes) -> Any:
        return open_sealed(value)

    def to_python(self, value: Any) -> Any:
        return value if isinstance(value, Unreadable) else models.TextField.to_python(self, value)

    def value_to_string(self, obj: models.Model) -> str:
        """Dumps and fixtures never carry a secret, sealed or not."""
        return ""

    def deconstruct(self) -> tuple[str, str, Any, Any]:
        name, _path, args, kwargs = models.TextField.deconstruct(self)
        return name, "waule.encryption.EncryptedTextField", args, kwargs

    def clone(self) -> "EncryptedTextField":
        _name, _path, args, kwargs = self.deconstruct()
        return EncryptedTextField(*args, **kwargs)


def reveal(value: str | Unreadable) -> str:
    """The secret, for the one place that uses it.

    Raises:
        SecretUnreadable: it was sealed with a key that is gone.
    """
    if isinstance(value, Unreadable):
        raise SecretUnreadable
    return value


def mask(value: str | Unreadable) -> str:
    """How a secret is shown: its last four characters (none of a short one)."""
    if isinstance(value, Unreadable):
        return str(value)
    if not value:
        return ""
    return f"…{value[-4:]}" if len(value) >= 12 else "…"


def keyed_hash(value: str) -> str:
    """64 hex digits by which a secret is found without opening it (HMAC-SHA256 with `LOOKUP_KEY`)."""
    return hmac.new(settings.LOOKUP_KEY.encode(), value.encode(), hashlib.sha256).hexdigest()
