"""How a generation ends: what was decided is written first, then money follows, then the state.

Each step can be repeated: whoever finds a row with a verdict and without its end does the rest (`conclude`). So a crash
anywhere leaves one charge or none, never two and never half of one.
"""

from functools import partial
from pathlib import Path
from typing import Any

import structlog
from django.db import transaction
from django.db.models import Q
from django.http import HttpRequest
from django.utils.translation import gettext as _

from aiservices import webhooks
from aiservices.heartbeats import change
from aiservices.models import Generation, GenerationInput
from aiservices.providers.base import Outcome, Output
from aiservices.wishes import owner_of, target_of
from billing import services as books
from billing.errors import HoldEnded
from billing.ledger import database_now
from billing.models import Account, Charge, Hold
from gateway_client import fetch
from gateway_client.errors import NotFetched, Unusable
from storage import media, services
from tenants import audit
from waule import connection_pool
from waule.errors import WauleError
from waule.fail_points import reach
from waule.transactions import durable, patiently

ACTOR = "generation"
SETTLED_FLAG = "settled_by_operator"
MAX_ERROR_LENGTH = 1000
State = Generation.State
logger = structlog.get_logger(__name__)


class GenerationFailed(WauleError):
    """What went wrong, as its row tells it."""

    def __init__(self, generation: Generation) -> None:
        kept = generation.error_details
        self.code = generation.error_code or self.code
        self.http_status = kept.get("status", self.http_status)
        details = {**kept.get("details", {}), "taskId": str(generation.id)}
        if generation.state == State.UNKNOWN:
            details |= {"state": "unknown", "creditsHeld": credits_held(generation)}
        super().__init__(generation.error_message or None, retry_after_seconds=kept.get("retryAfter"), **details)


def credits_held(generation: Generation) -> int:
    """What its hold holds; 0 where the gateway charges."""
    return generation.hold.credits if generation.hold else 0


def urls_of(*generations: Generation) -> list[list[str]]:
    """Where the results of these generations, which are one owner's, are to be had now: signed addresses expire."""
    keys = {result["objectKey"] for generation in generations for result in generation.outputs if "objectKey" in result}
    fresh = media.urls(keys, owner=owner_of(generations[0])) if keys else {}
    return [[fresh.get(result.get("objectKey"), result.get("url", "")) for result in each.outputs] for each in generations]


# --- verdicts ------------------------------------------------------------------------------------------------------


def fail(generation: Generation, error: WauleError, *, verdict: State = State.FAILED) -> None:
    """Decides that it failed, was canceled, or that nobody knows (`verdict`), and sees it through.

    Raises:
        LeaseLost.
    """
    told = {"status": error.http_status, "details": _plain(error.details), "retryAfter": error.retry_after_seconds}
    patiently(
        lambda: change(
            generation,
            Q(verdict=""),
            verdict=verdict,
            error_code=error.code,
            error_message=str(error)[:MAX_ERROR_LENGTH],
            error_details={name: value for name, value in told.items() if value},
        )
    )
    patiently(lambda: conclude(generation))


def deliver(generation: Generation, outcome: Outcome) -> None:
    """Stores what was made, decides that it succeeded, and sees it through.

    Raises:
        LeaseLost. An UpstreamError: nothing of it can be used (released), or it may still be there (unknown).
    """
    flags = list(generation.flags) + [flag for flag in outcome.flags if flag not in generation.flags]
    fetched, problems = fetch_all(generation, outcome.outputs)
    flags += [problem for problem in problems if problem not in flags]
    if not fetched:
        patiently(lambda: change(generation, flags=flags))
        if "not_fetched" in problems:
            raise NotFetched
        raise Unusable(reason="unusable_url")
    results = [patiently(partial(store, generation, number, output)) for number, output in enumerate(fetched)]
    asked = generation.parameters.get("quantity", 1)
    if len(results) < asked and "fewer_than_asked" not in flags:
        flags.append("fewer_than_asked")
    reach("generation.stored")
    patiently(lambda: change(generation, Q(verdict=""), verdict=State.SUCCEEDED, outputs=results, flags=flags))
    reach("generation.decided")
    patiently(lambda: conclude(generation))


def fetch_all(generation: Generation, outputs: tuple[Output, ...]) -> tuple[list[Output], list[str]]:
    """The outputs that can be had, fetched where they lie elsewhere, and a flag for each kind of problem with others."""
    types = fetch.IMAGE_TYPES if generation.type == Generation.Type.IMAGE else fetch.VIDEO_TYPES
    limit = fetch.MAX_IMAGE_BYTES if generation.type == Generation.Type.IMAGE else fetch.MAX_VIDEO_BYTES
    found: list[Output] = []
    problems: list[str] = []
    owner = owner_of(generation)
    stay = {output.url for output in outputs if output.url and media.is_ours(output.url, owner)}
    connection_pool.give_back()
    for output in outputs:
        if not output.url or output.url in stay:
            found.append(output)
            continue
        try:
            file = fetch.fetch(output.url, types=types, max_bytes=limit, directory=media.incoming())
        except Unusable:
            problems.append("unusable_url")
        except NotFetched:
            problems.append("not_fetched")
        else:
            made = Output(path=file.path, content_type=file.content_type, duration=output.duration)
            found.append(_with_text(made, output.revised_prompt))
    return found, problems


def _with_text(output: Output, revised_prompt: str) -> Output:
    return Output(path=output.path, content_type=output.content_type, duration=output.duration, revised_prompt=revised_prompt)


def store(generation: Generation, number: int, output: Output) -> dict[str, Any]:
    """One result in its place, as the row keeps it."""
    kept: dict[str, Any] = {"duration": str(output.duration) if output.duration else None, "revisedPrompt": output.revised_prompt}
    if output.url:
        return {"url": output.url} | {name: value for name, value in kept.items() if value}
    source: bytes | Path = output.path or output.data
    stored = media.store(source, owner=owner_of(generation), content_type=output.content_type, seed=f"{generation.id}:{number}")
    kept |= {
        "url": stored.address,
        "objectKey": stored.object_key,
        "contentType": stored.content_type,
        "bytes": stored.size_bytes,
    }
    return {name: value for name, value in kept.items() if value}


def settle(generation: Generation, *, charge: bool, reason: str, actor: str, request: HttpRequest | None = None) -> None:
    """What an operator knows of an outcome that was unknown: it was made (and is charged), or it was not.

    The generation was taken up again before (`work.reopen`). Who decided it and why is kept with the decision.

    Raises:
        LeaseLost.
    """
    _decide(generation, charge=charge, reason=reason, actor=actor, request=request)
    conclude(generation)


@durable
def _decide(generation: Generation, *, charge: bool, reason: str, actor: str, request: HttpRequest | None) -> None:
    verdict = State.SUCCEEDED if charge else State.FAILED
    told = {} if charge else {"error_code": "upstream_error", "error_message": reason[:MAX_ERROR_LENGTH]}
    flags = [*(flag for flag in generation.flags if flag != SETTLED_FLAG), SETTLED_FLAG]
    change(generation, Q(verdict=""), verdict=verdict, flags=flags, **told)
    audit.record(
        actor=actor,
        action="generation.settle",
        target=generation,
        reason=reason,
        before={"state": State.UNKNOWN, "creditsHeld": credits_held(generation)},
        after={"state": verdict},
        request=request,
    )


# --- the end -------------------------------------------------------------------------------------------------------


def conclude(generation: Generation) -> None:
    """Does what the verdict says: the money, then the state. Repeated, it changes nothing more.

    Raises:
        LeaseLost: somebody else does it.
    """
    verdict = State(generation.verdict)
    if verdict == State.SUCCEEDED:
        changes = _pay(generation)
        changes |= {"progress": 100}
    else:
        changes = _unpay(generation, verdict)
    reach("generation.paid")
    changes |= {"state": verdict, "completed_at": database_now(), "lease_until": None}
    with transaction.atomic():
        change(generation, Q(verdict=verdict), **changes)
        services.end_reservation(generation.id)
        if verdict != State.UNKNOWN:
            webhooks.announce(generation)
            GenerationInput.objects.filter(generation_id=generation.id).delete()
    connection_pool.give_back()
    logger.info("generation_ended", generation=str(generation.id), state=str(verdict), code=generation.error_code)


def _pay(generation: Generation) -> dict[str, Any]:
    """Captures the hold by what was delivered, or finds the charge that the gateway made."""
    if generation.is_billed_by_gateway:
        charge = gateway_charge(generation)
        return _not_charged(generation) if charge is None else _charged(charge)
    assert generation.hold_id is not None, "what was delivered was held for"
    delivered, asked = len(generation.outputs), generation.parameters.get("quantity", 1)
    changes = {"quantity": delivered} if 0 < delivered < asked else None
    try:
        return _charged(books.capture(hold_id=str(generation.hold_id), use_changes=changes, actor=ACTOR).charge)
    except HoldEnded as ended:  # somebody released it by hand
        return _not_charged(generation, state=ended.details.get("state"))


def _not_charged(generation: Generation, **why: Any) -> dict[str, Any]:
    """It was made and is delivered, and somebody has to look at it."""
    logger.error("generation_not_charged", generation=str(generation.id), **why)
    return {"flags": [*generation.flags, "not_charged"]} if "not_charged" not in generation.flags else {}


def _charged(charge: Charge) -> dict[str, Any]:
    return {"charge": charge, "credits_charged": charge.credits, "is_free": charge.is_free}


def _unpay(generation: Generation, verdict: State) -> dict[str, Any]:
    """Gives back what a failure must not cost, or keeps it while nobody knows. A failure frees its key."""
    reason = generation.error_code or str(verdict)
    if generation.is_billed_by_gateway:
        charge = gateway_charge(generation)
        if charge is not None and verdict != State.UNKNOWN:
            books.refund(charge_id=str(charge.id), reason=_("Generation %(id)s failed") % {"id": generation.id}, actor=ACTOR)
    elif (hold := generation.hold or find_hold_of(generation)) is not None:
        try:
            if verdict == State.UNKNOWN:
                books.mark_unknown(hold_id=str(hold.id), actor=ACTOR)
            else:
                books.release(hold_id=str(hold.id), reason=reason, actor=ACTOR)
        except HoldEnded as ended:
            logger.error("hold_ended_otherwise", generation=str(generation.id), state=ended.details.get("state"))
    return {"idempotency_key": None} if verdict == State.FAILED else {}


def gateway_charge(generation: Generation) -> Charge | None:
    """The charge that the gateway made with this generation's id as its key."""
    return Charge.objects.filter(account=account_of(generation), idempotency_key=str(generation.id)).first()


def find_hold_of(generation: Generation) -> Hold | None:
    """The hold made for this generation, also where a crash kept the row from naming it."""
    return Hold.objects.filter(account=account_of(generation), idempotency_key=str(generation.id)).first()


def account_of(generation: Generation) -> Account:
    target = target_of(generation)
    owner = {"tenant_id": target.id, "mode": target.mode} if target.kind == "tenant" else {"user_id": target.id}
    return Account.objects.get(**owner)


def _plain(details: dict[str, Any]) -> dict[str, Any]:
    """Details as JSON can keep them."""
    return {name: value if isinstance(value, int | float | bool) else str(value)[:500] for name, value in details.items()}
