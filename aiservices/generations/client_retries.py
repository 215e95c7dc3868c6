"""Requests that a client repeats by itself, after a timeout or a lost connection: they are no second order.

OpenAI's clients send no idempotency key then, but say for the how manieth time they ask (`X-Stainless-Retry-Count`). Such
a repetition joins an equal request of the same key, begun in the last JOIN_WINDOW, whose answer was not delivered.
"""

from datetime import timedelta

from django.db.models import Q

from aiservices.generations.models import Generation
from aiservices.generations.requests import generations_of
from billing.ledger.posting import database_now
from tenants.principal import Principal
from waule.core.db.transactions import retried
from waule.core.ids import uuid7_floor

JOIN_WINDOW = timedelta(minutes=10)
MAX_CANDIDATES = 50
OWN_KEY = " retry:"  # begins keys of ours: a caller's key has no space at its ends
State = Generation.State


def equal_undelivered(caller: Principal, type: Generation.Type, request_hash: str, retry: int) -> Generation | None:
    """Return the equal request that this repetition belongs to; each repetition of several equal ones gets its own."""
    since = database_now() - JOIN_WINDOW
    rows = Generation.objects.filter(
        Q(idempotency_key__isnull=True) | Q(idempotency_key__startswith=OWN_KEY),
        generations_of(caller),
        type=type,
        api_key_id=caller.api_key_id,
        fingerprint=request_hash,
        id__gte=uuid7_floor(since),
        created_at__gte=since,
        delivered_at__isnull=True,
        client_retries__lte=retry,
    ).exclude(state__in=[State.FAILED, State.CANCELED])
    candidates = list(rows.order_by("-id")[:MAX_CANDIDATES])
    # First those that were last asked for by the repetition before this one, the oldest of them first.
    for found in sorted(candidates, key=lambda row: (abs(row.client_retries - (retry - 1)), row.id)):
        if found.client_retries == retry or _claim(found, retry):
            return found
    return None


@retried
def _claim(found: Generation, retry: int) -> bool:
    as_read = Generation.objects.filter(id=found.id, client_retries=found.client_retries)
    return bool(as_read.update(client_retries=retry))


def key_after(first: Generation) -> str:
    """Return the key of the one generation that takes the place of `first`, which came to nothing."""
    return f"{OWN_KEY}{first.id}"


def key_of_window(caller: Principal, request_hash: str) -> str:
    """Return the key of the one generation that repetitions begin whose first request never arrived."""
    window = int(database_now().timestamp() // JOIN_WINDOW.total_seconds())
    return f"{OWN_KEY}{caller.api_key_id}:{request_hash}:{window}"


def is_own_key(generation: Generation) -> bool:
    """Return whether its idempotency key is one of ours, not the caller's."""
    return bool(generation.idempotency_key) and str(generation.idempotency_key).startswith(OWN_KEY)


def wants_delivery(generation: Generation) -> bool:
    """Return whether it matters that its answer is delivered: it has no key of the caller's."""
    return generation.delivered_at is None and (generation.idempotency_key is None or is_own_key(generation))


@retried
def note_delivered(generation: Generation) -> None:
    """Note that a caller was there to take the answer: an equal request from now on is a new order."""
    rows = Generation.objects.filter(id=generation.id)
    rows.update(delivered_at=database_now(), **({"idempotency_key": None} if is_own_key(generation) else {}))
