"""Whether credentials work: their upstreams are asked, for free, and what they say is remembered."""

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.conf import settings
from django.utils import translation
from django.utils.translation import gettext_lazy as _

from aiservices import credentials, pool
from aiservices.models import GeminiKey, SoraToken
from gateway_client import http, sora_admin
from gateway_client.errors import CredentialRefused, QuotaExhausted, UpstreamError, UpstreamRateLimited
from gateway_client.transport import Clock
from tenants import audit
from waule.connection_pool import give_back
from waule.encryption import reveal
from waule.errors import WauleError
from waule.transactions import durable

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
    """Asks the upstream whether this credential works, for free, and remembers what it says.

    Raises:
        UpstreamError, NotConfigured: the Sora service cannot be asked.
    """
    return _learned(credential, _ask(credential), actor, request)


def test_many(*, rows: Sequence[GeminiKey | SoraToken], actor: str, request: Any = None) -> list[TestResult]:
    """The same for many, some at a time; where an upstream cannot be asked, the result says why."""

    def ask(row: GeminiKey | SoraToken) -> _Answer:
        try:
            return _ask(row)
        except WauleError as error:
            return _Answer("error", str(error), None, 0)

    give_back()
    with ThreadPoolExecutor(TEST_THREADS) as threads:
        answers = list(threads.map(ask, rows))
    return [_learned(row, answer, actor, request) for row, answer in zip(rows, answers, strict=True)]


class _Answer(NamedTuple):
    outcome: str
    message: str
    retry_after_seconds: int | None
    latency_ms: int


@translation.override("en")  # what is stored; pages put it into their reader's language
def _ask(credential: GeminiKey | SoraToken) -> _Answer:
    started = time.monotonic()
    told = _test_token(credential) if isinstance(credential, SoraToken) else ask_gemini(reveal(credential.secret))
    return _Answer(*told, round((time.monotonic() - started) * 1000))


def _learned(credential: GeminiKey | SoraToken, answer: _Answer, actor: str, request: Any) -> TestResult:
    outcome, message, retry_after_seconds, latency_ms = answer
    message = credentials.hidden(message, credential)
    pool.observe(credential=credential, outcome=outcome, retry_after_seconds=retry_after_seconds, message=message)
    _record_test(credential, outcome, message, actor, request)
    is_working = True if outcome == "ok" else False if outcome in pool.OWN_FAULTS else None
    return TestResult(is_working, outcome, message, latency_ms)


@durable
def _record_test(credential: GeminiKey | SoraToken, outcome: str, message: str, actor: str, request: Any) -> None:
    after = {"outcome": outcome, "message": message}
    audit.record(actor=actor, action="credential.test", target=credential, after=after, request=request)


def _test_token(credential: SoraToken) -> tuple[str, str, int | None]:
    """Raises an UpstreamError where the service cannot be asked."""
    if credential.remote_id is None:
        return "error", str(_("The Sora service does not have this token yet.")), None
    is_working, message = sora_admin.test(credential.remote_id)
    return ("ok" if is_working else "invalid"), message, None


def ask_gemini(secret: str) -> tuple[str, str, int | None]:
    """The free probe of a Gemini key: (outcome as in a lease's report, sentence, Retry-After in seconds)."""
    give_back()
    try:
        http.call(
            "GET",
            http.join(settings.GEMINI_API_URL, "models"),
            secrets={"x-goog-api-key": secret},
            clock=Clock(read_seconds=min(TEST_SECONDS, settings.UPSTREAM_READ_SECONDS), total_seconds=TEST_SECONDS),
            max_tries=1,
            waits_for_limit=False,
        )
    except QuotaExhausted as error:
        return "quota_exhausted", str(error), error.retry_after_seconds
    except UpstreamRateLimited as error:
        return "rate_limited", str(error), error.retry_after_seconds
    except UpstreamError as error:
        if is_gemini_key_refused(error):
            return "invalid", str(CredentialRefused.message), None
        outcome = "overloaded" if (error.upstream_status or 0) >= 500 else "error"
        return outcome, f"{error} ({error.details.get('reason', '')})", None
    return "ok", "", None


def is_gemini_key_refused(error: UpstreamError) -> bool:
    """401 and 403, or the 400 by which Gemini says that there is no such key."""
    return isinstance(error, CredentialRefused) or "API_KEY_INVALID" in json.dumps(error.upstream_body, default=str)
