"""What an answer with a status outside 200 to 299 means: one closed table, the first row that fits decides.

Its rows are those of docs/providers.md. A new spelling of something known is one more word, a new meaning one more row.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from gateway_client.errors import (
    ContentRefused,
    CredentialRefused,
    ModelGone,
    ModelGoneThere,
    NothingMade,
    OutcomeUnknown,
    QuotaExhausted,
    ServiceBusy,
    UpstreamError,
    UpstreamFailed,
    UpstreamRateLimited,
    UpstreamRefused,
)

# Words that upstreams use as an error's `type`, `code` or `status`; compared without case, `_`, `-`, `.` and spaces.
CONTENT_WORDS = (
    *("content_policy_violation", "content_filter", "moderation_blocked", "sensitive_words_detected", "content_moderation"),
    *("DataInspectionFailed", "prompt_blocked", "image_safety"),
)
CONTENT_PARTS = ("SensitiveContentDetected", "RiskDetection")  # Volcengine: `InputTextSensitiveContentDetected.…`
ACCOUNT_WORDS = (
    *("insufficient_quota", "quota_exceeded", "quota_exhausted", "insufficient_user_quota", "pre_consume_token_quota_failed"),
    *("billing_hard_limit_reached", "billing_limit_user_error", "billing_not_active", "insufficient_balance"),
    *("Arrearage", "AccountOverdueError", "OperationDenied.ServiceOverdue", "SetLimitExceeded"),
    *("AllocationQuota.FreeTierOnly", "Throttling.AllocationQuota"),
)
MODEL_WORDS = ("model_not_found", "InvalidEndpointOrModel.NotFound")


@dataclass(frozen=True)
class Failure:
    """A failed answer as the table sees it. `body` is its JSON value, None where it had none."""

    status: int
    body: Any

    @property
    def words(self) -> set[str]:
        return words_of(self.body)

    @property
    def is_structured(self) -> bool:
        """Whether the upstream itself says that it failed, in an error shape that is in use. A proxy's page is not that."""
        if not isinstance(self.body, dict):
            return False
        error = self.body.get("error")
        if isinstance(error, dict):
            return isinstance(error.get("message"), str) and any(error.get(name) for name in ("type", "code", "status"))
        return self.body.get("success") is False and isinstance(error, str)


class Row(NamedTuple):
    """One meaning. `reason` is what the caller gets in `details.reason`; empty: the upstream's own sentence."""

    fits: Callable[[Failure], bool]
    error: type[UpstreamError]
    reason: str = ""


def status(*numbers: int) -> Callable[[Failure], bool]:
    return lambda failure: failure.status in numbers


def word(words: Iterable[str], parts: Iterable[str] = ()) -> Callable[[Failure], bool]:
    known, contained = {plain(each) for each in words}, [plain(each) for each in parts]

    def fits(failure: Failure) -> bool:
        found = failure.words
        return bool(known & found) or any(part in each for part in contained for each in found)

    return fits


def any_of(*conditions: Callable[[Failure], bool]) -> Callable[[Failure], bool]:
    return lambda failure: any(fits(failure) for fits in conditions)


def structured(*numbers: int) -> Callable[[Failure], bool]:
    """Return the upstream's own error, with one of these statuses; without any, with a status of 500 and more."""
    return lambda failure: failure.is_structured and (failure.status in numbers if numbers else failure.status >= 500)


def plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def is_model_gone(failure: Failure) -> bool:
    """Its own error says that there is no such model: by a word, or by a 404 about a model.

    Not with a 5xx: new-api's 503 `No available channel` has the word `model_not_found` while all its channels are busy.
    """
    if not failure.is_structured or failure.status >= 500:
        return False
    return is_model_word(failure) or (failure.status == 404 and "model" in reason_of_error(failure.body).lower())


def is_model_gone_there(failure: Failure) -> bool:
    """The Sora service says so with a 500, and the gateways pass that on."""
    is_5xx = failure.is_structured and failure.status >= 500
    return is_5xx and reason_of_error(failure.body).lower().startswith("400: invalid model")


def reason_of_error(body: dict[str, Any]) -> str:
    error = body["error"]
    return error["message"] if isinstance(error, dict) else str(error)


is_content = word(CONTENT_WORDS, CONTENT_PARTS)
is_account = word(ACCOUNT_WORDS)
is_model_word = word(MODEL_WORDS)

# fmt: off
TABLE = (
    #   the answer                                        the error            and its reason
    Row(is_content,                                       ContentRefused),
    Row(status(*range(300, 400)),                         NothingMade,         "redirect"),
    Row(any_of(status(402), is_account),                  QuotaExhausted,      "quota_exhausted"),
    Row(status(401, 403),                                 CredentialRefused,   "credential_refused"),
    Row(status(429),                                      UpstreamRateLimited, "rate_limited"),
    Row(is_model_gone,                                    ModelGone),
    Row(is_model_gone_there,                              ModelGoneThere),
    Row(status(400, 404, 413, 415, 422),                  UpstreamRefused),
    Row(status(408, 409, 499),                            OutcomeUnknown,      "status_{status}"),
    Row(structured(503, 529),                             ServiceBusy),
    Row(structured(),                                     UpstreamFailed),
    Row(lambda failure: not 200 <= failure.status < 500,  OutcomeUnknown,      "status_{status}"),
    Row(lambda failure: True,                             UpstreamError,       "status_{status}"),
)
# fmt: on


def meaning(failure: Failure) -> Row:
    """Return the row that decides."""
    return next(row for row in TABLE if row.fits(failure))


def words_of(body: Any) -> set[str]:
    """Return the `type`, `code` and `status` of an error body, as `plain` makes them."""
    if not isinstance(body, dict):
        return set()
    error = body.get("error")
    places = [body, error] if isinstance(error, dict) else [body]
    values = [place.get(name) for place in places for name in ("type", "code", "status")]
    return {plain(value) for value in values if isinstance(value, str)} - {""}
