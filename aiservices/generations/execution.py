"""Doing what a generation asks for: calling the provider, and what becomes of its answer or its silence.

No transaction is open and no database connection is kept while a provider works: it may take minutes, and the gateway
calls back meanwhile.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import structlog
from django.db import InterfaceError, OperationalError, connection
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from aiservices.errors import CredentialsExhausted, LeaseLost
from aiservices.generations import providers
from aiservices.generations.leases import change, heartbeat, note_called
from aiservices.generations.models import Generation, GenerationInput
from aiservices.generations.providers.base import Job, Output, ProviderResult
from aiservices.generations.settlement.outcomes import deliver, fail
from billing.catalog import pricing
from billing.catalog.availability import pause_model
from billing.ledger.posting import database_now
from gateway_client.errors import ModelGone, OutcomeTimedOut, OutcomeUnknown, UpstreamError
from storage import media
from tenants.principal import Principal
from waule.core import metrics, tracing
from waule.core.db import connection_pool
from waule.core.db.transactions import retry_transient
from waule.core.errors import NotConfigured, StorageUnavailable, Unavailable, WauleError
from waule.core.fail_points import failpoint

POSTPONED_SECONDS = 15  # while there is no room for its result
PROGRESS_SECONDS = 5.0  # between two notes of the progress
State = Generation.State
logger = structlog.get_logger(__name__)


class TooSlow(UpstreamError):
    """504: not made in time, and certainly not made."""

    code = "upstream_timeout"
    http_status = 504
    message = _("It was not made in time. Nothing was charged.")


def perform(
    generation: Generation,
    *,
    reference_images: Sequence[str] = (),
    mask: str = "",
    partial_images: int = 0,
    partial: Callable[[Output, int], None] | None = None,
) -> None:
    """Call the provider and see the generation to its end. The caller has the lease and keeps it alive.

    Raises:
        LeaseLost: others have it now; nothing more was changed.
    """
    if generation.type == Generation.Type.VIDEO and not may_exist(generation) and not _has_room(generation):
        postpone(generation)
        return
    note_called(generation)
    images = tuple(reference_images) or kept_reference_images(generation)
    job = replace(job_of(generation, images), mask=mask, partial_images=partial_images, partial=partial)
    provider = providers.get(generation.route)
    make = provider.generate_image if generation.type == Generation.Type.IMAGE else provider.generate_video
    finish(generation, lambda: make(job, progress=note_progress(generation)))


def _has_room(job: Generation) -> bool:
    """Return whether its result could be stored: it was so when the job was queued, which may be long ago."""
    try:
        media.check_ready(Principal.of(job), videos=1)
    except StorageUnavailable:
        return False
    return True


def postpone(job: Generation) -> None:
    """Put a job whose provider was not asked yet back into the queue, for POSTPONED_SECONDS.

    Raises:
        LeaseLost.
    """
    mine = Generation(id=job.id, attempt=job.attempt)
    later = database_now() + timedelta(seconds=POSTPONED_SECONDS)
    free = {"state": State.QUEUED, "attempt": job.attempt + 1, "lease_owner": "", "lease_until": None, "run_after": later}
    change(mine, Q(outcome="", state=State.RUNNING), **free)
    heartbeat.lose(job)
    logger.warning("job_postponed", generation=str(job.id), why="storage_unavailable")


def finish(generation: Generation, ask: Callable[[], ProviderResult]) -> None:
    """Let the provider answer, and decide what its answer means.

    Raises:
        LeaseLost.
    """
    failpoint("generation.before_call")
    connection_pool.release_connection()
    is_made = bool(generation.upstream_id)
    try:
        provider_result = _timed(generation, ask)
        is_made = True
        failpoint("generation.answered")
        heartbeat.check(generation)
        deliver(generation, provider_result)
    except LeaseLost:
        raise
    except UpstreamError as error:
        fail(generation, error, outcome=State.UNKNOWN if error.is_unknown else State.FAILED)
        if isinstance(error, ModelGone):
            pause_model(generation.model, reason=str(error.details["reason"]))
    except (NotConfigured, CredentialsExhausted) as error:
        fail(generation, error)
    except StorageUnavailable as error:  # before anything was made: a reference image did not fit on the disk
        fail(generation, error, outcome=State.UNKNOWN if is_made or generation.upstream_id else State.FAILED)
    except Exception as error:
        is_away = isinstance(error, OperationalError | InterfaceError | Unavailable)
        if is_away and can_be_resumed(generation):
            raise  # the database is away: whoever comes next makes it, or goes on with it
        if generation.outcome:
            raise  # decided, and not yet settled: whoever comes next does it
        logger.exception("generation_broke", generation=str(generation.id))
        if generation.route == providers.SANDBOX:
            fail(generation, UpstreamError(reason="internal"))
        else:
            fail(generation, OutcomeUnknown(reason=type(error).__name__), outcome=State.UNKNOWN)


def _timed(generation: Generation, ask: Callable[[], ProviderResult]) -> ProviderResult:
    """Return what the provider answers; how long it took, and how it went, is counted."""
    began_at, provider_result = time.monotonic(), "broke"
    attributes: dict[str, tracing.Value] = {
        "waule.generation_id": str(generation.id),
        "waule.provider": generation.route,
        "waule.model": generation.model.model_id,
        "waule.type": generation.type,
    }
    try:
        with tracing.span("provider", attributes=attributes):
            answer = ask()
        provider_result = "ok"
        return answer
    except WauleError as error:
        provider_result = error.code
        raise
    finally:
        metrics.PROVIDER_CALLS.labels(generation.route, generation.type, provider_result).observe(time.monotonic() - began_at)


def job_of(generation: Generation, reference_images: Sequence[str] = ()) -> Job:
    """Return the generation as its provider is asked for it."""
    model, kept = generation.model, generation.parameters
    mode = kept.get("mode", "")
    return Job(
        generation_id=str(generation.id),
        request_id=generation.request_id,
        model_id=kept.get("variant") or model.model_id,
        prompt=generation.prompt,
        is_video=generation.type == Generation.Type.VIDEO,
        size=pricing.sold_size_of(kept),
        quantity=kept.get("quantity", 1),
        duration=Decimal(kept["duration"]) if "duration" in kept else None,
        generation_type=kept.get("generationType", ""),
        reference_images=tuple(reference_images),
        user_id=str(generation.user_id or ""),
        tenant_id=str(generation.tenant_id or ""),
        gateway_endpoint=model.gateway_endpoint,
        options=model.options,
        parameters=({"quality": mode} if mode else {}) | kept.get("parameters", {}),
        upstream_id=generation.upstream_id,
        accepted=lambda upstream_id: note_upstream_id(generation, upstream_id),
    )


def kept_reference_images(generation: Generation) -> tuple[str, ...]:
    if generation.type != Generation.Type.VIDEO:  # an image is made while its caller waits, who has them
        return ()
    kept = GenerationInput.objects.filter(generation_id=generation.id).first()
    return tuple(kept.reference_images) if kept else ()


def note_upstream_id(generation: Generation, upstream_id: str) -> None:
    retry_transient(lambda: change(generation, upstream_id=upstream_id[:255]))
    failpoint("generation.accepted")
    connection_pool.release_connection()


def can_be_resumed(generation: Generation) -> bool:
    """Return whether calling the provider again asks for nothing twice."""
    return not may_exist(generation) or bool(generation.upstream_id)


def may_exist(generation: Generation) -> bool:
    """Return whether a provider may have made it, or still be at it."""
    return generation.called_at is not None and generation.route != providers.SANDBOX


def note_progress(generation: Generation) -> Callable[[int], None]:
    """Write the progress down where it has changed, every PROGRESS_SECONDS at most.

    It stops the work by an exception: LeaseLost when others have it, or a timeout past the deadline.
    """
    noted_at = time.monotonic()

    def note(percent: int) -> None:
        nonlocal noted_at
        heartbeat.check(generation)
        if generation.deadline_at is not None and timezone.now() > generation.deadline_at:
            raise timed_out(generation)
        progress = min(99, percent)
        if progress <= generation.progress or time.monotonic() - noted_at < PROGRESS_SECONDS:
            return
        noted_at = time.monotonic()
        try:
            change(generation, progress=progress)
        except (OperationalError, InterfaceError, Unavailable):
            connection.close_if_unusable_or_obsolete()  # the work is worth more than a note of it
        connection_pool.release_connection()

    return note


def timed_out(generation: Generation) -> UpstreamError:
    """Return what passing the deadline means: the sandbox has certainly made nothing, of others nobody knows."""
    return TooSlow(reason="deadline") if generation.route == providers.SANDBOX else OutcomeTimedOut(reason="deadline")
