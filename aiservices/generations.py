"""The verbs around a generation: make an image, queue a video, cancel, read.

The order is strict: what is malformed, what is unknown, the replay of an earlier call, permissions, price and funds, the
hold; then the provider; then the capture. A refused call changes nothing and burns no key.
"""

import time
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.http import HttpRequest
from django.utils.translation import gettext as _

from aiservices import jobs, providers
from aiservices.endings import GenerationFailed, conclude, settle
from aiservices.errors import LeaseLost, TaskNotOver, TaskOver
from aiservices.heartbeats import change, heartbeat, is_abandoned, lease_end, owner
from aiservices.models import AIModel, Generation, GenerationInput
from aiservices.wishes import Caller, Wish, check_number_of_images, find_model
from aiservices.work import drop, may_exist, perform, recover, reopen
from billing import services as books
from billing.ledger import database_now
from storage import media
from waule import connection_pool
from waule.errors import IdempotencyKeyReused, InvalidRequest, NotConfigured, NotFound, Unavailable, WauleError
from waule.fail_points import reach
from waule.ids import parse_uuid, uuid7
from waule.transactions import retried

State = Generation.State
WAIT_STEPS_SECONDS = (0.02, 0.05, 0.1, 0.2, 0.4)  # between two looks at a row that somebody else works on
WAIT_MARGIN_SECONDS = 60
VIDEO_LOOK_SECONDS = 0.5
MAX_PAGE = 100
_READ = ("model", "hold", "charge")


@dataclass(frozen=True)
class Answer:
    """A generation as it can be answered with; `replayed` where an earlier call with the same key made it."""

    generation: Generation
    replayed: bool = False


def make_image(*, caller: Caller, wish: Wish, idempotency_key: str | None, model_field: str = "modelId") -> Answer:
    """Makes images and waits for them.

    Raises:
        InvalidRequest, ModelNotFound; the refusals of `billing.services.hold`; IdempotencyKeyReused; OverQuota;
        NotConfigured; GenerationFailed: the provider failed, or nobody knows what it did.
    """
    answer = _admit(caller, wish, idempotency_key, model_field)
    if not answer.replayed:
        generation = answer.generation
        with heartbeat.keep(generation):
            try:
                perform(generation, reference_images=wish.reference_images)
            except LeaseLost:
                answer = Answer(_as_it_ended(generation))
    return _as_answered(answer)


def _as_it_ended(generation: Generation) -> Generation:
    """What became of a generation that others see to its end.

    Raises:
        Unavailable: it takes too long, or it was dropped: nothing was made, and nothing is charged.
    """
    try:
        return wait_for(generation)
    except _Abandoned:
        found = Generation.objects.select_related(*_READ).filter(id=generation.id).first()
        if found is None:
            raise Unavailable from None
        return found


def queue_video(*, caller: Caller, wish: Wish, idempotency_key: str | None, model_field: str = "modelId") -> Answer:
    """Queues a video: a job that a worker does.

    Raises:
        as `make_image`; a provider's failure is found in the task later.
    """
    return _as_answered(_admit(caller, wish, idempotency_key, model_field))


def await_video(generation: Generation, *, seconds: float) -> Generation | None:
    """The video when it is over; None where that takes longer than `seconds`.

    Raises:
        GenerationFailed.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = Generation.objects.select_related(*_READ).get(id=generation.id)
        if found.is_over:
            if found.state != State.SUCCEEDED:
                raise GenerationFailed(found)
            return found
        connection_pool.give_back()
        if time.monotonic() + VIDEO_LOOK_SECONDS > deadline:
            return None
        time.sleep(VIDEO_LOOK_SECONDS)


def _as_answered(answer: Answer) -> Answer:
    """Raises GenerationFailed for what failed, and for what nobody knows; for images also for what was canceled."""
    state = answer.generation.state
    is_canceled_image = state == State.CANCELED and answer.generation.type == Generation.Type.IMAGE
    if state in (State.UNKNOWN, State.FAILED) or is_canceled_image:
        raise GenerationFailed(answer.generation)
    return answer


# --- admission -----------------------------------------------------------------------------------------------------


def _admit(caller: Caller, wish: Wish, idempotency_key: str | None, model_field: str) -> Answer:
    """The generation that this call makes, with its hold; or the one that an earlier call with its key made."""
    model = find_model(wish, field=model_field)
    wish = wish.with_defaults(model.options)
    mark = wish.fingerprint(model)
    while True:
        if idempotency_key is not None and (first := _first(caller, wish, idempotency_key, mark)) is not None:
            return Answer(first, replayed=True)
        check_number_of_images(wish, model, field="referenceImages" if model_field == "modelId" else "reference_images")
        made = _begin(caller, wish, model, idempotency_key, mark)
        if made is not None:
            return Answer(made)


def _first(caller: Caller, wish: Wish, idempotency_key: str, mark: str) -> Generation | None:
    """What an earlier call with this key made, when it can be answered with. None: the key is free.

    Raises:
        IdempotencyKeyReused. Unavailable: it takes too long.
    """
    first = Generation.objects.filter(caller.own, type=wish.type, idempotency_key=idempotency_key).select_related(*_READ).first()
    if first is None:
        return None
    if first.fingerprint != mark:
        raise IdempotencyKeyReused
    try:
        return wait_for(first, until_over=wish.type == Generation.Type.IMAGE)
    except _Abandoned:
        return None


class _Abandoned(Exception):
    """The first call died before anything was made: its key is free again."""


def wait_for(generation: Generation, *, until_over: bool = True) -> Generation:
    """The generation when it is over (or at least admitted). One whose worker has gone is settled here.

    Raises:
        Unavailable: it takes longer than a call may. _Abandoned.
    """
    deadline = time.monotonic() + settings.UPSTREAM_TOTAL_SECONDS + WAIT_MARGIN_SECONDS
    looks = 0
    while True:
        found = Generation.objects.select_related(*_READ).filter(id=generation.id).first()
        if found is None:
            raise _Abandoned  # it was refused after all
        if found.is_over or (not until_over and found.state != State.NEW):
            return found
        if is_abandoned(found, database_now()) and (until_over or found.state == State.NEW):
            _settle(found)
            continue
        if time.monotonic() > deadline:
            raise Unavailable
        connection_pool.give_back()
        time.sleep(WAIT_STEPS_SECONDS[min(looks, len(WAIT_STEPS_SECONDS) - 1)])
        looks += 1


def _settle(left_behind: Generation) -> None:
    """Raises _Abandoned where it turns out that nothing was made."""
    try:
        recover(left_behind)
    except LeaseLost:
        return
    if left_behind.state in (State.NEW, State.FAILED):
        raise _Abandoned


def _begin(caller: Caller, wish: Wish, model: AIModel, idempotency_key: str | None, mark: str) -> Generation | None:
    """A new generation, admitted and held for. None: another call with this key was quicker."""
    generation_id = uuid7()
    use = wish.use(model, generation_id)
    try:
        route = providers.route(model.provider, is_test=caller.mode == "test")
    except NotConfigured:
        books.check_use(target=caller.target, use=use)  # who may not ask is told that first
        raise
    is_billed_by_gateway = route == providers.GATEWAY and settings.GATEWAY_BILLING == "callback"
    if is_billed_by_gateway:
        books.check_use(target=caller.target, use=use)
    now = database_now()
    made = Generation(
        id=generation_id,
        type=wish.type,
        model=model,
        prompt=wish.prompt,
        parameters=wish.parameters(),
        state=State.NEW,
        route=route,
        is_billed_by_gateway=is_billed_by_gateway,
        idempotency_key=idempotency_key,
        fingerprint=mark,
        lease_owner=owner(),
        lease_until=lease_end(now),
        created_at=now,
        **caller.columns(),
    )
    try:
        _insert(made, wish)
    except IntegrityError:
        if idempotency_key is None:
            raise
        return None
    reach("generation.inserted")
    try:
        is_image = wish.type == Generation.Type.IMAGE
        media.reserve(
            caller.owner, reservation_id=made.id, images=wish.quantity if is_image else 0, videos=0 if is_image else wish.quantity
        )
        changes: dict[str, Any] = {}
        if not is_billed_by_gateway:
            held = books.hold(target=caller.target, use=use, actor=caller.actor, idempotency_key=str(made.id), pinned=True)
            changes["hold"] = held.hold
        reach("generation.held")
        if wish.type == Generation.Type.IMAGE:
            changes |= {"state": State.RUNNING, "started_at": now}
        else:
            changes |= {"state": State.QUEUED, "lease_until": None, "lease_owner": "", "run_after": jobs.wake_after(now)}
        change(made, Q(state=State.NEW), **changes)
        if wish.type == Generation.Type.VIDEO:
            jobs.wake(made)
    except WauleError:
        drop(made)
        raise
    except LeaseLost:  # it took so long that somebody took us for dead and dropped it, perhaps before there was a hold
        drop(made)
        raise Unavailable from None
    return made


@retried
def _insert(made: Generation, wish: Wish) -> None:
    with transaction.atomic():
        made.save(force_insert=True)
        if wish.type == Generation.Type.VIDEO and (wish.reference_images or wish.webhook_url):
            GenerationInput.objects.create(
                generation=made,
                reference_images=list(wish.reference_images),
                webhook_url=wish.webhook_url,
                webhook_secret=wish.webhook_secret or None,
            )


# --- canceling -----------------------------------------------------------------------------------------------------


def cancel(*, generation: Generation) -> Generation:
    """Ends a generation that is queued or running, and gives its credits back. Whoever works on it finds out and stops.

    Raises:
        TaskOver: it has ended already.
    """
    for _try in range(10):
        found = Generation.objects.select_related(*_READ).get(id=generation.id)
        if found.is_over or found.verdict:
            break
        # What a provider makes meanwhile is lost to us, and costs whoever canceled nothing: an operator should know how often.
        flags = [*found.flags, "canceled_while_made"] if may_exist(found) else found.flags
        canceled = Generation.objects.filter(
            id=found.id, attempt=found.attempt, verdict="", state__in=[State.QUEUED, State.RUNNING]
        ).update(
            attempt=F("attempt") + 1,
            state=State.RUNNING,  # it is being ended: should this process die, it is found like any work left behind
            verdict=State.CANCELED,
            error_code="canceled",
            error_message=_("The task was canceled."),
            error_details={"status": 409},
            flags=flags,
            lease_owner=owner(),
            lease_until=lease_end(database_now()),
        )
        if canceled:
            found.refresh_from_db()
            conclude(found)
            return found
    raise TaskOver(state=found.state, taskId=str(found.id))


def settle_unknown(
    *, generation: Generation, charge: bool, reason: str, actor: str, request: HttpRequest | None = None
) -> Generation:
    """Ends an unknown outcome as an operator decides: charged as held, or given back. It is in the audit log then.

    Raises:
        TaskOver: it is not unknown (any more); `details.state` is what it is.
    """
    found = Generation.objects.select_related(*_READ).get(id=generation.id)
    try:
        reopen(found)
        settle(found, charge=charge, reason=reason, actor=actor, request=request)
    except LeaseLost:
        found.refresh_from_db(fields=["state"])
        raise TaskOver(state=found.state, taskId=str(found.id)) from None
    return found


# --- reading -------------------------------------------------------------------------------------------------------


def find(caller: Caller, task_id: str, *, type: Generation.Type | None = None) -> Generation:
    """The caller's own generation of that id.

    Raises:
        NotFound: nobody's, or another's.
    """
    pk = parse_uuid(task_id)
    rows = _visible(caller, type).select_related(*_READ)
    found = rows.filter(id=pk).first() if pk else None
    if found is None:
        raise NotFound
    return found


@dataclass(frozen=True)
class Page:
    generations: list[Generation]
    has_more: bool


def page(
    caller: Caller, *, limit: int, after: str | None = None, type: Generation.Type | None = None, oldest_first: bool = False
) -> Page:
    """The caller's generations, newest first, from behind the one with the id `after`; stable while rows are written.

    Raises:
        InvalidRequest: `after` is no id.
    """
    rows = _visible(caller, type).select_related(*_READ).order_by("id" if oldest_first else "-id")
    if after is not None:
        pk = parse_uuid(after)
        if pk is None:
            raise InvalidRequest.of_field("after", _("This cursor is not one of ours."))
        rows = rows.filter(id__gt=pk) if oldest_first else rows.filter(id__lt=pk)
    found = list(rows[: limit + 1])
    return Page(found[:limit], len(found) > limit)


def delete(*, caller: Caller, generation: Generation) -> None:
    """Hides an ended generation from its owner and deletes its files; the books keep what it cost.

    Raises:
        TaskNotOver: it has not ended, or nobody knows how. BucketProblem: a file could not be deleted.
    """
    if not generation.is_over or generation.state == State.UNKNOWN:
        raise TaskNotOver(state=generation.state, taskId=str(generation.id))
    for result in generation.outputs:
        if "objectKey" in result:
            media.remove(result["objectKey"], owner=caller.owner)
    Generation.objects.filter(id=generation.id).update(deleted_at=database_now())


def _visible(caller: Caller, type: Generation.Type | None) -> Any:
    rows = Generation.objects.filter(caller.own, deleted_at=None).exclude(state=State.NEW)
    return rows.filter(type=type) if type else rows
