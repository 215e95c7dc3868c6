"""Lending: which credential is taken, and when the next one may be ready."""

import logging
import math
import random
import time
from dataclasses import dataclass, field, replace
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

from aiservices.credentials.models import Credential, CredentialLease, GeminiKey, ModelCooldown, SoraToken
from aiservices.credentials.pool import unreadable
from aiservices.credentials.pool.expiry import end_overdue, end_overdue_now_and_then
from aiservices.credentials.pool.queries import MODELS, released, today, values_of
from aiservices.errors import CredentialsExhausted
from billing.catalog.models import AIModel
from gateway_client.upstreams import sora_admin
from waule.core.crypto.encryption import SecretUnreadable, open_sealed, place_of
from waule.core.db.prepared import IS_POSTGRESQL, Prepared
from waule.core.db.transactions import durable, retried
from waule.core.errors import InvalidRequest
from waule.core.ids import uuid7
from waule.core.metrics import LEASES_REFUSED

logger = logging.getLogger(__name__)

USES = ("image", "video")
MIN_TTL_SECONDS = 30
MAX_TTL_SECONDS = 3600
DEFAULT_TTL_SECONDS = 600
BUSY_SECONDS = 5  # a lease that is out may be reported any moment
NO_IDEA_SECONDS = 60  # nothing is switched on: nobody knows when something will be
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


def lease(
    *,
    provider: str,
    model: str | None = None,
    ttl_seconds: int = DEFAULT_TTL_SECONDS,
    use: str | None = None,
    generation_id: UUID | None = None,
) -> Lease:
    """Lend the best credential of `provider` that is ready; the lease notes the generation of ours that it is for.

    Raises:
        CredentialsExhausted: none is ready; `retry_after_seconds` is when the soonest may be.
        InvalidRequest: no such provider, use or time.
        SecretUnreadable: the only ones that are ready were sealed with a key that this process does not have.
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
    wanted = _Wanted(provider, model, use, ttl_seconds, generation_id)
    for _attempt in range(unreadable.MAX_SKIPPED):
        taken = _take(wanted) or _take_with_retries(wanted)
        if taken is None and unreadable.skipped(provider):
            raise SecretUnreadable
        if taken is None:
            LEASES_REFUSED.labels(provider).inc()
            raise CredentialsExhausted(retry_after_seconds=seconds_until_ready(provider, use, model))
        lease_id, credential_id, sealed, is_trial, expires_at = taken
        try:
            secret = open_sealed(bytes(sealed), place_of(MODELS[provider], "secret", credential_id))
        except SecretUnreadable:
            logger.error("a credential cannot be decrypted", extra={"provider": provider, "id": str(credential_id)})
            unreadable.skip(provider, credential_id)
            _take_back(provider, lease_id, credential_id)
            continue
        return Lease(lease_id, credential_id, provider, secret, expires_at, is_trial)
    raise SecretUnreadable


@dataclass(frozen=True)
class _Wanted:
    provider: str
    model: str
    use: str
    ttl_seconds: int
    generation_id: UUID | None


def _take_with_retries(wanted: _Wanted) -> "_Taken | None":
    """Once more, where leases have ended by themselves or others held the ready rows for an instant.

    Waiting for those rows' locks instead would deadlock: each of us would keep the rows that it found too busy.
    """
    end_overdue()
    for _attempt in range(MAX_SKIPS):
        taken = _take(wanted)
        if taken is not None or not _is_any_ready(wanted.provider, wanted.use, wanted.model):
            return taken
        time.sleep(random.uniform(0.0005, 0.004))  # noqa: S311  (jitter, not a secret)
    return None


def _use_of(provider: str, model: str) -> str:
    """Return whether `model` makes images or videos, where that matters and can be told; else an empty text."""
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
_READY_MODEL = """
    AND NOT EXISTS (SELECT 1 FROM aiservices_modelcooldown m
        WHERE m.credential_id = {table}.id AND m.model = %(model)s AND m.cooling_until > %(now)s)"""
_READY_SORA = """
    AND NOT is_deleted AND NOT is_missing_there AND (expires_at IS NULL OR expires_at > %(now)s)"""
_READY_SORA_USE = """
    AND {use}_enabled AND ({use}_concurrency < 0 OR in_flight_{use}s < {use}_concurrency)"""
_READY_SORA_ANY = """
    AND (image_enabled OR video_enabled)"""
# What the Sora service has never taken is not leased. Where there is no service, there is nobody to take it.
_READY_SORA_ACCEPTED = {
    "postgresql": """
    AND NOT (to_push @> '["add"]'::jsonb)""",
    "sqlite": """
    AND to_push NOT LIKE '%%"add"%%'""",
}
_ORDER = "priority DESC, in_flight * 1.0 / weight, -ln(1.0 - {random}()) / weight"
_TAKE = """
    in_flight = {c}in_flight + 1{more}, last_used_at = %(now)s, use_count = {c}use_count + 1, day = %(today)s,
    uses_today = CASE WHEN {c}day = %(today)s THEN {c}uses_today + 1 ELSE 1 END,
    errors_today = CASE WHEN {c}day = %(today)s THEN {c}errors_today ELSE 0 END,
    trial_until = CASE WHEN {c}state = 'ready' THEN NULL ELSE %(expires_at)s END"""
_LEASE_COLUMNS = "id, provider, credential_id, model, use, is_trial, generation_id, created_at, expires_at, outcome, message"


@dataclass(frozen=True)
class Kind:
    """What the text of the statements depends on."""

    provider: str
    use: str = ""
    has_service: bool = False  # the Sora service
    has_model: bool = False  # a model is named, for which some may rest
    skipped: int = 0  # credentials that are passed by

    @property
    def table(self) -> str:
        return MODELS[self.provider]._meta.db_table


def _kind_of(provider: str, use: str, model: str) -> Kind:
    return Kind(provider, use, sora_admin.is_configured(), bool(model), len(unreadable.skipped(provider)))


def _ready(vendor: str, kind: Kind) -> str:
    ready = _READY + (_READY_MODEL.format(table=kind.table) if kind.has_model else "")
    if kind.provider == "sora":
        ready += _READY_SORA + (_READY_SORA_USE.format(use=kind.use) if kind.use else _READY_SORA_ANY)
        ready += _READY_SORA_ACCEPTED[vendor] if kind.has_service else ""
    return ready + unreadable.condition(kind.skipped)


@lru_cache(maxsize=32)
def _prepared(kind: Kind) -> Prepared:
    types = {"id": "uuid", "provider": "text", "model": "text", "use": "text", "generation": "uuid"}
    moments = {"now": "timestamptz", "today": "date", "expires_at": "timestamptz"}
    return Prepared(take_sql("postgresql", kind), types | moments | dict.fromkeys(unreadable.names(kind.skipped), "uuid"))


@lru_cache(maxsize=32)
def take_sql(vendor: str, kind: Kind) -> str:
    """Return the statement that takes a credential, and on PostgreSQL writes the lease."""
    table, use = kind.table, kind.use
    counted = f"in_flight_{use}s" if kind.provider == "sora" and use else ""
    ready = _ready(vendor, kind)
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
                SELECT %(id)s, %(provider)s, id, %(model)s, %(use)s, is_trial, %(generation)s::uuid, %(now)s, %(expires_at)s,
                    '', ''
                FROM taken
            )
            SELECT id, secret, is_trial FROM taken"""  # noqa: S608  (see above)
    more = f", {counted} = {counted} + 1" if counted else ""
    return f"""
        UPDATE {table} SET {_TAKE.format(c="", more=more)}
        WHERE id = (SELECT id FROM {table} WHERE {ready} ORDER BY {_ORDER.format(random="rand")} LIMIT 1)
        RETURNING id, secret, state <> 'ready'"""  # noqa: S608


_Taken = tuple[UUID, UUID, bytes, bool, datetime]


def _take(wanted: _Wanted) -> _Taken | None:
    now = timezone.now()
    lease_id, expires_at = uuid7(), now + timedelta(seconds=wanted.ttl_seconds)
    skipped = unreadable.skipped(wanted.provider)
    kind = replace(_kind_of(wanted.provider, wanted.use, wanted.model), skipped=len(skipped))
    about = {"id": lease_id, "provider": wanted.provider, "model": wanted.model, "use": wanted.use, "expires_at": expires_at}
    values = values_of(now, **about, generation=wanted.generation_id, **unreadable.parameters(skipped))
    row = _take_one(_prepared(kind), values) if IS_POSTGRESQL else _take_in_two(take_sql(connection.vendor, kind), values)
    if row is None:
        return None
    credential_id = row[0] if isinstance(row[0], UUID) else UUID(row[0])
    return lease_id, credential_id, row[1], bool(row[2]), expires_at


@retried
def _take_one(statement: Prepared, values: dict[str, Any]) -> Any:
    return statement.named(values)  # one statement is one transaction


@durable
def _take_in_two(sql: str, values: dict[str, Any]) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        row = cursor.fetchone()
        if row is not None:
            cursor.execute(
                f"INSERT INTO aiservices_credentiallease ({_LEASE_COLUMNS}) "  # noqa: S608
                "VALUES (%(id)s, %(provider)s, %(credential)s, %(model)s, %(use)s, %(trial)s, %(generation)s, "
                "%(now)s, %(expires_at)s, '', '')",
                values | {"credential": row[0], "trial": row[2]},
            )
        return row


def _is_any_ready(provider: str, use: str, model: str) -> bool:
    skipped = unreadable.skipped(provider)
    ready = _ready(connection.vendor, replace(_kind_of(provider, use, model), skipped=len(skipped)))
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT 1 FROM {MODELS[provider]._meta.db_table} WHERE {ready} LIMIT 1",  # noqa: S608
            values_of(timezone.now(), model=model, **unreadable.parameters(skipped)),
        )
        return cursor.fetchone() is not None


def seconds_until_ready(provider: str, use: str = "", model: str = "") -> int:
    """When the soonest credential may be ready, in seconds from now (1 and more)."""
    now = timezone.now()
    wanted: QuerySet[Any] = MODELS[provider]._default_manager.filter(is_active=True)
    if provider == "sora":
        wanted = wanted.filter(is_deleted=False, is_missing_there=False).exclude(expires_at__lte=now)
        if use:
            wanted = wanted.filter(**{f"{use}_enabled": True})
        if sora_admin.is_configured():
            wanted = wanted.exclude(pk__in=[row.pk for row in wanted.exclude(to_push=[]).only("to_push") if "add" in row.to_push])
    resting = dict(
        ModelCooldown.objects.filter(model=model, cooling_until__gt=now).values_list("credential_id", "cooling_until")
        if model
        else []
    )
    timestamps = [
        max(timestamp, resting.get(credential.pk, timestamp))
        for credential in wanted.defer("secret")
        if (timestamp := _ready_at(credential, now, use)) is not None
    ]
    return max(1, math.ceil((min(timestamps) - now).total_seconds())) if timestamps else NO_IDEA_SECONDS


def _ready_at(credential: GeminiKey | SoraToken, now: datetime, use: str) -> datetime | None:
    """Return the earliest moment at which nothing that is known stands in the way; None if that takes an operator."""
    timestamp = now
    if credential.state != Credential.State.READY:
        if credential.cooling_until is None:
            return None
        timestamp = max(timestamp, credential.cooling_until)
        if credential.trial_until is not None and credential.trial_until > now:
            timestamp = max(timestamp, min(credential.trial_until, now + timedelta(seconds=BUSY_SECONDS)))
    if 0 <= credential.daily_limit <= credential.uses_today and credential.day == today(now):
        if credential.daily_limit == 0:
            return None
        zone = ZoneInfo(settings.BILLING_TIME_ZONE)
        timestamp = max(timestamp, datetime.combine(today(now) + timedelta(days=1), time_of_day.min, zone))
    limits = [(credential.max_in_flight, credential.in_flight)]
    if use and isinstance(credential, SoraToken):
        limits.append((getattr(credential, f"{use}_concurrency"), getattr(credential, f"in_flight_{use}s")))
    if any(limit == 0 for limit, _used in limits):
        return None
    if any(0 < limit <= used for limit, used in limits):
        timestamp = max(timestamp, now + timedelta(seconds=BUSY_SECONDS))
    return timestamp


@durable
def _take_back(provider: str, lease_id: UUID, credential_id: UUID) -> None:
    """Undo a lease that never reached anybody. What is known of the credential stays as it was."""
    model = MODELS[provider]
    credential = model._default_manager.select_for_update(no_key=True).defer("secret").filter(pk=credential_id).first()
    lease = CredentialLease.objects.filter(pk=lease_id, ended_at=None).first()
    if lease is None:
        return
    lease.delete()
    if credential is not None:
        changed = released(credential, lease.use) | {
            "use_count": max(0, credential.use_count - 1),
            "uses_today": max(0, credential.uses_today - 1),
        }
        if lease.is_trial:
            changed["trial_until"] = None
        model._default_manager.filter(pk=credential_id).update(**changed)
