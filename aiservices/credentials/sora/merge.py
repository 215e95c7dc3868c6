"""One token as the service describes it, written into our row."""

from datetime import UTC, datetime
from typing import Any

from django.utils import timezone
from django.utils.dateparse import parse_datetime

from aiservices.credentials import pool
from aiservices.credentials import services as credentials
from aiservices.credentials.models import SoraToken
from aiservices.credentials.secrets import MAX_SECRET_LENGTH, check_secret, email_of, expiry_of
from aiservices.credentials.sora.queries import free_id
from gateway_client.answers import clean_text
from waule.core.crypto.encryption import mask
from waule.core.errors import WauleError

MAX_LIMIT = 2**31 - 1
# What we keep of the service's word about a token. Secrets and fields of later versions stay there.
KEPT = (
    "id",
    "email",
    "name",
    "remark",
    "expiry_time",
    "is_active",
    "cooled_until",
    "created_at",
    "last_used_at",
    "use_count",
    "image_count",
    "video_count",
    "error_count",
    "plan_type",
    "plan_title",
    "subscription_end",
    "sora2_supported",
    "sora2_remaining_count",
    "sora2_total_count",
    "sora2_redeemed_count",
    "sora2_cooldown_until",
    "image_enabled",
    "video_enabled",
    "image_concurrency",
    "video_concurrency",
    "is_expired",
    "disabled_reason",
)
QUOTA_REASON = "manual"  # what the service writes when it switches a token off at the end of its quota
DEAD_REASONS = {"expired", "token_invalid", "invalid", "error_limit"}


def is_secret(text: str) -> bool:
    try:
        return check_secret(text) == text
    except WauleError:
        return False


def take_over(row: SoraToken, item: dict[str, Any], fingerprint: str) -> bool:
    """Write what the service says into a row that is in step; whether anything that an operator sees has changed."""
    before, before_all = credentials.facts(row), _values(row)
    is_new = row._state.adding
    was_active = row.is_active or is_new
    if (not row.secret or row.fingerprint != fingerprint) and is_secret(item["token"]):
        row.secret, row.fingerprint, row.masked = item["token"], fingerprint, mask(item["token"])
    for name, key in (("session_token", "st"), ("refresh_token", "rt")):
        if isinstance(item.get(key), str):
            setattr(row, name, clean_text(item[key], MAX_SECRET_LENGTH))
    row.remote_id = item["id"]
    row.email = text_of(item, "email", 254) or row.email or email_of(item["token"])
    row.name = row.name or text_of(item, "name", 200)
    if "remark" in item:
        row.remark = text_of(item, "remark", 500)
    for name in ("image_enabled", "video_enabled", "is_active"):
        if isinstance(item.get(name), bool):
            setattr(row, name, item[name])
    for name in ("image_concurrency", "video_concurrency"):
        if _is_number(item.get(name)) and -1 <= item[name] <= MAX_LIMIT:
            setattr(row, name, item[name])
    row.expires_at = _moment(item.get("expiry_time")) or expiry_of(item["token"])
    row.is_deleted, row.is_missing_there = False, False
    row.conflict, row.push_error = {}, ""
    row.remote = {name: _kept(item[name]) for name in KEPT if isinstance(item.get(name), str | int | float)}
    detected = _detected_state(row, item, was_active)
    if is_new or before_all != _values(row):
        free_id(item["id"], row)
        row.save()
    if detected is not None and (row.state, row.cooling_until) != detected:
        pool.mark_within(row, *detected)
    return before != credentials.facts(row)


def _values(row: SoraToken) -> dict[str, Any]:
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}


def _kept(value: Any) -> Any:
    return clean_text(value, 500) if isinstance(value, str) else value


def _detected_state(row: SoraToken, item: dict[str, Any], was_active: bool) -> tuple[str, datetime | None] | None:
    """Return what the service found out: a cooldown, a quota at its end, a dead token. The state and until when, or None."""
    reason = text_of(item, "disabled_reason", 500)
    cooldown = _moment(item.get("sora2_cooldown_until"))
    if row.is_active:
        was_quota, row.is_probably_quota, row.disabled_reason = row.is_probably_quota, False, ""
        cooled_until = _moment(item.get("cooled_until"))
        if cooled_until is not None and cooled_until > timezone.now():
            return row.State.COOLING, cooled_until
        return (row.State.READY, None) if was_quota else None
    if reason.lower() == QUOTA_REASON and cooldown is not None and (was_active or row.is_probably_quota):
        row.is_probably_quota, row.disabled_reason = True, reason
        return row.State.QUOTA_EXHAUSTED, cooldown
    if was_active:
        row.is_probably_quota, row.disabled_reason = False, reason
        if reason.lower() in DEAD_REASONS or item.get("is_expired") is True:
            return row.State.INVALID, None
    return None


def text_of(item: dict[str, Any], name: str, limit: int) -> str:
    return clean_text(item.get(name), limit)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _moment(value: Any) -> datetime | None:
    """Return the service writes moments without a zone, in UTC; later versions write one."""
    try:
        if isinstance(value, str) and len(value) <= 40:
            timestamp = parse_datetime(value)
        elif _is_number(value) and 0 < value < 32503680000:
            timestamp = datetime.fromtimestamp(value, UTC)
        else:
            return None
    except ValueError:
        return None
    return timestamp if timestamp is None or timestamp.tzinfo else timestamp.replace(tzinfo=UTC)
