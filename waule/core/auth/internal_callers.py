"""Who may call `/internal`: the gateway by INTERNAL_SECRET, others by INTERNAL_CALLERS, each with its scopes."""

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Any, ClassVar

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

SCOPES = ("billing", "tenants", "secrets", "storage", "credentials", "models", "health")
ALL_SCOPES = frozenset(SCOPES)
GATEWAY = "gateway"
RESERVED = frozenset({GATEWAY, "command", "worker", "system"})
MINIMUM_LENGTH = 32
MINIMUM_DISTINCT = 6  # different characters
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


@dataclass(frozen=True, slots=True)
class Program:
    """A program that knows a secret, as REST framework's user. `name` is the actor in ledger and audit log."""

    name: str
    scopes: frozenset[str]

    is_authenticated: ClassVar = False  # it is nobody who has logged in

    def __str__(self) -> str:
        return self.name


def is_strong(secret: str) -> bool:
    """Return whether a secret is long and varied enough to open the internal API."""
    return len(secret) >= MINIMUM_LENGTH and len(set(secret)) >= MINIMUM_DISTINCT


def parse_callers(entries: list[str]) -> list[tuple[str, str, frozenset[str]]]:
    """Return name, secret and scopes of each `name:secret[:scope+scope]`. A name may come twice, while its secret rotates.

    Raises:
        ImproperlyConfigured: an entry is malformed; the message names the caller or its position, never the secret.
    """
    callers: list[tuple[str, str, frozenset[str]]] = []
    for number, entry in enumerate(entries, 1):
        name, *rest = (part.strip() for part in entry.split(":"))
        if not _NAME.fullmatch(name) or name in RESERVED:
            raise _problem(f"entry {number}: a name is 1 to 32 of a-z, 0-9, - and _, and none of {', '.join(sorted(RESERVED))}")
        if not 1 <= len(rest) <= 2:
            raise _problem(f"entry {number} ({name}): write name:secret or name:secret:scope+scope")
        secret = rest[0]
        if not is_strong(secret):
            raise _problem(f"the secret of {name} is too weak: use a random text of at least {MINIMUM_LENGTH} characters")
        scopes = frozenset(scope.strip() for scope in rest[1].split("+")) if len(rest) == 2 else ALL_SCOPES
        if not scopes <= ALL_SCOPES:
            raise _problem(f"{name} has a scope that there is not; there are {', '.join(SCOPES)}")
        if any(hmac.compare_digest(secret.encode(), other.encode()) for _name, other, _scopes in callers):
            raise _problem(f"the secret of {name} is another caller's too")
        callers.append((name, secret, scopes))
    return callers


def _problem(text: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"INTERNAL_CALLERS is not valid: {text}.")


class _Known:
    """The digests of all secrets, made when they are first needed."""

    digests: list[tuple[bytes, Program]] | None = None


def known_callers() -> list[tuple[bytes, Program]]:
    """Return the SHA-256 of each secret that opens the internal API, with whose it is."""
    if _Known.digests is None:
        gateway = Program(GATEWAY, ALL_SCOPES)
        secrets = [
            (secret, gateway) for secret in (settings.INTERNAL_SECRET, settings.INTERNAL_SECRET_PREVIOUS) if is_strong(secret)
        ]
        secrets += [(secret, Program(name, scopes)) for name, secret, scopes in settings.INTERNAL_CALLERS]
        _Known.digests = [(hashlib.sha256(secret.encode()).digest(), caller) for secret, caller in secrets]
    return _Known.digests


def caller_of(sent: str | None) -> Program | None:
    """Return whose secret `sent` is, None if nobody's. Digests are compared in constant time, every one of them."""
    if not sent:
        return None
    digest = hashlib.sha256(sent.encode("latin-1", "replace")).digest()  # WSGI hands header bytes over as Latin-1
    found = None
    for known, caller in known_callers():
        if hmac.compare_digest(digest, known):
            found = caller
    return found


def _forget(setting: str, **_kwargs: Any) -> None:
    if setting.startswith("INTERNAL_"):
        _Known.digests = None


setting_changed.connect(_forget)
