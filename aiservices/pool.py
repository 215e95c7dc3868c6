"""The pool: lends an upstream credential to one caller at a time, and learns from what the caller reports.

Which one: the highest priority that is ready, then the one with the fewest leases for its weight, then by lot. Limits (at
once, a day, images and videos at once) are conditions of the very update that takes the lease, so two processes never
break one together: PostgreSQL takes the row with SKIP LOCKED and looks at it again, SQLite has one writer at a time.

Whose fault an outcome was decides what it teaches:

* the credential's (`rate_limited`, `quota_exhausted`, `invalid`): it cools down, for as long as the upstream said or by
  default, twice as long for each such outcome among its last ones; MAX_INVALID `invalid` among them, and it is out until
  an operator says otherwise;
* nobody's here (`overloaded`, `error`): counted, and nothing is held against the credential;
* the prompt's (`content_refused`): the credential did its work, as with `ok`.

After its cooldown a credential is half open: one trial is lent out, and its report decides.
"""

import logging
import math
import random
import time
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from functools import lru_cache
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import connection
from django.db.models import F, QuerySet
from django.db.models.functions import Greatest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from aiservices.errors import CredentialsExhausted
from aiservices.models import AIModel, Credential, CredentialLease, GeminiKey, SoraToken
from waule.encryption import SecretUnreadable, Unreadable, open_sealed
from waule.errors import InvalidRequest, InvalidState, NotFound
from waule.ids import parse_uuid, uuid7
from waule.logs import redact_text
from waule.transactions import durable, retried

logger = logging.getLogger(__name__)

MODELS: dict[str, type[GeminiKey] | type[SoraToken]] = {"gemini": GeminiKey, "sora": SoraToken}
USES = ("image", "video")
MIN_TTL_SECONDS = 30
MAX_TTL_SECONDS = 3600
DEFAULT_TTL_SECONDS = 600

WINDOW = 10  # how many of the last telling outcomes are remembered
MAX_INVALID = 3  # so many `invalid` among them, and the credential is out
COOLDOWN_SECONDS = {"rate_limited": 30, "quota_exhausted": 3600, "invalid": 300}  # where the upstream did not say
MAX_COOLDOWN_SECONDS = {"rate_limited": 3600, "quota_exhausted": 86400, "invalid": 3600}  # how far doubling goes
MAX_RETRY_AFTER_SECONDS = 30 * 86400
UNREADABLE_SECONDS = 60  # a secret that no key opens is looked at again after that
BUSY_SECONDS = 5  # a lease that is out may be reported any moment
NO_IDEA_SECONDS = 60  # nothing is switched on: nobody knows when something will be
SWEEP_SECONDS = 1.0  # how often one process looks for leases that were never reported
SWEEP_SIZE = 500
MAX_UNREADABLE = 5
MAX_SKIPS = 100  # tries of a few milliseconds each

# What an outcome leaves in the credential's memory; the others say nothing about it.
LETTERS = {"ok": "o", "content_refused": "o", "rate_limited": "r", "quota_exhausted": "q", "invalid": "i"}
OWN_FAULTS = frozenset({"rate_limited", "quota_exhausted", "invalid"})
OUTCOMES = tuple(outcome.value for outcome in CredentialLease.Outcome if outcome != CredentialLease.Outcome.EXPIRED)
_STATES = {
    "rate_limited": Credential.State.COOLING,
    "quota_exhausted": Credential.State.QUOTA_EXHAUSTED,
    "invalid": Credential.State.INVALID,
}


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


# --- lending -------------------------------------------------------------------------------------------------------


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
    _sweep_now_and_then()
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


def today(now: datetime) -> date:
    """The day that daily limits count by, in BILLING_TIME_ZONE."""
    return now.astimezone(ZoneInfo(settings.BILLING_TIME_ZONE)).date()


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


def _values(now: datetime, **more: Any) -> dict[str, Any]:
    """Parameters as this database writes them in its columns."""
    values = {"now": now, "today": today(now), **more}
    operations: Any = connection.ops
    for name, value in values.items():
        if isinstance(value, datetime):
            values[name] = operations.adapt_datetimefield_value(value)
        elif isinstance(value, date):
            values[name] = operations.adapt_datefield_value(value)
        elif isinstance(value, UUID):
            values[name] = value if connection.features.has_native_uuid_field else value.hex
    return values


_Taken = tuple[UUID, UUID, bytes, bool, datetime]


def _take(provider: str, model: str, use: str, ttl_seconds: int) -> _Taken | None:
    now = timezone.now()
    lease_id, expires_at = uuid7(), now + timedelta(seconds=ttl_seconds)
    values = _values(now, id=lease_id, provider=provider, model=model, use=use, expires_at=expires_at)
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
            _values(timezone.now()),
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
        changed = _given_back(credential, use) | {
            "state": Credential.State.COOLING,
            "cooling_until": now + timedelta(seconds=UNREADABLE_SECONDS),
            "trial_until": None,
            "last_error": "secret cannot be decrypted",
            "last_error_at": now,
        }
        model._default_manager.filter(pk=credential_id).update(**changed)


# --- reports -------------------------------------------------------------------------------------------------------

# The difference, not a comparison, of the moments: so that the planner does not walk the index of open leases.
_REPORT_SQL = """
    WITH ended AS (
        UPDATE aiservices_credentiallease SET ended_at = %(now)s, outcome = %(outcome)s, message = %(message)s
        WHERE id = %(id)s AND ended_at IS NULL AND expires_at - %(now)s > interval '0' AND NOT is_trial
        RETURNING provider, credential_id, use
    ), gemini AS (
        UPDATE aiservices_geminikey c SET in_flight = GREATEST(c.in_flight - 1, 0), {learned}
        FROM ended WHERE ended.provider = 'gemini' AND c.id = ended.credential_id
    ), sora AS (
        UPDATE aiservices_soratoken c SET in_flight = GREATEST(c.in_flight - 1, 0),
            in_flight_images = GREATEST(c.in_flight_images - CASE WHEN ended.use = 'image' THEN 1 ELSE 0 END, 0),
            in_flight_videos = GREATEST(c.in_flight_videos - CASE WHEN ended.use = 'video' THEN 1 ELSE 0 END, 0), {learned}
        FROM ended WHERE ended.provider = 'sora' AND c.id = ended.credential_id
    )
    SELECT 1 FROM ended"""
_REPORT_GOOD = _REPORT_SQL.format(learned="recent = right(c.recent || 'o', 10)")
_REPORT_NEUTRAL = _REPORT_SQL.format(
    learned="error_count = c.error_count + 1, last_error = %(message)s, last_error_at = %(now)s, day = %(today)s, "
    "uses_today = CASE WHEN c.day = %(today)s THEN c.uses_today ELSE 0 END, "
    "errors_today = CASE WHEN c.day = %(today)s THEN c.errors_today + 1 ELSE 1 END"
)


def report(lease_id: UUID | str, outcome: str, retry_after_seconds: float | None = None, message: str = "") -> None:
    """Gives a leased credential back and says how it went. The same report again changes nothing.

    A report that comes after the lease has ended by itself still teaches what it has to teach.

    Raises:
        NotFound: no such lease.
        InvalidState: the lease was reported with another outcome.
        InvalidRequest: no such outcome.
    """
    found = parse_uuid(lease_id) if isinstance(lease_id, str) else lease_id
    if outcome not in OUTCOMES:
        raise InvalidRequest.of_field("outcome", _("This outcome is not known."))
    if found is None:
        raise NotFound
    message = redact_text(message)[:500]
    now = timezone.now()
    if connection.vendor == "postgresql" and outcome not in OWN_FAULTS:
        values = _values(now, id=found, outcome=outcome, message=_said(outcome, message))
        if _report_one(_REPORT_GOOD if outcome in LETTERS else _REPORT_NEUTRAL, values):
            return
    _report_slowly(found, outcome, retry_after_seconds, message, now)


def _said(outcome: str, message: str) -> str:
    return message or ("" if outcome == "ok" else outcome)


@retried
def _report_one(sql: str, values: dict[str, Any]) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchone() is not None


@durable
def _report_slowly(lease_id: UUID, outcome: str, retry_after_seconds: float | None, message: str, now: datetime) -> None:
    lent = CredentialLease.objects.select_for_update(no_key=True).filter(pk=lease_id).first()
    if lent is None:
        raise NotFound
    if lent.outcome and lent.outcome != CredentialLease.Outcome.EXPIRED:
        if lent.outcome != outcome:
            raise InvalidState(
                _("This lease was reported before, with another outcome: %(outcome)s.") % {"outcome": lent.outcome},
                state=lent.outcome,
            )
        return
    was_out = lent.ended_at is None
    lent.ended_at = lent.ended_at or now
    lent.outcome, lent.message = outcome, _said(outcome, message)
    lent.save(update_fields=["ended_at", "outcome", "message"])
    model = MODELS[lent.provider]
    credential = model._default_manager.select_for_update(no_key=True).defer("secret").filter(pk=lent.credential_id).first()
    if credential is None:
        return  # deleted meanwhile
    changed: dict[str, Any] = {}
    if was_out:
        changed |= _given_back(credential, lent.use)
    if lent.is_trial and (was_out or credential.trial_until is not None):
        changed["trial_until"] = None
    changed |= learn(credential, outcome, retry_after_seconds, message, now, is_trial=lent.is_trial)
    model._default_manager.filter(pk=credential.pk).update(**changed)


def _given_back(credential: GeminiKey | SoraToken, use: str, leases: int = 1) -> dict[str, Any]:
    changed: dict[str, Any] = {"in_flight": max(0, credential.in_flight - leases)}
    if use and isinstance(credential, SoraToken):
        name = f"in_flight_{use}s"
        changed[name] = max(0, getattr(credential, name) - leases)
    return changed


def learn(
    credential: Credential,
    outcome: str,
    retry_after_seconds: float | None,
    message: str,
    now: datetime,
    *,
    is_trial: bool,
) -> dict[str, Any]:
    """The columns that `outcome` changes in `credential`, whose row the caller has locked."""
    changed: dict[str, Any] = {}
    letter = LETTERS.get(outcome, "")
    recent = (credential.recent + letter)[-WINDOW:]
    if letter:
        changed["recent"] = recent
    if outcome not in ("ok", "content_refused"):
        same_day = credential.day == today(now)
        changed |= {
            "error_count": F("error_count") + 1,
            "day": today(now),
            "uses_today": credential.uses_today if same_day else 0,
            "errors_today": credential.errors_today + 1 if same_day else 1,
            "last_error": (message or outcome)[:500],
            "last_error_at": now,
        }
    is_out = credential.state == Credential.State.INVALID and credential.cooling_until is None
    if outcome in OWN_FAULTS and not is_out:
        changed |= _cooled(credential, outcome, recent, retry_after_seconds, now, is_trial=is_trial)
    elif letter == "o" and is_trial and not is_out:
        changed |= {"state": Credential.State.READY, "cooling_until": None}
    return changed


def _cooled(
    credential: Credential, outcome: str, recent: str, retry_after_seconds: float | None, now: datetime, *, is_trial: bool
) -> dict[str, Any]:
    if recent.count("i") >= MAX_INVALID:
        return {"state": Credential.State.INVALID, "cooling_until": None}
    if credential.state != Credential.State.READY and not is_trial:
        # It went out before the cooldown began: not another offence, but it may know a later end.
        credential_until = credential.cooling_until or now
        told = now + timedelta(seconds=min(retry_after_seconds or 0, MAX_RETRY_AFTER_SECONDS))
        return {"state": _worse(credential.state, _STATES[outcome]), "cooling_until": max(credential_until, told)}
    offences = max(1, sum(recent.count(LETTERS[fault]) for fault in OWN_FAULTS))
    told_seconds = min(retry_after_seconds or 0, MAX_RETRY_AFTER_SECONDS)
    if retry_after_seconds is None or offences > 1:
        first_seconds = told_seconds or COOLDOWN_SECONDS[outcome]
        grown_seconds = min(first_seconds * 2 ** (offences - 1), MAX_COOLDOWN_SECONDS[outcome])
        seconds = max(told_seconds, grown_seconds)
    else:
        seconds = told_seconds
    return {"state": _STATES[outcome], "cooling_until": now + timedelta(seconds=seconds)}


def _worse(one: str, other: str) -> str:
    order: list[str] = [state.value for state in Credential.State]  # from good to bad
    return max(one, other, key=order.index)


@durable
def observe(
    *, credential: GeminiKey | SoraToken, outcome: str, retry_after_seconds: float | None = None, message: str = ""
) -> None:
    """What a free probe teaches. That it works voids `invalid`; it says nothing about a rate or a quota."""
    model = type(credential)
    row = model._default_manager.select_for_update(no_key=True).defer("secret").filter(pk=credential.pk).first()
    if row is None:
        return
    now = timezone.now()
    if outcome in OWN_FAULTS:
        changed = learn(row, outcome, retry_after_seconds, redact_text(message), now, is_trial=True)
    elif outcome == "ok" and row.state == Credential.State.INVALID:
        changed = {"state": Credential.State.READY, "cooling_until": None, "trial_until": None, "recent": ""}
    else:
        return
    model._default_manager.filter(pk=row.pk).update(**changed)


@durable
def give_trial(*, credential: GeminiKey | SoraToken) -> None:
    """Ends a cooldown, or a verdict, before its time: the next lease is a trial, and its report decides."""
    give_trial_within(credential)


def give_trial_within(credential: GeminiKey | SoraToken) -> None:
    """The same inside the caller's transaction."""
    type(credential)._default_manager.filter(pk=credential.pk).exclude(state=Credential.State.READY).update(
        cooling_until=timezone.now(), trial_until=None, recent=""
    )


def mark_within(credential: GeminiKey | SoraToken, state: str, cooling_until: datetime | None) -> None:
    """Takes over what the upstream itself says about a credential, inside the caller's transaction."""
    type(credential)._default_manager.filter(pk=credential.pk).update(state=state, cooling_until=cooling_until, trial_until=None)


# --- leases that nobody reported -----------------------------------------------------------------------------------

_next_sweep = 0.0


def _sweep_now_and_then() -> None:
    global _next_sweep
    if time.monotonic() >= _next_sweep:
        _next_sweep = time.monotonic() + SWEEP_SECONDS
        end_overdue()


def end_overdue() -> int:
    """Ends the leases whose time is over, and answers how many there were."""
    now = timezone.now()
    overdue = CredentialLease.objects.filter(ended_at__isnull=True, expires_at__lte=now)
    return _end_overdue(now) if overdue.exists() else 0


@durable
def _end_overdue(now: datetime) -> int:
    overdue = CredentialLease.objects.filter(ended_at__isnull=True, expires_at__lte=now)
    found = list(overdue.select_for_update(skip_locked=True, no_key=True).order_by("id")[:SWEEP_SIZE])
    CredentialLease.objects.filter(pk__in=[lent.pk for lent in found]).update(
        ended_at=F("expires_at"), outcome=CredentialLease.Outcome.EXPIRED
    )
    out: dict[tuple[str, UUID], dict[str, int]] = {}
    for lent in found:
        counts = out.setdefault((lent.provider, lent.credential_id), {})
        for name in ("in_flight", f"in_flight_{lent.use}s" if lent.use and lent.provider == "sora" else ""):
            if name:
                counts[name] = counts.get(name, 0) + 1
    for (provider, credential_id), counts in sorted(out.items()):  # in one order, so that two sweeps cannot deadlock
        MODELS[provider]._default_manager.filter(pk=credential_id).update(
            **{name: Greatest(F(name) - count, 0) for name, count in counts.items()}
        )
    return len(found)


def housekeep() -> None:
    """For the worker: ends what was never reported, and forgets what is old."""
    end_overdue()
    forget_old_leases()


@durable
def forget_old_leases(*, keep_days: int = 14, limit: int = 5000) -> int:
    """Deletes leases that ended more than `keep_days` ago, at most `limit` at once; answers how many."""
    before = timezone.now() - timedelta(days=keep_days)
    old = list(CredentialLease.objects.filter(ended_at__lt=before).values_list("pk", flat=True)[:limit])
    return CredentialLease.objects.filter(pk__in=old).delete()[0]
