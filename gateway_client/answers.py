"""What an upstream's answer says: strict JSON, and the closed table from status and error code to our errors."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any

from gateway_client.errors import (
    ContentRefused,
    CredentialRefused,
    NothingMade,
    OutcomeUnknown,
    QuotaExhausted,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRefused,
)
from waule.logs import redact_text

MAX_DEPTH = 32
MAX_DIGITS = 400  # an absurd number is read, and found absurd, instead of costing quadratic time
MAX_REASON_LENGTH = 300

REFUSED = {400, 404, 413, 415, 422}
CREDENTIAL_REFUSED = {401, 403}
MAY_BE_AT_WORK = {408, 409, 499}  # timed out there, "already in progress", hung up: says nothing about the work
CONTENT_WORDS = {"content_policy_violation", "content_filter", "moderation_blocked"}
QUOTA_WORDS = {"insufficient_quota", "quota_exceeded", "quota_exhausted", "billing_hard_limit_reached"}


class NotAnAnswer(Exception):
    """The bytes are not JSON, or JSON in a spelling that two readers could read differently."""


def parse(raw: bytes) -> Any:
    """The value that an upstream's JSON spells. Numbers with a fraction become Decimals.

    Raises NotAnAnswer: not UTF-8, no JSON, NaN or an infinity, a duplicate key, nesting deeper than 32, an integer of
    more than 400 digits.
    """
    try:
        value = _decoder.decode(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError, ArithmeticError):
        raise NotAnAnswer from None
    _check_depth(value)
    return value


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise NotAnAnswer
    return result


def _constant(_name: str) -> Any:
    raise NotAnAnswer


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise NotAnAnswer
    return int(text)


_decoder = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_constant, parse_int=_integer, parse_float=Decimal)


def _check_depth(value: Any) -> None:
    level, depth = [value], 0
    while level := [item for item in level if isinstance(item, dict | list)]:
        depth += 1
        if depth > MAX_DEPTH:
            raise NotAnAnswer
        level = [below for item in level for below in (item.values() if isinstance(item, dict) else item)]


def clean_text(text: Any, limit: int) -> str:
    """`text` in a form that a database can store, at most `limit` characters; "" for what is no text."""
    if not isinstance(text, str):
        return ""
    return re.sub("[\0\ud800-\udfff]", "", text)[:limit]


def reason_of(body: Any, secrets: tuple[str, ...] = ()) -> str:
    """The upstream's own sentence, without anything that is or looks like a secret; "" where it gave none."""
    text = ""
    if isinstance(body, dict):
        error = body.get("error")
        candidates = [error, body.get("detail"), body.get("message")]
        if isinstance(error, dict):
            candidates.insert(0, error.get("message"))
        text = next((item for item in candidates if isinstance(item, str) and item), "")
    for secret in secrets:
        text = text.replace(secret, "[hidden]")
    return clean_text(redact_text(text), MAX_REASON_LENGTH)


def words_of(body: Any) -> set[str]:
    """The `type` and `code` words of an error body, in lower case."""
    if not isinstance(body, dict):
        return set()
    error = body.get("error")
    places = [body, error] if isinstance(error, dict) else [body]
    values = [place.get(name) for place in places for name in ("type", "code")]
    return {value.lower() for value in values if isinstance(value, str)}


def retry_after_seconds(headers: Mapping[str, str]) -> int | None:
    """`Retry-After`, as seconds or as a date; None where it is absent or nonsense."""
    text = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return int(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0, int((moment - datetime.now(UTC)).total_seconds() + 0.999))


def problem(status: int, headers: Mapping[str, str], body: Any, secrets: tuple[str, ...] = ()) -> UpstreamError:
    """The error that an answer with a status outside 200 to 299 means. What is in no row is a bare UpstreamError."""
    words, reason = words_of(body), reason_of(body, secrets)
    if words & CONTENT_WORDS:
        return ContentRefused(reason=reason or "content_refused")
    if 300 <= status < 400:
        return NothingMade(reason="redirect")
    if status in CREDENTIAL_REFUSED:
        return CredentialRefused(reason="credential_refused")
    if status == 429:
        kind = QuotaExhausted if words & QUOTA_WORDS else UpstreamRateLimited
        return kind(reason="rate_limited", retry_after_seconds=retry_after_seconds(headers))
    if status in REFUSED:
        return UpstreamRefused(reason=reason or f"status_{status}")
    if status in MAY_BE_AT_WORK or status >= 500 or status < 200:
        return OutcomeUnknown(reason=f"status_{status}")
    return UpstreamError(reason=f"status_{status}")
