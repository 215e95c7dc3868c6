"""Verbs that are repeated with their key answer as they did the first time."""

from collections.abc import Callable
from typing import TypeVar

from django.db import IntegrityError

from billing.ledger.models import Charge, Hold
from waule.core.errors import IdempotencyKeyReused, WauleError

R = TypeVar("R")
U = TypeVar("U", Charge, Hold)


def first_of_key(kind: type[U], account_id: int, idempotency_key: str | None, request_hash: str) -> U | None:
    """Return what an earlier call with this key made.

    Raises:
        IdempotencyKeyReused: that call had another body.
    """
    if idempotency_key is None:
        return None
    first = kind._default_manager.filter(account_id=account_id, idempotency_key=idempotency_key).first()
    if first is not None and first.fingerprint != request_hash:
        raise IdempotencyKeyReused
    return first


def once(take: Callable[[], R], replay: Callable[[], R | None]) -> R:
    """`take`, a whole transaction; if it is refused or its key is taken, the first call's answer, if there was one.

    A replay is looked for when something says no, before the rejection is answered: the replay of the charge that spent the last
    credit must not be answered 402. Callers with one key at once meet at the account's lock or at the unique constraint.
    """
    try:
        return take()
    except (WauleError, IntegrityError):
        if (earlier := replay()) is not None:
            return earlier
        raise
