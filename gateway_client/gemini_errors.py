"""What Gemini's own error details add to the table of what answers mean: whose fault it is, and for how long.

The rows are those of docs/providers.md.
"""

import re
from collections.abc import Mapping
from typing import Any

from gateway_client import answers
from gateway_client.errors import CredentialRefused, QuotaExhausted, UpstreamError, UpstreamRateLimited

KEY_PROBLEMS = {"API_KEY_INVALID", "API_KEY_EXPIRED", "API_KEY_SERVICE_BLOCKED", "ACCESS_TOKEN_EXPIRED", "BILLING_DISABLED"}
# A 400 that is about the key, where it comes without details.
_ABOUT_THE_KEY = re.compile(
    r"\b(?:api[ _-]?key|key)\b.{0,60}\b(?:not valid|invalid|expired|not found|leaked|revoked|suspended|blocked)\b", re.IGNORECASE
)


def translate(status: int, headers: Mapping[str, str], body: Any) -> UpstreamError | None:
    """Return the error that an answer means; None where the table says it all."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return None
    details = error.get("details")
    details = [item for item in details if isinstance(item, dict)] if isinstance(details, list) else []
    if status in (400, 401, 403) and _is_about_the_key(status, error, details):
        return CredentialRefused(reason="credential_refused")
    if status == 429:
        quotas = [quota for item in details for quota in _quotas(item)]
        kind = QuotaExhausted if any("PerDay" in quota for quota in quotas) else UpstreamRateLimited
        seconds = next(filter(None, (_retry_delay_seconds(item) for item in details)), None)
        limit = kind(reason="rate_limited", retry_after_seconds=seconds or answers.retry_after_seconds(headers))
        limit.is_of_model = bool(quotas) and all("PerModel" in quota for quota in quotas)
        return limit
    return None


def _is_about_the_key(status: int, error: Mapping[str, Any], details: list[dict[str, Any]]) -> bool:
    """No such key, an expired one, or one whose project is not served: without billing, or at its location."""
    if any(item.get("reason") in KEY_PROBLEMS for item in details) or error.get("status") == "FAILED_PRECONDITION":
        return True
    return status == 400 and bool(_ABOUT_THE_KEY.search(answers.clean_text(error.get("message"), 500)))


def _retry_delay_seconds(detail: Mapping[str, Any]) -> int | None:
    """`RetryInfo.retryDelay`, such as `33.5s`, in whole seconds."""
    match = re.fullmatch(r"([0-9]{1,6})(\.[0-9]{1,9})?s", str(detail.get("retryDelay", "")))
    return int(match[1]) + (1 if match[2] and float(match[2]) else 0) if match else None


def _quotas(detail: Mapping[str, Any]) -> list[str]:
    """Return the names of the quotas that were exceeded, such as `GenerateRequestsPerDayPerProjectPerModel-FreeTier`."""
    violations = detail.get("violations")
    found = [item.get("quotaId") for item in violations if isinstance(item, dict)] if isinstance(violations, list) else []
    return [quota for quota in found if isinstance(quota, str) and quota]
