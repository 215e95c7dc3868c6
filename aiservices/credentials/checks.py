"""Whether credentials work: their upstreams are asked, for free, and what they say is remembered."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.conf import settings
from django.utils import translation
from django.utils.translation import gettext_lazy as _

from aiservices.credentials import pool
from aiservices.credentials.models import GeminiKey, SoraToken
from aiservices.credentials.secrets import hidden
from gateway_client import answers, gemini_errors, http
from gateway_client.errors import CredentialRefused, QuotaExhausted, UpstreamError, UpstreamRateLimited
from gateway_client.transport import Deadline
from gateway_client.upstreams import sora_admin
from tenants import audit
from waule.core.crypto.encryption import reveal
from waule.core.db.connection_pool import release_connection
from waule.core.db.transactions import durable
from waule.core.errors import WauleError

TEST_SECONDS = 20.0
TEST_THREADS = 8


@dataclass(frozen=True)
class TestResult:
    """What a credential's upstream said when it was asked. `is_working` is None where it could not be asked."""

    is_working: bool | None
    outcome: str
    message: str
    latency_ms: int

    __test__ = False


def test(*, credential: GeminiKey | SoraToken, actor: str, request: Any = None) -> TestResult:
    """Ask the upstream whether this credential works, for free, and remember what it says."""
    return _detected_state(credential, _asked(credential), actor, request)


def test_many(*, rows: Sequence[GeminiKey | SoraToken], actor: str, request: Any = None) -> list[TestResult]:
    """Return the same for many, some at a time; where an upstream cannot be asked, the result says why."""

    release_connection()
    with ThreadPoolExecutor(TEST_THREADS) as threads:
        answers = list(threads.map(_asked, rows))
    return [_detected_state(row, answer, actor, request) for row, answer in zip(rows, answers, strict=True)]


class _Answer(NamedTuple):
    outcome: str
    message: str
    retry_after_seconds: int | None
    latency_ms: int


def _asked(credential: GeminiKey | SoraToken) -> _Answer:
    """Return what its upstream says, or why it could not be asked: a service that is down says nothing about a credential."""
    try:
        return _ask(credential)
    except WauleError as error:
        return _Answer("error", str(error), None, 0)


@translation.override("en")  # what is stored; pages put it into their reader's language
def _ask(credential: GeminiKey | SoraToken) -> _Answer:
    started = time.monotonic()
    told = _test_token(credential) if isinstance(credential, SoraToken) else ask_gemini(reveal(credential.secret))
    return _Answer(*told, round((time.monotonic() - started) * 1000))


def _detected_state(credential: GeminiKey | SoraToken, answer: _Answer, actor: str, request: Any) -> TestResult:
    outcome, message, retry_after_seconds, latency_ms = answer
    message = hidden(message, credential)
    pool.observe(credential=credential, outcome=outcome, retry_after_seconds=retry_after_seconds, message=message)
    _record_test(credential, outcome, message, actor, request)
    is_working = True if outcome == "ok" else False if outcome in pool.OWN_FAULTS else None
    return TestResult(is_working, outcome, message, latency_ms)


@durable
def _record_test(credential: GeminiKey | SoraToken, outcome: str, message: str, actor: str, request: Any) -> None:
    after = {"outcome": outcome, "message": message}
    audit.record(actor=actor, action="credential.test", target=credential, after=after, request=request)


def _test_token(credential: SoraToken) -> tuple[str, str, int | None]:
    """Raise UpstreamError, NotConfigured: the service cannot be asked."""
    if credential.remote_id is None:
        return "error", str(_("The Sora service does not have this token yet.")), None
    is_working, message = sora_admin.test(credential.remote_id)
    return {True: "ok", False: "invalid", None: "error"}[is_working], message, None


def ask_gemini(secret: str) -> tuple[str, str, int | None]:
    """Return the free probe of a Gemini key: (outcome as in a lease's report, sentence, Retry-After in seconds)."""
    release_connection()
    try:
        http.call(
            "GET",
            http.join(settings.GEMINI_API_URL, "models"),
            secrets={"x-goog-api-key": secret},
            deadline=Deadline(read_seconds=min(TEST_SECONDS, settings.UPSTREAM_READ_SECONDS), total_seconds=TEST_SECONDS),
            max_tries=1,
            waits_for_limit=False,
            translate=gemini_errors.translate,
        )
    except UpstreamError as error:
        said = answers.words_of(error, (secret,))
        match error:
            case QuotaExhausted():
                return "quota_exhausted", said, error.retry_after_seconds
            case UpstreamRateLimited():
                return "rate_limited", said, error.retry_after_seconds
            case CredentialRefused():
                return "invalid", said, None
        return ("overloaded" if (error.upstream_status or 0) >= 500 else "error"), said, None
    return "ok", "", None
