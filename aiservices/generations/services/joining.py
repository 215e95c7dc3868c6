"""Joining what an earlier call began: by its idempotency key, or because a client repeats a request by itself."""

import time

from django.conf import settings

from aiservices.errors import Interrupted, LeaseLost
from aiservices.generations import client_retries as retries
from aiservices.generations.leases import is_abandoned
from aiservices.generations.models import Generation
from aiservices.generations.requests import GenerationRequest, generations_of
from aiservices.generations.unfinished import recover
from billing.ledger.posting import database_now
from tenants.principal import Principal
from waule.core.db import connection_pool
from waule.core.errors import IdempotencyKeyReused, Unavailable

State = Generation.State
WAIT_STEPS_SECONDS = (0.02, 0.05, 0.1, 0.2, 0.4)  # between two looks at a row that somebody else works on
WAIT_MARGIN_SECONDS = 60
READ = ("model", "hold", "charge")


class Abandoned(Exception):
    """The first call died before anything was made: its key is free again."""


def first_of_key(caller: Principal, request: GenerationRequest, idempotency_key: str, request_hash: str) -> Generation | None:
    """Return what an earlier call with this key made, when it can be answered with. None: the key is free.

    Raises:
        IdempotencyKeyReused. Unavailable: it takes too long.
    """
    first = (
        Generation.objects.filter(generations_of(caller), type=request.type, idempotency_key=idempotency_key)
        .select_related(*READ)
        .first()
    )
    if first is None:
        return None
    if first.fingerprint != request_hash:
        raise IdempotencyKeyReused
    try:
        return wait_for(first, until_over=request.type == Generation.Type.IMAGE)
    except Abandoned:
        return None


def wait_for(generation: Generation, *, until_over: bool = True) -> Generation:
    """Return the generation when it is over (or at least admitted). One whose worker has gone is settled here.

    Raises:
        Unavailable: it takes longer than a call may. Abandoned.
    """
    deadline = time.monotonic() + settings.UPSTREAM_TOTAL_SECONDS + WAIT_MARGIN_SECONDS
    looks = 0
    while True:
        found = Generation.objects.select_related(*READ).filter(id=generation.id).first()
        if found is None:
            raise Abandoned  # it was refused after all
        if found.is_over or (not until_over and found.state != State.NEW):
            return found
        if is_abandoned(found, database_now()) and (until_over or found.state == State.NEW):
            _settle(found)
            continue
        if time.monotonic() > deadline:
            raise Unavailable
        connection_pool.release_connection()
        time.sleep(WAIT_STEPS_SECONDS[min(looks, len(WAIT_STEPS_SECONDS) - 1)])
        looks += 1


def join(caller: Principal, type: Generation.Type, request_hash: str, retry: int) -> tuple[Generation | None, str]:
    """Return the generation that a client's retry asks for again, when it can be answered with; else the key to begin it by.

    Raises:
        Unavailable: it takes too long.
    """
    first = retries.equal_undelivered(caller, type, request_hash, retry)
    if first is None:
        return None, retries.key_of_window(caller, request_hash)
    key = retries.key_after(first)
    try:
        found = wait_for(first, until_over=type == Generation.Type.IMAGE)
    except Abandoned:
        return None, key
    return (None, key) if found.error_code == Interrupted.code else (found, key)


def _settle(abandoned: Generation) -> None:
    """Raises Abandoned where it turns out that nothing was made."""
    try:
        recover(abandoned)
    except LeaseLost:
        return
    if abandoned.state in (State.NEW, State.FAILED):
        raise Abandoned
