"""Doing what a generation asks for: calling the provider, and what becomes of its answer or its silence.

No transaction is open and no database connection is kept while a provider works: it may take minutes, and the gateway
calls back meanwhile.
"""

import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import structlog
from django.db import InterfaceError, OperationalError, connection
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from aiservices import providers
from aiservices.endings import conclude, deliver, fail, find_hold_of
from aiservices.errors import CredentialsExhausted, Interrupted, LeaseLost
from aiservices.heartbeats import change, heartbeat, is_abandoned, take_over
from aiservices.models import Generation, GenerationInput
from aiservices.providers.base import Job, Outcome
from billing import services as books
from billing.ledger import database_now
from billing.models import Hold
from gateway_client.errors import OutcomeTimedOut, OutcomeUnknown, UpstreamError
from storage import services as storage
from waule import connection_pool
from waule.errors import NotConfigured, Unavailable
from waule.fail_points import reach
from waule.transactions import patiently

PROGRESS_SECONDS = 5.0  # between two notes of the progress
State = Generation.State
logger = structlog.get_logger(__name__)


class TooSlow(UpstreamError):
    """504: not made in time, and certainly not made."""

    code = "upstream_timeout"
    http_status = 504
    message = _("It was not made in time. Nothing was charged.")


def perform(generation: Generation, *, reference_images: Sequence[str] = ()) -> None:
    """Calls the provider and sees the generation to its end. The caller has the lease and keeps it alive.

    Raises:
        LeaseLost: others have it now; nothing more was changed.
    """
    change(generation, called_at=database_now(), **_started(generation))
    job = job_of(generation, reference_images)
    provider = providers.get(generation.route)
    make = provider.generate_image if generation.type == Generation.Type.IMAGE else provider.generate_video
    finish(generation, lambda: make(job, progress=note_progress(generation)))


def finish(generation: Generation, ask: Callable[[], Outcome]) -> None:
    """Lets the provider answer, and decides what its answer means.

    Raises:
        LeaseLost.
    """
    reach("generation.before_call")
    connection_pool.give_back()
    try:
        outcome = ask()
        reach("generation.answered")
        heartbeat.check(generation)
        deliver(generation, outcome)
    except LeaseLost:
        raise
    except UpstreamError as error:
        fail(generation, error, verdict=State.UNKNOWN if error.is_unknown else State.FAILED)
    except (NotConfigured, CredentialsExhausted) as error:
        fail(generation, error)
    except Exception as error:
        is_away = isinstance(error, OperationalError | InterfaceError | Unavailable)
        if is_away and can_be_resumed(generation):
            raise  # the database is away: whoever comes next makes it, or goes on with it
        if generation.verdict:
            raise  # decided, and not yet seen through: whoever comes next does it
        logger.exception("generation_broke", generation=str(generation.id))
        if generation.route == providers.SANDBOX:
            fail(generation, UpstreamError(reason="internal"))
        else:
            fail(generation, OutcomeUnknown(reason=type(error).__name__), verdict=State.UNKNOWN)


def job_of(generation: Generation, reference_images: Sequence[str] = ()) -> Job:
    """The generation as its provider is asked for it."""
    model, kept = generation.model, generation.parameters
    mode = kept.get("mode", "")
    return Job(
        generation_id=str(generation.id),
        request_id=generation.request_id,
        model_id=model.model_id,
        prompt=generation.prompt,
        ratio=kept.get("ratio", ""),
        resolution=kept.get("resolution", ""),
        quantity=kept.get("quantity", 1),
        duration=Decimal(kept["duration"]) if "duration" in kept else None,
        generation_type=kept.get("generationType", ""),
        reference_images=tuple(reference_images) or kept_reference_images(generation),
        user_id=str(generation.user_id or ""),
        tenant_id=str(generation.tenant_id or ""),
        gateway_endpoint=model.gateway_endpoint,
        options=model.options | ({"quality": mode} if mode else {}),
        upstream_id=generation.upstream_id,
        accepted=lambda upstream_id: note_upstream_id(generation, upstream_id),
    )


def kept_reference_images(generation: Generation) -> tuple[str, ...]:
    kept = GenerationInput.objects.filter(generation_id=generation.id).first()
    return tuple(kept.reference_images) if kept else ()


def note_upstream_id(generation: Generation, upstream_id: str) -> None:
    patiently(lambda: change(generation, upstream_id=upstream_id[:255]))
    connection_pool.give_back()


def can_be_resumed(generation: Generation) -> bool:
    """Whether calling the provider again asks for nothing twice."""
    return not may_exist(generation) or bool(generation.upstream_id)


def may_exist(generation: Generation) -> bool:
    """Whether a provider may have made it, or still be at it."""
    return generation.called_at is not None and generation.route != providers.SANDBOX


def note_progress(generation: Generation) -> Callable[[int], None]:
    """Writes the progress down where it has changed, every PROGRESS_SECONDS at most.

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
        connection_pool.give_back()

    return note


def timed_out(generation: Generation) -> UpstreamError:
    """What passing the deadline means: the sandbox has certainly made nothing, of others nobody knows."""
    return TooSlow(reason="deadline") if generation.route == providers.SANDBOX else OutcomeTimedOut(reason="deadline")


def recover(generation: Generation) -> None:
    """Settles what somebody worked on and left behind: money is moved once or not at all, and nothing is guessed.

    Raises:
        LeaseLost: somebody else was quicker.
    """
    as_read = Q(state=generation.state, lease_until=generation.lease_until)  # it may have been admitted, or renewed, since
    if not is_abandoned(generation, database_now()) or not take_over(generation, as_read):
        raise LeaseLost
    with heartbeat.keep(generation):
        if generation.verdict:
            conclude(generation)
        elif generation.state == State.NEW:
            drop(generation)
        elif not may_exist(generation):
            fail(generation, Interrupted())  # the sandbox has made nothing that cannot be made again
        else:
            ask_what_became_of(generation)


def ask_what_became_of(generation: Generation) -> None:
    """Asks the provider; where it cannot tell, the outcome is unknown.

    Raises:
        LeaseLost.
    """

    def ask() -> Outcome:
        outcome = providers.get(generation.route).find(job_of(generation))
        if outcome is None:
            raise OutcomeUnknown(reason="interrupted")
        return outcome

    finish(generation, ask)


def ask_again(generation: Generation) -> None:
    """Asks the provider what became of an unknown outcome, and ends it by what it says, if it can say.

    Raises:
        LeaseLost.
    """
    said: Outcome | UpstreamError | None
    connection_pool.give_back()
    try:
        said = providers.get(generation.route).find(job_of(generation))
    except UpstreamError as error:
        said = None if error.is_unknown or error.may_try_again else error
    except (NotConfigured, CredentialsExhausted):
        said = None
    if said is None:
        return
    reopen(generation)

    def tell() -> Outcome:
        if isinstance(said, UpstreamError):
            raise said
        return said

    with heartbeat.keep(generation):
        finish(generation, tell)


def reopen(generation: Generation) -> None:
    """Takes an unknown outcome up again, so that it can end otherwise.

    Raises:
        LeaseLost.
    """
    cleared: dict[str, Any] = {"verdict": "", "error_code": "", "error_message": "", "error_details": {}, "completed_at": None}
    taken = take_over(generation, Q(state=State.UNKNOWN, verdict=State.UNKNOWN), state=State.RUNNING, **cleared)
    if not taken:
        raise LeaseLost


def drop(generation: Generation) -> None:
    """Forgets a generation that was never admitted, with the hold and the reservation it may have come to."""
    hold = find_hold_of(generation)
    if hold is not None and hold.state == Hold.State.HELD:
        books.release(hold_id=str(hold.id), reason="interrupted", actor="generation")
    storage.end_reservation(generation.id)
    Generation.objects.filter(id=generation.id, attempt=generation.attempt, state=State.NEW).delete()


def _started(generation: Generation) -> dict[str, object]:
    return {} if generation.started_at else {"started_at": database_now()}
