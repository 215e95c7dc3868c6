"""Credentials whose secret this process cannot open. Another process may: one with a newer list of keys has sealed it.

So nothing is written about them in the database; this process alone passes them by, for a minute.
"""

import time
from typing import Any
from uuid import UUID

SKIP_SECONDS = 60.0
MAX_SKIPPED = 200  # credentials that are passed by at the same time

_until: dict[tuple[str, UUID], float] = {}  # by provider and id, on the monotonic clock


def skip(provider: str, credential_id: UUID) -> None:
    """Pass this credential by from now on."""
    now = time.monotonic()
    for key in [key for key, end in _until.items() if end <= now]:
        _until.pop(key, None)
    if len(_until) < MAX_SKIPPED:
        _until[provider, credential_id] = now + SKIP_SECONDS


def skipped(provider: str) -> list[UUID]:
    """Return the credentials of `provider` that are passed by now."""
    now = time.monotonic()
    return [key[1] for key, end in list(_until.items()) if key[0] == provider and end > now]


def forget() -> None:
    """Look at all of them again."""
    _until.clear()


def names(count: int) -> list[str]:
    """Return the parameters of `condition`, by name."""
    return [f"skip{number}" for number in range(count)]


def condition(count: int) -> str:
    """SQL that leaves out so many credentials, whose ids are the parameters of `parameters`."""
    return "".join(f"\n    AND id <> %({name})s" for name in names(count))


def parameters(ids: list[UUID]) -> dict[str, Any]:
    return dict(zip(names(len(ids)), ids, strict=True))
