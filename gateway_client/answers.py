"""What an upstream's answer says: strict JSON, its sentences, and the error that a failure means (`outcomes`)."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any

from gateway_client import outcomes
from gateway_client.errors import ContentRefused, NothingMade, OutcomeUnknown, QuotaExhausted, UpstreamError, UpstreamRateLimited
from waule.core.logs import redact_text

MAX_DEPTH = 32
MAX_DIGITS = 400  # an absurd number is read, and found absurd, instead of costing quadratic time
MAX_REASON_LENGTH = 300


class NotAnAnswer(Exception):
    """The bytes are not JSON, or JSON in a spelling that two readers could read differently."""


def parse(raw: bytes) -> Any:
    """Return the value that an upstream's JSON spells. Numbers with a fraction become Decimals.

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
    """Return the upstream's own sentence, without anything that is or looks like a secret; "" where it gave none."""
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


def retry_after_seconds(headers: Mapping[str, str]) -> int | None:
    """`Retry-After`, as seconds or as a date; None where it is absent or nonsense."""
    text = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return int(text)
    try:
        timestamp = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    timestamp = timestamp if timestamp.tzinfo else timestamp.replace(tzinfo=UTC)
    return max(0, int((timestamp - datetime.now(UTC)).total_seconds() + 0.999))


def problem(status: int, headers: Mapping[str, str], body: Any, secrets: tuple[str, ...] = ()) -> UpstreamError:
    """Return the error that an answer with a status outside 200 to 299 means, as `outcomes.TABLE` says."""
    row = outcomes.meaning(outcomes.Failure(status, body))
    reason = row.reason.format(status=status) or reason_of(body, secrets) or f"status_{status}"
    if issubclass(row.error, UpstreamRateLimited):
        return row.error(reason=reason, retry_after_seconds=retry_after_seconds(headers))
    return row.error(reason=reason)


def words_of(error: UpstreamError, secrets: tuple[str, ...] = ()) -> str:
    """Return what an operator reads of a failure: the status and the upstream's own sentence, without anything secret."""
    sentence = reason_of(error.upstream_body, secrets) or str(error.details.get("reason") or error)
    return f"{error.upstream_status}: {sentence}" if error.upstream_status else sentence


def told_error(body: Any, *, otherwise: type[UpstreamError] = NothingMade) -> UpstreamError:
    """Return the error in the body of an answer with a status of success: the content filter, our account, or nothing made."""
    failure = outcomes.Failure(200, body)
    kind = ContentRefused if outcomes.is_content(failure) else QuotaExhausted if outcomes.is_account(failure) else otherwise
    return kind(reason=reason_of(body) or "error")


def raise_reported_error(body: Any) -> None:
    """Raise the error in the body of a 200; OutcomeUnknown for what is no object."""
    if not isinstance(body, dict):
        raise OutcomeUnknown(reason="not_an_object")
    if body.get("error") and not body.get("data"):
        raise told_error(body)
