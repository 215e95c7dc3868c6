"""How a generation ends: what was decided is written first, then money follows, then the state.

Each step can be repeated: whoever finds a row with an outcome and without its end does the rest (`apply_outcome`). So a crash
anywhere leaves one charge or none, never two and never half of one.
"""

from functools import partial
from pathlib import Path
from typing import Any

import structlog
from django.db import transaction
from django.db.models import Q
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from aiservices.generations import pending, webhooks
from aiservices.generations.leases import change
from aiservices.generations.models import Generation, GenerationInput
from aiservices.generations.providers.base import Output, ProviderResult
from aiservices.generations.settlement import one_statement
from aiservices.generations.settlement.payment import credits_held, return_payment, take_payment
from billing.ledger.posting import database_now
from gateway_client import fetch
from gateway_client.errors import NotFetched, Unusable
from storage import media, services
from storage.errors import BucketProblem
from tenants import audit
from tenants.principal import Principal
from waule.core.db import connection_pool
from waule.core.db.transactions import durable, retry_transient
from waule.core.errors import StorageUnavailable, WauleError
from waule.core.fail_points import failpoint

SETTLED_FLAG = "settled_by_operator"
MAX_ERROR_LENGTH = 1000
_NOT_FETCHED = _("The result was made, but could not be fetched. It is tried again for %(hours)s hours.")
State = Generation.State
logger = structlog.get_logger(__name__)


class GenerationFailed(WauleError):
    """What went wrong, as its row has it."""

    def __init__(self, generation: Generation) -> None:
        kept = generation.error_details
        self.code = generation.error_code or self.code
        self.http_status = kept.get("status", self.http_status)
        details = {**kept.get("details", {}), "taskId": str(generation.id)}
        if generation.state == State.UNKNOWN:
            details |= {"state": "unknown", "creditsHeld": credits_held(generation)}
        super().__init__(generation.error_message or None, retry_after_seconds=kept.get("retryAfter"), **details)


def urls_of(*generations: Generation) -> list[list[str]]:
    """Where the results of these generations, which are one owner's, are to be had now: signed addresses expire."""
    keys = {result["objectKey"] for generation in generations for result in generation.outputs if "objectKey" in result}
    fresh = media.urls(keys, owner=Principal.of(generations[0])) if keys else {}
    return [[fresh.get(result.get("objectKey"), result.get("url", "")) for result in each.outputs] for each in generations]


# --- outcomes ------------------------------------------------------------------------------------------------------


def fail(generation: Generation, error: WauleError, *, outcome: State = State.FAILED) -> None:
    """Decide that it failed, was canceled, or that nobody knows (`outcome`), and settle it.

    Raises:
        LeaseLost.
    """
    flags = [*generation.flags, *(flag for flag in getattr(error, "flags", ()) if flag not in generation.flags)]
    details = {"status": error.http_status, "details": _plain(error.details), "retryAfter": error.retry_after_seconds}
    retry_transient(
        lambda: change(
            generation,
            Q(outcome=""),
            outcome=outcome,
            flags=flags,
            error_code=error.code,
            error_message=str(error)[:MAX_ERROR_LENGTH],
            error_details={name: value for name, value in details.items() if value},
        )
    )
    retry_transient(lambda: apply_outcome(generation))


def deliver(generation: Generation, provider_result: ProviderResult) -> None:
    """Store what was made, decide that it succeeded, and settle it.

    Raises:
        LeaseLost. An UpstreamError: nothing of it can be used (released), or it may still be there (unknown).
        StorageUnavailable: it cannot be stored now. What was made is kept until it can be fetched or stored (`pending`).
    """
    try:
        _deliver(generation, provider_result)
    except StorageUnavailable:
        pending.keep(generation, provider_result.outputs, flag=pending.WAITS_FOR_STORAGE)
        raise
    except NotFetched:
        pending.keep(generation, provider_result.outputs, flag=pending.NOT_FETCHED)
        raise


def _deliver(generation: Generation, provider_result: ProviderResult) -> None:
    flags = [flag for flag in generation.flags if flag not in pending.FLAGS]
    flags += [flag for flag in provider_result.flags if flag not in flags]
    fetched, problems = fetch_all(generation, provider_result.outputs)
    flags += [problem for problem in problems if problem not in flags]
    if not fetched:
        retry_transient(lambda: change(generation, flags=flags))
        if pending.NOT_FETCHED in problems:
            raise NotFetched(_NOT_FETCHED % {"hours": f"{pending.fetch_hours():g}"})
        raise Unusable(reason="unusable_url")
    results = [retry_transient(partial(store, generation, number, output)) for number, output in enumerate(fetched)]
    asked = generation.parameters.get("quantity", 1)
    if len(results) < asked and "fewer_than_asked" not in flags:
        flags.append("fewer_than_asked")
    failpoint("generation.stored")
    if retry_transient(lambda: one_statement.end(generation, results=results, flags=flags)):
        for place in ("generation.decided", "capture.after_commit", "generation.paid"):  # all of them are this one here
            failpoint(place)
        _note_end(generation)
        return
    retry_transient(lambda: change(generation, Q(outcome=""), outcome=State.SUCCEEDED, outputs=results, flags=flags))
    failpoint("generation.decided")
    retry_transient(lambda: apply_outcome(generation))


def fetch_all(generation: Generation, outputs: tuple[Output, ...]) -> tuple[list[Output], list[str]]:
    """Return the outputs that can be had, fetched where they lie elsewhere, and a flag for each kind of problem with others."""
    types = fetch.IMAGE_TYPES if generation.type == Generation.Type.IMAGE else fetch.VIDEO_TYPES
    limit = fetch.MAX_IMAGE_BYTES if generation.type == Generation.Type.IMAGE else fetch.MAX_VIDEO_BYTES
    found: list[Output] = []
    problems: list[str] = []
    owner = Principal.of(generation)
    try:
        directory = media.incoming()
    except BucketProblem as problem:
        raise StorageUnavailable(reason=problem.reason) from problem
    stay = {output.url for output in outputs if output.url and media.is_ours(output.url, owner)}
    connection_pool.release_connection()
    for output in outputs:
        if not output.url or output.url in stay:
            found.append(output)
            continue
        try:
            file = fetch.fetch(
                output.url,
                types=types,
                max_bytes=limit,
                is_own_address=output.is_from_own_address,
                directory=directory,
            )
        except Unusable:
            problems.append("unusable_url")
        except NotFetched:
            problems.append(pending.NOT_FETCHED)
        else:
            made = Output(path=file.path, content_type=file.content_type, duration=output.duration)
            found.append(_with_text(made, output.revised_prompt))
    return found, problems


def _with_text(output: Output, revised_prompt: str) -> Output:
    return Output(path=output.path, content_type=output.content_type, duration=output.duration, revised_prompt=revised_prompt)


def store(generation: Generation, number: int, output: Output) -> dict[str, Any]:
    """Return one result in its place, as the row keeps it."""
    kept: dict[str, Any] = {"duration": str(output.duration) if output.duration else None, "revisedPrompt": output.revised_prompt}
    if output.url:
        return {"url": output.url} | {name: value for name, value in kept.items() if value}
    source: bytes | Path = output.path or output.data
    stored = media.store(
        source, owner=Principal.of(generation), content_type=output.content_type, seed=f"{generation.id}:{number}"
    )
    kept |= {
        "url": stored.address,
        "objectKey": stored.object_key,
        "contentType": stored.content_type,
        "bytes": stored.size_bytes,
    }
    return {name: value for name, value in kept.items() if value}


def settle(
    generation: Generation,
    *,
    charge: bool,
    reason: str,
    actor: str,
    request: HttpRequest | None = None,
    flag: str = SETTLED_FLAG,
) -> None:
    """What an operator knows of an outcome that was unknown: it was made (and is charged), or it was not.

    The generation was taken up again before (`unfinished.reopen`). Who decided it and why is kept with the decision.

    Raises:
        LeaseLost.
    """
    _decide(generation, charge=charge, reason=reason, actor=actor, request=request, flag=flag)
    apply_outcome(generation)


@durable
def _decide(generation: Generation, *, charge: bool, reason: str, actor: str, request: HttpRequest | None, flag: str) -> None:
    outcome = State.SUCCEEDED if charge else State.FAILED
    details = {} if charge else {"error_code": "upstream_error", "error_message": reason[:MAX_ERROR_LENGTH]}
    flags = [*(each for each in generation.flags if each != flag), flag]
    change(generation, Q(outcome=""), outcome=outcome, flags=flags, **details)
    audit.record(
        actor=actor,
        action="generation.settle",
        target=generation,
        reason=reason,
        before={"state": State.UNKNOWN, "creditsHeld": credits_held(generation)},
        after={"state": outcome},
        request=request,
    )


# --- the end -------------------------------------------------------------------------------------------------------


def apply_outcome(generation: Generation) -> None:
    """Apply the outcome: first the money, then the state. Repeated, it changes nothing more.

    Raises:
        LeaseLost: somebody else does it.
    """
    outcome = State(generation.outcome)
    if outcome == State.SUCCEEDED:
        changes = take_payment(generation)
        changes |= {"progress": 100}
    else:
        changes = return_payment(generation, outcome)
    failpoint("generation.paid")
    since = generation.completed_at if outcome == State.UNKNOWN else None  # it has been unknown since then, however often tried
    changes |= {"state": outcome, "completed_at": since or database_now(), "lease_until": None}
    with transaction.atomic():
        change(generation, Q(outcome=outcome), **changes)
        services.end_reservation(generation.id)
        if outcome != State.UNKNOWN:
            webhooks.notify(generation)
            if generation.type == Generation.Type.VIDEO:
                GenerationInput.objects.filter(generation_id=generation.id).delete()
            pending.forget(generation)
    _note_end(generation)


def _note_end(generation: Generation) -> None:
    connection_pool.release_connection()
    logger.info("generation_ended", generation=str(generation.id), state=str(generation.state), code=generation.error_code)


def _plain(details: dict[str, Any]) -> dict[str, Any]:
    """Details as JSON can keep them."""
    return {name: value if isinstance(value, int | float | bool) else str(value)[:500] for name, value in details.items()}
