"""Results that were made and could not be fetched or stored: kept in the database, and delivered when they can be.

An address is tried again for FETCH_HOURS, less and less often (`recovery.store_pending`): no provider is known to keep its
files for less time than a few tries take, and most delete them after a day. Bytes that wait for storage do not grow old.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog
from django.conf import settings
from django.db.models import Q

from aiservices.generations.leases import change
from aiservices.generations.models import Generation, PendingResult
from aiservices.generations.providers.base import Output, ProviderResult
from billing.ledger.posting import database_now
from waule.core.db.transactions import retry_transient

WAITS_FOR_STORAGE, NOT_FETCHED = "waits_for_storage", "not_fetched"
FLAGS = frozenset({WAITS_FOR_STORAGE, NOT_FETCHED})
FETCH_HOURS = 24
MAX_KEPT_BYTES = 48 << 20  # of one result; what is larger has to be asked for again
logger = structlog.get_logger(__name__)


def fetch_hours() -> float:
    """Return how long an address is tried: until its credits are given back at the latest."""
    return min(FETCH_HOURS, float(settings.UNKNOWN_RELEASE_HOURS) or FETCH_HOURS)


def can_be_had() -> Q:
    """Generations with a result whose bytes are here, or whose address is young enough to be tried."""
    young = database_now() - timedelta(hours=fetch_hours())
    return Q(pending_results__url="") | Q(pending_results__created_at__gte=young)


def keep(generation: Generation, outputs: tuple[Output, ...], *, flag: str) -> None:
    """Keep addresses, and files that came with the answer; `flag` says what they wait for. Repeated, it keeps the same.

    Raises:
        LeaseLost.
    """
    for number, output in enumerate(outputs):
        values = _values(output)
        if values is None:
            logger.error("result_not_kept", generation=str(generation.id), number=number)
            continue
        retry_transient(
            lambda number=number, values=values: PendingResult.objects.get_or_create(  # type: ignore[misc]
                generation=generation, number=number, defaults=values
            )
        )
    if flag not in generation.flags:
        others = [each for each in generation.flags if each not in FLAGS]
        retry_transient(lambda: change(generation, flags=[*others, flag]))


def _values(output: Output) -> dict[str, Any] | None:
    data: bytes | None = None
    if not output.url:
        data = output.data or _read(output.path)
        if not data or len(data) > MAX_KEPT_BYTES:
            return None
    return {
        "url": output.url,
        "is_from_own_address": output.is_from_own_address,
        "data": data,
        "content_type": output.content_type,
        "duration": output.duration,
        "revised_prompt": output.revised_prompt,
    }


def _read(path: Path | None) -> bytes | None:
    try:
        return path.read_bytes() if path is not None and path.stat().st_size <= MAX_KEPT_BYTES else None
    except OSError:
        return None


def result_of(generation: Generation) -> ProviderResult | None:
    """Return what was kept, as its provider made it; None where there is nothing."""
    rows = PendingResult.objects.filter(generation=generation).order_by("number")
    outputs = tuple(
        Output(
            url=row.url,
            is_from_own_address=row.is_from_own_address,
            data=bytes(row.data or b""),
            content_type=row.content_type,
            duration=row.duration,
            revised_prompt=row.revised_prompt,
        )
        for row in rows
    )
    return ProviderResult(outputs, upstream_id=generation.upstream_id) if outputs else None


def forget(generation: Generation) -> None:
    """It has ended: nothing of it has to be kept."""
    PendingResult.objects.filter(generation=generation).delete()
