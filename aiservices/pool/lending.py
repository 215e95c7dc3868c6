"""Lending: which credential is taken, and when the next one may be ready."""

import logging
import math
import random
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from datetime import time as time_of_day
from functools import lru_cache
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import connection
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from aiservices.errors import CredentialsExhausted
from aiservices.models import AIModel, Credential, CredentialLease, GeminiKey, SoraToken
from aiservices.pool.overdue import end_overdue, end_overdue_now_and_then
from aiservices.pool.rows import MODELS, given_back, today, values_of
from waule.encryption import SecretUnreadable, Unreadable, open_sealed
from waule.errors import InvalidRequest
from waule.ids import uuid7
from waule.transactions import durable, retried

logger = logging.getLogger(__name__)

USES = ("image", "video")
MIN_TTL_SECONDS = 30
MAX_TTL_SECONDS = 3600
DEFAULT_TTL_SECONDS = 600
UNREADABLE_SECONDS = 60  # a secret that no key opens is looked at again after that
BUSY_SECONDS = 5  # a lease that is out may be reported any moment
NO_IDEA_SECONDS = 60  # nothing is switched on: nobody knows when something will be
MAX_UNREADABLE = 5
MAX_SKIPS = 100  # tries of a few milliseconds each


@dataclass(frozen=True)
class Lease:
    """A credential that is ours until `expires_at`, unless it is reported before. `secret` is in no `repr`."""

    lease_id: UUID
    credential_id: UUID
    provider: str
    secret: str = field(repr=False)
    expires_at: datetime
    is_trial: bool = False

    @property
    def credential(self) -> GeminiKey | SoraToken:
        """The credential's row, read anew."""
        return MODELS[self.provider].objects.get(pk=self.credential_id)


def lease(*, provider: str, model: str | None = None, ttl_seconds: int = DEFAULT_TTL_SECONDS, use: str | None = None) -> Lease:
    """Lends the best credential of `provider` that is ready.

    Raises:
        CredentialsExhausted: none is ready; `retry_after_seconds` is when the soonest may be.
        InvalidRequest: no such provider, use or time.
        SecretUnreadable: the only ones that are ready were sealed with a key that is gone.
    """
    if provider not in MODELS:
        raise InvalidRequest.of_field("provider", _("Choose gemini or sora."))
    if not MIN_TTL_SECONDS <= ttl_seconds <= MAX_TTL_SECONDS:
        raise InvalidRequest.of_field("ttl", _("Send 30 to 3600 seconds."))
    if use is not None and use not in USES:
        raise InvalidRequest.of_field("use", _("Choose image or video."))
    model = (model or "")[:64]
    use = use or _use_of(provider, model)
    end_overdue_now_and_then()
    for _attempt in range(MAX_UNREADABLE):
        taken = _take(provider, model, use, ttl_seconds) or _take_patiently(provider, model, use, ttl_seconds)
        if taken is None:
            raise CredentialsExhausted(retry_after_seconds=seconds_until_ready(provider, use))
        lease_id, credential_id, sealed, is_trial, expires_at = taken
        secret = open_sealed(bytes(sealed))
        if not isinstance(secret, Unreadable):
            return Lease(lease_id, credential_id, provider, secret, expires_at, is_trial)
        logger.error("a credential cannot be decrypted", extra={"provider": provider, "id": str(credential_id)})
        _put_aside(provider, lease_id, credential_id)
    raise SecretUnreadable


def _take_patiently(provider: str, model: str, use: str, ttl_seconds: int) -> "_Taken | None":
    """Once more, where leases have ended by themselves or others held the ready rows for an instant.

    Waiting for those rows' locks instead would deadlock: each of us would keep the rows that it found too busy.
    """
    end_overdue()
    for _attempt in range(MAX_SKIPS):
        taken = _take(provider, model, use, ttl_seconds)
        if taken is not None or not _is_any_ready(provider, use):
            return taken
        time.sleep(random.uniform(0.0005, 0.004))  # noqa: S311  (jitter, not a secret)
    return None


def _use_of(provider: str, model: str) -> str:
    """Whether `model` makes images or videos, where that matters and can be told; else an empty text."""
    if provider != "sora" or not model:
        return ""
    found = set(AIModel.objects.filter(provider=provider, model_id=model).values_list("type", flat=True)[:2])
    if found == {AIModel.Type.IMAGE_GENERATION}:
        return "image"
    if found == {AIModel.Type.VIDEO_GENERATION}:
        return "video"
    return "image" if "image" in model else "video" if model.startswith("sora") else ""


# Written by hand: one round trip instead of five, and the conditions are looked at again once the row is locked.
# The names in braces are columns and tables of ours; every value is a parameter.
_READY = """is_active
    AND (state = 'ready' OR (cooling_until <= %(now)s AND (trial_until IS NULL OR trial_until <= %(now)s)))
    AND (max_in_flight < 0 OR in_flight < max_in_flight)
    AND (daily_limit < 0 OR day IS NULL OR day <> %(today)s OR uses_today < daily_limit)"""
_READY_SORA = """
    AND NOT is_deleted AND NOT is_missing_there AND (expires_at IS NULL OR expires_at > %(now)s)"""
_READY_SORA_USE = """
    AND {use}_enabled AND ({use}_concurrency < 0 OR in_flight_{use}s < {use}_concurrency)"""
_READY_SORA_ANY = """
    AND (image_enabled OR video_enabled)"""
_ORDER = "priority DESC, in_flight * 1.0 / weight, -ln(1.0 - {random}()) / weight"
_TAKE = """
    in_flight = {c}in_flight + 1{more}, last_used_at = %(now)s, use_count = {c}use_count + 1, day = %(today)s,
    uses_today = CASE WHEN {c}day = %(today)s THEN {c}uses_today + 1 ELSE 1 END,
    errors_today = CASE WHEN {c}day = %(today)s THEN {c}errors_today ELSE 0 END,
    trial_until = CASE WHEN {c}state = 'ready' THEN NULL ELSE %(expires_at)s END"""
_LEASE_COLUMNS = "id, provider, credential_id, model, use, is_trial, created_at, expires_at, outcome, message"


def _ready(provider: str, use: str) -> str:
    if provider != "sora":
        return _READY
    return _READY + _READY_SORA + (_READY_SORA_USE.format(use=use) if use else _READY_SORA_ANY)


@lru_cache(maxsize=32)
def _take_sql(vendor: str, provider: str, use: str) -> str:
    table = MODELS[provider]._meta.db_table
    counted = f"in_flight_{use}s" if provider == "sora" and use else ""
    ready = _ready(provider, use)
    if vendor == "postgresql":
        more = f", {counted} = c.{counted} + 1" if counted else ""
        return f"""
            WITH picked AS (
                SELECT id FROM {table} WHERE {ready} ORDER BY {_ORDER.format(random="random")} LIMIT 1
                FOR NO KEY UPDATE SKIP LOCKED
            ), taken AS (
                UPDATE {table} c SET {_TAKE.format(c="c.", more=more)} FROM picked WHERE c.id = picked.id
                RETURNING c.id, c.secret, c.state <> 'ready' AS is_trial
            ), written AS (
                INSERT INTO aiservices_credentiallease ({_LEASE_COLUMNS})
                SELECT %(id)s, %(provider)s, id, %(model)s, %(use)s, is_trial, %(now)s, %(expires_at)s, '', '' FROM taken
            )
            SELECT id, secret, is_trial FROM taken"""  # noqa: S608  (see above)
    more = f", {counted} = {counted} + 1" if counted else ""
    return f"""
        UPDATE {table} SET {_TAKE.format(c="", more=more)}
        WHERE id = (SELECT id FROM {table} WHERE {ready} ORDER BY {_ORDER.format(random="rand")} LIMIT 1)
        RETURNING id, secret, state <> 'ready'"""  # noqa: S608


_Taken = tuple[UUID, UUID, bytes, bool, datetime]


def _take(provider: str, model: str, use: str, ttl_seconds: int) -> _Taken | None:
    now = timezone.now()
    lease_id, expires_at = uuid7(), now + timedelta(seconds=ttl_seconds)
    values = values_of(now, id=lease_id, provider=provider, model=model, use=use, expires_at=expires_at)
    sql = _take_sql(connection.vendor, provider, use)
    row = _take_one(sql, values) if connection.vendor == "postgresql" else _take_in_two(sql, values)
    if row is None:
        return None
    credential_id = row[0] if isinstance(row[0], UUID) else UUID(row[0])
    return lease_id, credential_id, row[1], bool(row[2]), expires_at


@retried
def _take_one(sql: str, values: dict[str, Any]) -> Any:
    with connection.cursor() as cursor:  # one statement is one transaction
        cursor.execute(sql, values)
        return cursor.fetchone()


@durable
def _take_in_two(sql: str, values: dict[str, Any]) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        row = cursor.fetchone()
        if row is not None:
            cursor.execute(
                f"INSERT INTO aiservices_credentiallease ({_LEASE_COLUMNS}) "  # noqa: S608
                "VALUES (%(id)s, %(provider)s, %(credential)s, %(model)s, %(use)s, %(trial)s, %(now)s, %(expires_at)s, '', '')",
                values | {"credential": row[0], "trial": row[2]},
            )
        return row


def _is_any_ready(provider: str, use: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT 1 FROM {MODELS[provider]._meta.db_table} WHERE {_ready(provider, use)} LIMIT 1",  # noqa: S608
            values_of(timezone.now()),
        )
        return cursor.fetchone() is not None


def seconds_until_ready(provider: str, use: str = "") -> int:
    """When the soonest credential may be ready, in seconds from now (1 and more)."""
    now = timezone.now()
    wanted: QuerySet[Any] = MODELS[provider]._default_manager.filter(is_active=True)
    if provider == "sora":
        wanted = wanted.filter(is_deleted=False, is_missing_there=False).exclude(expires_at__lte=now)
        if use:
            wanted = wanted.filter(**{f"{use}_enabled": True})
    moments = [
        moment
        for moment in (_ready_at(credential, now, use) for credential in wanted.defer("secret").iterator())
        if moment is not None
    ]
    return max(1, math.ceil((min(moments) - now).total_seconds())) if moments else NO_IDEA_SECONDS


def _ready_at(credential: GeminiKey | SoraToken, now: datetime, use: str) -> datetime | None:
    """The earliest moment at which nothing that is known stands in the way; None if that takes an operator."""
    moment = now
    if credential.state != Credential.State.READY:
        if credential.cooling_until is None:
            return None
        moment = max(moment, credential.cooling_until)
        if credential.trial_until is not None and credential.trial_until > now:
            moment = max(moment, min(credential.trial_until, now + timedelta(seconds=BUSY_SECONDS)))
    if 0 <= credential.daily_limit <= credential.uses_today and credential.day == today(now):
        if credential.daily_limit == 0:
            return None
        zone = ZoneInfo(settings.BILLING_TIME_ZONE)
        moment = max(moment, datetime.combine(today(now) + timedelta(days=1), time_of_day.min, zone))
    limits = [(credential.max_in_flight, credential.in_flight)]
    if use and isinstance(credential, SoraToken):
        limits.append((getattr(credential, f"{use}_concurrency"), getattr(credential, f"in_flight_{use}s")))
    if any(limit == 0 for limit, _used in limits):
        return None
    if any(0 < limit <= used for limit, used in limits):
        moment = max(moment, now + timedelta(seconds=BUSY_SECONDS))
    return moment


@durable
def _put_aside(provider: str, lease_id: UUID, credential_id: UUID) -> None:
    """Gives back a lease whose secret no key opens, and keeps that credential out of the way for a minute."""
    now = timezone.now()
    CredentialLease.objects.filter(pk=lease_id).update(ended_at=now, outcome="error", message="secret cannot be decrypted")
    model = MODELS[provider]
    credential = model._default_manager.select_for_update(no_key=True).defer("secret").filter(pk=credential_id).first()
    if credential is not None:
        use = CredentialLease.objects.values_list("use", flat=True).get(pk=lease_id)
        changed = given_back(credential, use) | {
            "state": Credential.State.COOLING,
            "cooling_until": now + timedelta(seconds=UNREADABLE_SECONDS),
            "trial_until": None,
            "last_error": "secret cannot be decrypted",
            "last_error_at": now,
        }
        model._default_manager.filter(pk=credential_id).update(**changed)
