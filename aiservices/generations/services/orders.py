"""Orders: make an image, queue a video, wait for it."""

import time
from collections.abc import Callable

from aiservices.errors import LeaseLost
from aiservices.generations.execution import perform
from aiservices.generations.leases import heartbeat
from aiservices.generations.models import Generation
from aiservices.generations.providers.base import Output
from aiservices.generations.requests import GenerationRequest
from aiservices.generations.services.admission import Answer, admit
from aiservices.generations.services.joining import READ, Abandoned, wait_for
from aiservices.generations.settlement.outcomes import GenerationFailed
from tenants.principal import Principal
from waule.core.db import connection_pool
from waule.core.errors import Unavailable

State = Generation.State
VIDEO_LOOK_SECONDS = 0.5


def make_image(
    *,
    caller: Principal,
    request: GenerationRequest,
    idempotency_key: str | None,
    model_field: str = "modelId",
    partial_images: int = 0,
    partial: Callable[[Output, int], None] | None = None,
    retry: int = 0,
) -> Answer:
    """Make images and wait for them. `partial` is called with each draft, where the provider makes them.

    Raises:
        InvalidRequest, UnsupportedParameter, ModelNotFound; the rejections of `billing.services.hold`; IdempotencyKeyReused;
        OverQuota; NotConfigured; GenerationFailed: the provider failed, or nobody knows what it did.
    """
    admitted = begin_image(caller=caller, request=request, idempotency_key=idempotency_key, model_field=model_field, retry=retry)
    return finish_image(admitted, request=request, partial_images=partial_images, partial=partial)


def begin_image(
    *, caller: Principal, request: GenerationRequest, idempotency_key: str | None, model_field: str = "modelId", retry: int = 0
) -> Answer:
    """Return the first half of `make_image`: an image that is admitted and held for, and not begun; or an earlier call's.

    `retry` says that the caller's client repeats a request by itself, for the how manieth time (0: it does not).
    """
    return admit(caller, request, idempotency_key, model_field, retry)


def finish_image(
    admitted: Answer, *, request: GenerationRequest, partial_images: int = 0, partial: Callable[[Output, int], None] | None = None
) -> Answer:
    """Return the second half: makes it and waits for it. It raises what is found out then: GenerationFailed, Unavailable."""
    generation = admitted.generation
    if admitted.replayed:
        return _as_answered(admitted)
    with heartbeat.keep(generation):
        try:
            perform(
                generation,
                reference_images=request.reference_images,
                mask=request.mask,
                partial_images=partial_images,
                partial=partial,
            )
        except LeaseLost:
            generation = _as_it_ended(generation)
    return _as_answered(Answer(generation))


def _as_it_ended(generation: Generation) -> Generation:
    """Return what became of a generation that others see to its end.

    Raises:
        Unavailable: it takes too long, or it was dropped: nothing was made, and nothing is charged.
    """
    try:
        return wait_for(generation)
    except Abandoned:
        found = Generation.objects.select_related(*READ).filter(id=generation.id).first()
        if found is None:
            raise Unavailable from None
        return found


def queue_video(
    *, caller: Principal, request: GenerationRequest, idempotency_key: str | None, model_field: str = "modelId", retry: int = 0
) -> Answer:
    """Queue a video: a job that a worker does. `retry` as for `begin_image`.

    Raises:
        as `make_image`; a provider's failure is found in the task later.
    """
    return _as_answered(admit(caller, request, idempotency_key, model_field, retry))


def await_video(generation: Generation, *, seconds: float) -> Generation | None:
    """Return the video when it is over; None where that takes longer than `seconds`.

    Raises:
        GenerationFailed.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = Generation.objects.select_related(*READ).get(id=generation.id)
        if found.is_over:
            if found.state != State.SUCCEEDED:
                raise GenerationFailed(found)
            return found
        connection_pool.release_connection()
        if time.monotonic() + VIDEO_LOOK_SECONDS > deadline:
            return None
        time.sleep(VIDEO_LOOK_SECONDS)


def _as_answered(answer: Answer) -> Answer:
    """Raise GenerationFailed for what failed, and for what nobody knows; for images also for what was canceled."""
    state = answer.generation.state
    is_canceled_image = state == State.CANCELED and answer.generation.type == Generation.Type.IMAGE
    if state in (State.UNKNOWN, State.FAILED) or is_canceled_image:
        raise GenerationFailed(answer.generation)
    return answer
