"""Generations that somebody left unfinished: a process died, nobody knew the outcome, or the result could not be stored then."""

from dataclasses import replace
from typing import Any

from django.db.models import Q

from aiservices.errors import CredentialsExhausted, Interrupted, LeaseLost
from aiservices.generations import pending, providers
from aiservices.generations.execution import finish, job_of, may_exist
from aiservices.generations.leases import heartbeat, is_abandoned, take_over
from aiservices.generations.models import Generation
from aiservices.generations.providers.base import ProviderResult
from aiservices.generations.settlement.outcomes import apply_outcome, fail, fetch_all
from aiservices.generations.settlement.payment import find_hold_of
from billing import services as billing_services
from billing.ledger.models import Hold
from billing.ledger.posting import database_now
from gateway_client.errors import OutcomeUnknown, UpstreamError
from storage import services as storage
from waule.core.db import connection_pool
from waule.core.errors import NotConfigured, StorageUnavailable

State = Generation.State


def recover(generation: Generation) -> None:
    """Settle what a dead process left unfinished: money is moved once or not at all, and nothing is guessed.

    Raises:
        LeaseLost: somebody else was quicker.
    """
    as_read = Q(state=generation.state, lease_until=generation.lease_until)  # it may have been admitted, or renewed, since
    if not is_abandoned(generation, database_now()) or not take_over(generation, as_read):
        raise LeaseLost
    with heartbeat.keep(generation):
        if generation.outcome:
            apply_outcome(generation)
        elif generation.state == State.NEW:
            drop(generation)
        elif not may_exist(generation):
            fail(generation, Interrupted())  # the sandbox has made nothing that cannot be made again
        else:
            ask_what_became_of(generation)


def ask_what_became_of(generation: Generation) -> None:
    """Ask the provider; where it cannot tell, the outcome is unknown.

    Raises:
        LeaseLost.
    """

    def ask() -> ProviderResult:
        provider_result = providers.get(generation.route).find(job_of(generation))
        if provider_result is None:
            raise OutcomeUnknown(reason="interrupted")
        return provider_result

    finish(generation, ask)


def ask_again(generation: Generation) -> None:
    """Ask the provider what became of an unknown outcome, and end it by what it says, if it can say.

    Raises:
        LeaseLost.
    """
    said: ProviderResult | UpstreamError | None
    connection_pool.release_connection()
    try:
        said = providers.get(generation.route).find(job_of(generation))
    except UpstreamError as error:
        said = None if error.is_unknown or error.may_try_again else error
    except (NotConfigured, CredentialsExhausted, StorageUnavailable):
        said = None
    if said is None:
        return
    reopen(generation)

    def tell() -> ProviderResult:
        if isinstance(said, UpstreamError):
            raise said
        return said

    with heartbeat.keep(generation):
        finish(generation, tell)


def deliver_pending(generation: Generation) -> None:
    """Fetch and store what was made while it could not be, and end the generation; where it still cannot, it stays as it is.

    Raises:
        LeaseLost. StorageUnavailable: there is no room to fetch it.
    """
    provider_result = pending.result_of(generation)
    if provider_result is None:
        return
    fetched, problems = fetch_all(generation, provider_result.outputs)
    if not fetched and pending.NOT_FETCHED in problems:
        return
    reopen(generation)
    had = replace(provider_result, outputs=tuple(fetched), flags=tuple(problems))
    with heartbeat.keep(generation):
        finish(generation, lambda: had)


def reopen(generation: Generation) -> None:
    """Take an unknown outcome up again, so that it can end otherwise.

    Raises:
        LeaseLost.
    """
    cleared: dict[str, Any] = {"outcome": "", "error_code": "", "error_message": "", "error_details": {}}
    cleared["deadline_at"] = None  # it is being ended, whatever its job's deadline was
    taken = take_over(generation, Q(state=State.UNKNOWN, outcome=State.UNKNOWN), state=State.RUNNING, **cleared)
    if not taken:
        raise LeaseLost


def drop(generation: Generation) -> None:
    """Forget a generation that was never admitted, with the hold and the reservation it may have come to."""
    hold = find_hold_of(generation)
    if hold is not None and hold.state == Hold.State.HELD:
        billing_services.release(hold_id=str(hold.id), reason="interrupted", actor="generation")
    storage.end_reservation(generation.id)
    Generation.objects.filter(id=generation.id, attempt=generation.attempt, state=State.NEW).delete()
