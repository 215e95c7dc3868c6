"""Doing something with a credential of the pool: whose fault a failure was, and when the next one is tried."""

import time
from collections.abc import Callable
from typing import Protocol, TypeVar
from uuid import UUID

import structlog
from django.db import DatabaseError, connection

from aiservices.errors import CredentialsExhausted
from gateway_client import answers
from gateway_client.errors import (
    ContentRefused,
    CredentialRefused,
    OutcomeUnknown,
    QuotaExhausted,
    ServiceBusy,
    UpstreamError,
    UpstreamFailed,
    UpstreamRateLimited,
    UpstreamRefused,
)
from gateway_client.http import MAX_RETRY_AFTER_SECONDS
from gateway_client.transport import Deadline
from waule.core.errors import WauleError

MAX_CREDENTIALS_TRIED = 5  # for one request
MAX_BUSY_TRIES = 2  # of a service that says it is overloaded: with another credential where there is one
MAX_WAITS = 2  # for a limit to pass, when every credential has met it
LEASE_MARGIN_SECONDS = 60
MIN_LEASE_SECONDS, MAX_LEASE_SECONDS = 30, 3600

T = TypeVar("T")
logger = structlog.get_logger(__name__)


class Lease(Protocol):
    @property
    def lease_id(self) -> UUID: ...
    @property
    def credential_id(self) -> UUID: ...
    @property
    def secret(self) -> str: ...


class Pool(Protocol):
    """What `aiservices.credentials.pool` offers."""

    def lease(
        self, *, provider: str, model: str | None = None, ttl_seconds: int = ..., generation_id: UUID | None = None
    ) -> Lease: ...

    def report(
        self,
        lease_id: UUID,
        outcome: str,
        retry_after_seconds: float | None = None,
        message: str = "",
        *,
        is_of_model: bool = False,
    ) -> None: ...


def with_credential(
    pool: Pool, *, provider: str, model: str, deadline: Deadline, attempt: Callable[[Lease], T], generation_id: UUID | None = None
) -> T:
    """Return what `attempt` makes of a leased credential; the next credential where the last one was refused or at its limit.

    When all have met their limit, and the upstream said that it passes within 30 s and within the clock, it is waited for.

    Raises: the UpstreamError of the last attempt; CredentialsExhausted where not one could be had.
    """
    failure: UpstreamError | None = None
    tried = waits = busy = 0
    while tried < MAX_CREDENTIALS_TRIED:
        seconds = int(deadline.left_seconds()) + LEASE_MARGIN_SECONDS
        try:
            lease = pool.lease(
                provider=provider,
                model=model,
                ttl_seconds=min(max(seconds, MIN_LEASE_SECONDS), MAX_LEASE_SECONDS),
                generation_id=generation_id,
            )
        except CredentialsExhausted:
            if failure is None:
                raise
            pause = failure.retry_after_seconds
            if pause is None or waits == MAX_WAITS or pause > MAX_RETRY_AFTER_SECONDS or pause >= deadline.left_seconds():
                break
            waits += 1
            time.sleep(pause)
            continue
        tried += 1
        _let_go_of_the_database()
        try:
            result = attempt(lease)
        except (CredentialRefused, UpstreamRateLimited, ServiceBusy) as error:
            _report(pool, lease, error)
            failure = error
            busy += isinstance(error, ServiceBusy)
            if busy == MAX_BUSY_TRIES:
                raise
        except BaseException as error:
            _report(pool, lease, error)
            raise
        else:
            _report(pool, lease, None)
            return result
    assert failure is not None
    raise failure


def result_of(error: BaseException | None) -> str:
    """Return the word of the pool for how an attempt went."""
    match error:
        case None | UpstreamRefused():  # the credential did its work
            return "ok"
        case ContentRefused():
            return "content_refused"
        case QuotaExhausted():
            return "quota_exhausted"
        case UpstreamRateLimited():
            return "rate_limited"
        case CredentialRefused():
            return "invalid"
        case UpstreamFailed():
            return "overloaded"
        case OutcomeUnknown(upstream_status=status) if status is not None and status >= 500:
            return "overloaded"
    return "error"


def _report(pool: Pool, lease: Lease, error: BaseException | None) -> None:
    """A report that fails costs nothing but the rest of the lease: what was made is worth more."""
    limit = error if isinstance(error, UpstreamRateLimited) else UpstreamRateLimited()
    said = answers.words_of(error, (lease.secret,)) if isinstance(error, UpstreamError) else ""
    try:
        pool.report(lease.lease_id, result_of(error), limit.retry_after_seconds, said, is_of_model=limit.is_of_model)
    except (WauleError, DatabaseError):
        logger.exception("lease_not_reported", lease_id=str(lease.lease_id))


def _let_go_of_the_database() -> None:
    """No connection is kept while a provider works: a hundred waiting generations would be a hundred connections."""
    if not connection.in_atomic_block:
        connection.close()
