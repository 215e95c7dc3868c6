"""Admission: from a request to a generation that is held for; or to the one that an earlier call made.

The order is strict: what is malformed, what is unknown, the replay of an earlier call, permissions, price and funds, the
hold. A refused call changes nothing and burns no key.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q

from aiservices.errors import LeaseLost
from aiservices.generations import providers
from aiservices.generations.execution import job_of
from aiservices.generations.leases import change, lease_end, owner
from aiservices.generations.models import Generation, GenerationInput
from aiservices.generations.providers import combinations
from aiservices.generations.queue import jobs
from aiservices.generations.requests import GenerationRequest, check_key_allows, check_number_of_images, find_model
from aiservices.generations.services.joining import first_of_key, join
from aiservices.generations.settlement import one_statement
from aiservices.generations.unfinished import drop
from billing import services as billing_services
from billing.catalog import pricing
from billing.catalog.current import Catalog, current_catalog
from billing.catalog.models import AIModel
from billing.catalog.usage import UsageRequest
from billing.errors import UnknownDimension
from billing.ledger.posting import database_now
from storage import media
from tenants.principal import Principal
from waule.core import tracing
from waule.core.db.transactions import retried
from waule.core.errors import InvalidRequest, NotConfigured, Unavailable, UnsupportedParameter, WauleError
from waule.core.fail_points import failpoint
from waule.core.ids import uuid7

State = Generation.State
V1_NAMES = {"duration": "seconds", "resolution": "size", "ratio": "size", "referenceImages": "reference_images"}


@dataclass(frozen=True)
class Answer:
    """A generation as it can be answered with; `replayed` where an earlier call with the same key made it."""

    generation: Generation
    replayed: bool = False


def admit(caller: Principal, request: GenerationRequest, idempotency_key: str | None, model_field: str, retry: int = 0) -> Answer:
    """Return the generation that this call makes, with its hold; or the one that an earlier call with its key made."""
    catalog = current_catalog()
    model = find_model(request, catalog, field=model_field)
    check_key_allows(caller, model)
    request = request.with_defaults(model.options)
    request_hash = request.fingerprint(model)
    if retry and idempotency_key is None:
        first, idempotency_key = join(caller, request.type, request_hash, retry)
        if first is not None:
            return Answer(first, replayed=True)
    while True:
        if idempotency_key is not None and (first := first_of_key(caller, request, idempotency_key, request_hash)) is not None:
            return Answer(first, replayed=True)
        check_number_of_images(request, model, field="referenceImages" if model_field == "modelId" else "reference_images")
        sold = as_sold(caller, request, model, model_field, catalog)
        made = _begin(caller, sold, model, idempotency_key, request_hash, model_field, catalog)
        if made is not None:
            return Answer(made)


def as_sold(
    caller: Principal, request: GenerationRequest, model: AIModel, model_field: str, catalog: Catalog | None = None
) -> GenerationRequest:
    """Return the request as the model's options let it be sold: in a size of its own, in a combination that it makes.

    `catalog` is the one that the model was found in; left out: the current one.

    Raises:
        UnknownDimension. InvalidRequest: by the name that the caller gave the field.
    """
    with _as_the_caller_names_it(request, model_field):
        sold = _in_sold_size(caller, request, model, catalog or current_catalog())
        combinations.check_options(
            model.options,
            {
                "resolution": sold.size.tier.text or None,
                "ratio": sold.size.ratio or None,
                "duration": sold.duration,
                "generationType": sold.generation_type or None,
            },
        )
        return sold


def _in_sold_size(caller: Principal, request: GenerationRequest, model: AIModel, catalog: Catalog) -> GenerationRequest:
    """Return the request in a size that the model sells and its provider can be asked for; a test key is no more lenient.

    Raises:
        UnknownDimension, InvalidRequest: as `GenerationRequest.in_sold_size`.
    """
    interface = pricing.interface_of(
        providers.maker(model.provider),
        is_video=request.type == Generation.Type.VIDEO,
        gateway_endpoint=model.gateway_endpoint,
        options=model.options,
    )
    try:
        return request.in_sold_size(model, catalog, interface)
    except UnknownDimension:
        use = replace(request.use(model, uuid7()), resolution=request.resolution)
        billing_services.check_use(target=caller, use=use)  # a missing permission is the first error
        raise


@contextmanager
def _as_the_caller_names_it(request: GenerationRequest, model_field: str) -> Iterator[None]:
    """Names the fields of a rejection as the caller does: as the endpoint says, else as `/v1` does for its callers."""
    try:
        yield
    except UnsupportedParameter:
        raise
    except InvalidRequest as error:
        if model_field == "modelId":
            raise
        fields = {
            (V1_NAMES | request.field_names).get(name, name): problems for name, problems in error.details["fields"].items()
        }
        raise InvalidRequest.of_fields(fields) from None


def _begin(
    caller: Principal,
    request: GenerationRequest,
    model: AIModel,
    idempotency_key: str | None,
    request_hash: str,
    model_field: str,
    catalog: Catalog,
) -> Generation | None:
    """Return a new generation, admitted and held for. None: another call with this key was quicker."""
    generation_id = uuid7()
    use = request.use(model, generation_id)
    try:
        route = providers.route(model.provider, is_test=caller.mode == "test")
    except NotConfigured:
        billing_services.check_use(target=caller, use=use)  # a missing permission is the first error
        raise
    is_image = request.type == Generation.Type.IMAGE
    made = Generation(
        id=generation_id,
        type=request.type,
        model=model,
        prompt=request.prompt,
        parameters=request.kept(),
        state=State.NEW,
        route=route,
        is_billed_by_gateway=route == providers.GATEWAY and settings.GATEWAY_BILLING == "callback",
        idempotency_key=idempotency_key,
        fingerprint=request_hash,
        **{column: UUID(id) for column, id in caller.columns.items()},
        mode=caller.mode,
        api_key_id=caller.api_key_id,
        request_id=caller.request_id,
    )
    _check(made, request, model_field)
    media.check_ready(caller, images=request.quantity if is_image else 0, videos=0 if is_image else request.quantity)
    try:
        if one_statement.begin(made, catalog=catalog, target=caller, use=use, actor=caller.actor):
            failpoint("generation.held")
            return made
    except one_statement.KeyTaken:
        return None
    return _admit_the_long_way(caller, request, made, use)


def _admit_the_long_way(caller: Principal, request: GenerationRequest, made: Generation, use: UsageRequest) -> Generation | None:
    """First the row, which has the key, then room and hold. None: another call with this key was quicker."""
    is_image, is_billed_by_gateway = made.type == Generation.Type.IMAGE, made.is_billed_by_gateway
    now = database_now()
    made.lease_owner, made.lease_until, made.created_at = owner(), lease_end(now), now
    if is_billed_by_gateway:
        billing_services.check_use(target=caller, use=use)
    try:
        _insert(made, request)
    except IntegrityError:
        if made.idempotency_key is None:
            raise
        return None
    failpoint("generation.inserted")
    try:
        media.reserve(
            caller,
            reservation_id=made.id,
            images=request.quantity if is_image else 0,
            videos=0 if is_image else request.quantity,
        )
        changes: dict[str, Any] = {}
        if not is_billed_by_gateway:
            held = billing_services.hold(target=caller, use=use, actor=caller.actor, idempotency_key=str(made.id), pinned=True)
            changes["hold_id"] = held.hold.id
        failpoint("generation.held")
        if is_image:
            changes |= {"state": State.RUNNING, "started_at": now}
        else:
            changes |= {"state": State.QUEUED, "lease_until": None, "lease_owner": "", "run_after": jobs.wake_after(now)}
        change(made, Q(state=State.NEW), **changes)
        if request.type == Generation.Type.VIDEO:
            jobs.wake(made)
    except WauleError:
        drop(made)
        raise
    except LeaseLost:  # it took so long that somebody took us for dead and dropped it, perhaps before there was a hold
        drop(made)
        raise Unavailable from None
    return made


def _check(made: Generation, request: GenerationRequest, model_field: str) -> None:
    """Reject what the provider of its model cannot be asked for; a rehearsal with a test key is no more lenient.

    Raises:
        UnsupportedParameter, InvalidRequest: by the name that the caller gave the field.
    """
    job = replace(job_of(made, request.reference_images), mask=request.mask, parameters=request.parameters)
    with _as_the_caller_names_it(request, model_field):
        providers.get(providers.maker(made.model.provider)).check(job)


@retried
def _insert(made: Generation, request: GenerationRequest) -> None:
    trace_parent = tracing.traceparent()
    with transaction.atomic():
        made.save(force_insert=True)
        if request.type == Generation.Type.VIDEO and (request.reference_images or request.webhook_url or trace_parent):
            GenerationInput.objects.create(
                generation=made,
                reference_images=list(request.reference_images),
                webhook_url=request.webhook_url,
                webhook_secret=request.webhook_secret or None,
                trace_parent=trace_parent,
            )
