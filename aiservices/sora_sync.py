"""Keeps our Sora tokens and the Sora token service in step.

A change is committed here first, with a note of what the service has to be told (`SoraToken.to_push`), and told after the
commit: at once where the service is up, else by the next `sync` or by the worker. Nothing is lost while it is down.

* `push` tells the service. A secret is sent only when it changed (the service tests it then, and may switch the token
  on), and is followed by the wished status.
* `sync` pulls: what is in step here takes over what the service says; what is still to be pushed wins, and is shown as a
  conflict where both sides changed; a token that only the service has is adopted; one that only we have is kept and
  marked as missing there.

The service knows no transactions and no versions: every step can be repeated, and a token is recognised by the
fingerprint of its secret, then by its id there together with its e-mail address.
"""

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone, translation
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext_lazy as _

from aiservices import credentials, pool
from aiservices.models import SoraToken
from gateway_client import sora_admin
from gateway_client.answers import clean_text
from gateway_client.errors import UpstreamError, UpstreamRefused
from tenants import audit
from waule.encryption import keyed_hash, mask, reveal
from waule.errors import NotConfigured, WauleError
from waule.transactions import durable

logger = logging.getLogger(__name__)
Push = SoraToken.Push

ACTOR = "sora-sync"
PUSH_SECONDS = 30.0  # how long one call goes on telling the service about many tokens
OFFLINE_BATCH = 100
MAX_LIMIT = 2**31 - 1
REFUSALS = {None, 400, 409, 422}  # a token is refused so, or with `success: false`; a 404 is a wrong address
NOT_REACHED = (UpstreamError, NotConfigured)

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
COMPARED = ("remark", "image_enabled", "video_enabled", "image_concurrency", "video_concurrency", "is_active")
QUOTA_REASON = "manual"  # what the service writes when it switches a token off at the end of its quota
DEAD_REASONS = {"expired", "token_invalid", "invalid", "error_limit"}


@dataclass
class SyncResult:
    """What a sync did. Lists hold one object per token: its id and name, and what there is to say."""

    pushed: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)
    adopted: list[dict[str, Any]] = field(default_factory=list)
    updated: list[dict[str, Any]] = field(default_factory=list)
    missing: list[dict[str, Any]] = field(default_factory=list)
    conflicts: list[dict[str, Any]] = field(default_factory=list)


def _named(row: SoraToken, **more: Any) -> dict[str, Any]:
    return {"id": str(row.pk), "name": str(row), "email": row.email, **more}


# --- telling -------------------------------------------------------------------------------------------------------


def add(*, secret: str, actor: str, request: Any = None, **fields: Any) -> SoraToken:
    """Adds a token here and, if it is up, at the service.

    Raises:
        UpstreamRefused: the service does not want it; then it is not kept here either.
    """
    row: SoraToken = credentials.add(provider="sora", secret=secret, actor=actor, request=request, **fields)
    try:
        push(row)
    except NOT_REACHED as error:
        if isinstance(error, UpstreamRefused) and error.upstream_status in REFUSALS:
            credentials.delete(credential=row, actor=actor, reason=_sentence(error, row), request=request)
            raise
        _not_pushed(row, error)
    row.refresh_from_db()
    return row


def push_quietly(ids: Iterable[Any]) -> None:
    """Tells the service about these tokens; what it cannot be told now stays to be pushed."""
    push_pending(ids=list(ids))


def push_pending(*, ids: list[Any] | None = None, seconds: float = PUSH_SECONDS) -> SyncResult:
    """Tells the service everything that it has not been told yet, oldest change first, for at most `seconds`.

    It stops at the first sign that the service is away; a refusal of one token stops no other.
    """
    result = SyncResult()
    waiting = SoraToken.objects.exclude(to_push=[]).order_by("created_at")
    if ids is not None:
        waiting = waiting.filter(pk__in=ids)
    rows = list(waiting[: credentials.MAX_IMPORT])
    ends_at = time.monotonic() + seconds
    try:
        rows = _import_offline(rows, result)
    except NOT_REACHED as error:
        for row in rows:
            _not_pushed(row, error)
        result.failed += [_named(row, error=_sentence(error, row)) for row in rows]
        return result
    for row in rows:
        if time.monotonic() > ends_at:
            break
        try:
            push(row)
        except NOT_REACHED as error:
            _not_pushed(row, error)
            result.failed.append(_named(row, error=_sentence(error, row)))
            if not isinstance(error, UpstreamRefused):
                break
        else:
            result.pushed.append(_named(row))
    return result


def push(row: SoraToken) -> None:
    """Tells the service what `row.to_push` names.

    Raises:
        UpstreamRefused: the service refused.
        UpstreamError, NotConfigured: it could not be told, or nobody knows whether it was.
    """
    if Push.DELETE in row.to_push:
        _push_deletion(row)
        return
    if Push.ADD in row.to_push:
        _push_new(row)
        return
    if not row.to_push:
        return
    if row.remote_id is None:
        found = _find_there(row)
        if found is None:
            _told(row, done=list(row.to_push), is_missing_there=True)
            return
        row.remote_id = int(found["id"])
        _told(row, done=[], remote_id=row.remote_id)
    if Push.SECRET in row.to_push:
        sora_admin.update(row.remote_id, _secrets(row) | _fields(row))
    elif Push.FIELDS in row.to_push:
        sora_admin.update(row.remote_id, _fields(row))
    if {Push.SECRET, Push.STATUS} & set(row.to_push):
        sora_admin.set_enabled(row.remote_id, row.is_active)
    _told(row, done=list(row.to_push))


def _push_new(row: SoraToken) -> None:
    try:
        remote_id = sora_admin.add(_given(_secrets(row) | _fields(row)))
    except sora_admin.TokenExists:
        remote_id = None
    is_new = remote_id is not None
    if remote_id is None:
        # It was there, an earlier try had arrived after all, or the service did not say which id it gave.
        found = _find_there(row)
        if found is None:
            raise UpstreamRefused(_("The Sora service says that it has this token, but does not list it."))
        remote_id = int(found["id"])
    row.remote_id = remote_id
    row.to_push = [Push.STATUS] if is_new else [Push.FIELDS, Push.STATUS]
    if not _told(row, done=[Push.ADD], also=row.to_push, remote_id=remote_id):
        sora_admin.delete(remote_id)  # deleted here while we were telling
        return
    if is_new and row.is_active:
        _told(row, done=[Push.STATUS])  # the service switches on what it adds
    else:
        push(row)


def _push_deletion(row: SoraToken) -> None:
    remote_id = row.remote_id
    if remote_id is None:
        found = _find_there(row)
        remote_id = None if found is None else int(found["id"])
    if remote_id is not None:
        sora_admin.delete(remote_id)
    # The note stays until a later list shows that the token is gone: an older list must not adopt it again.
    _told(row, done=[Push.DELETE], remote_id=None)


def _find_there(row: SoraToken) -> dict[str, Any] | None:
    return next((item for item in sora_admin.list_tokens() if keyed_hash(item["token"]) == row.fingerprint), None)


def _secrets(row: SoraToken) -> dict[str, Any]:
    secrets = {"token": reveal(row.secret), "st": reveal(row.session_token), "rt": reveal(row.refresh_token)}
    return {name: value for name, value in secrets.items() if value}


def _fields(row: SoraToken) -> dict[str, Any]:
    return {
        "remark": row.remark,
        "client_id": row.client_id,
        "proxy_url": reveal(row.proxy_url),
        "image_enabled": row.image_enabled,
        "video_enabled": row.video_enabled,
        "image_concurrency": row.image_concurrency,
        "video_concurrency": row.video_concurrency,
    }


def _import_offline(rows: list[SoraToken], result: SyncResult) -> list[SoraToken]:
    """Adds the new ones that have an e-mail address in one call each hundred; answers those still to be told singly."""
    new = [row for row in rows if Push.ADD in row.to_push and row.email]
    if len(new) < 2:
        return rows
    for start in range(0, len(new), OFFLINE_BATCH):
        sora_admin.import_offline([_offline(row) for row in new[start : start + OFFLINE_BATCH]])
    there = {keyed_hash(item["token"]): int(item["id"]) for item in sora_admin.list_tokens()}
    done = set()
    for row in new:
        if row.fingerprint in there:
            remote_id = there[row.fingerprint]
            if not _told(row, done=[Push.ADD], remote_id=remote_id):
                sora_admin.delete(remote_id)
            result.pushed.append(_named(row))
            done.add(row.pk)
    return [row for row in rows if row.pk not in done]


def _offline(row: SoraToken) -> dict[str, Any]:
    secrets = _secrets(row)
    renamed = {"access_token": secrets["token"], "session_token": secrets.get("st"), "refresh_token": secrets.get("rt")}
    return _given({"email": row.email, "is_active": row.is_active, **renamed, **_fields(row)})


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    """What is new is told without the settings that nobody made; a change tells empty ones too."""
    return {name: value for name, value in fields.items() if value not in (None, "")}


@durable
def _told(row: SoraToken, *, done: list[str], also: list[str] | None = None, **changes: Any) -> bool:
    """Notes what the service knows now; False if the row is gone. A change made meanwhile stays to be pushed."""
    now_there = SoraToken.objects.select_for_update().filter(pk=row.pk).first()
    if now_there is None:
        return False
    is_same = now_there.revision == row.revision
    told = set(done) if is_same else set(done) & {Push.ADD}
    left = [name for name in now_there.to_push if name not in told]
    if Push.ADD in told and Push.DELETE not in left:
        # What was changed while it was being added is told as changes of a token that is there.
        more = (also or []) if is_same else [Push.SECRET, Push.FIELDS, Push.STATUS]
        left += [str(name) for name in more if name not in left]
    if not left:
        changes = {"push_error": "", "conflict": {}, "is_missing_there": False} | changes
    if changes.get("remote_id") is not None:
        _free_id(changes["remote_id"], row)
    SoraToken.objects.filter(pk=row.pk).update(to_push=left, pushed_at=timezone.now(), **changes)
    return True


def _free_id(remote_id: int, row: SoraToken) -> None:
    """Ids start anew where the service's database was set up anew: only one of our rows can have this one."""
    SoraToken.objects.filter(remote_id=remote_id).exclude(pk=row.pk).update(remote_id=None)


@durable
def _not_pushed(row: SoraToken, error: WauleError) -> None:
    SoraToken.objects.filter(pk=row.pk).update(push_error=_sentence(error, row)[:500])


@translation.override("en")
def _sentence(error: WauleError, row: SoraToken) -> str:
    """What went wrong, in English as it is stored; the service may repeat the secret that it was told."""
    reason = error.details.get("reason", "")
    return credentials.hidden(f"{error} ({reason})" if reason else str(error), row)


# --- pulling -------------------------------------------------------------------------------------------------------


def sync() -> SyncResult:
    """Tells what is to be told, then takes over what the service says.

    Raises:
        UpstreamError, NotConfigured: the service cannot be asked; nothing was changed.
    """
    conflicts = _note_conflicts(sora_admin.list_tokens())
    _reenable()
    result = push_pending()
    result.conflicts = conflicts
    listed_at = timezone.now()
    there = sora_admin.list_tokens()
    seen = set()
    for item in there:
        row, status = _pull(item, listed_at)
        if row is not None:
            seen.add(row.pk)
            if status == "adopted":
                result.adopted.append(_named(row))
            elif status == "updated":
                result.updated.append(_named(row))
    result.missing = _note_missing(seen, listed_at)
    return result


@durable
def _note_conflicts(there: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Where both sides changed the same field since they were last in step. Ours will win; both are shown."""
    by_id = {item["id"]: item for item in there}
    found = []
    for row in SoraToken.objects.select_for_update().exclude(to_push=[]).filter(is_deleted=False, remote_id__isnull=False):
        item = by_id.get(row.remote_id, {})
        conflict = {
            name: {"here": getattr(row, name), "there": item[name]}
            for name in COMPARED
            if name in item and name in row.remote and item[name] not in (row.remote[name], getattr(row, name))
        }
        if conflict:
            SoraToken.objects.filter(pk=row.pk).update(conflict=conflict)
            found.append(_named(row, fields=conflict))
            audit.record(actor=ACTOR, action="credential.conflict", target=row, after=conflict)
    return found


def _reenable() -> None:
    """Switches on what an operator asked to be switched on once its quota's cooldown has passed."""
    waiting = SoraToken.objects.filter(
        is_probably_quota=True, reenable_after_cooldown=True, is_active=False, is_deleted=False, to_push=[]
    )
    for row in waiting.filter(Q(cooling_until=None) | Q(cooling_until__lte=timezone.now())):
        credentials.enable(credential=row, actor=ACTOR, reason=str(_("the cooldown has passed")))


@durable
def _pull(item: dict[str, Any], listed_at: datetime) -> tuple[SoraToken | None, str]:
    fingerprint = keyed_hash(item["token"])
    locked = SoraToken.objects.select_for_update()
    row = locked.filter(fingerprint=fingerprint).first()
    if row is None:
        row = locked.filter(remote_id=item["id"]).first()
        email = _text(item, "email", 254)
        if row is not None and row.email and email and row.email != email:
            # The id was given to another account (the service's database was set up anew): ours is missing there.
            SoraToken.objects.filter(pk=row.pk).update(remote_id=None)
            row = None
    if row is None:
        return _adopt(item, fingerprint)
    if row.to_push or (row.pushed_at is not None and row.pushed_at >= listed_at):
        return row, "ours"  # a newer word of ours is on its way, or arrived after this list was made
    was_deleted = row.is_deleted
    before = credentials.facts(row)
    changed = _take_over(row, item, fingerprint)
    if was_deleted:
        audit.record(actor=ACTOR, action="credential.adopt", target=row, after=credentials.facts(row))
        return row, "adopted"
    if changed:
        audit.record(actor=ACTOR, action="credential.pull", target=row, before=before, after=credentials.facts(row))
    return row, "updated" if changed else "same"


def _adopt(item: dict[str, Any], fingerprint: str) -> tuple[SoraToken | None, str]:
    row = SoraToken(fingerprint=fingerprint, pushed_at=timezone.now())
    if not _is_secret(item["token"]):
        logger.warning("the Sora service has a token that can be none", extra={"remote_id": item["id"]})
        return None, "odd"
    try:
        with transaction.atomic():
            _take_over(row, item, fingerprint)
    except IntegrityError:
        return None, "raced"  # another sync adopts it at this very moment
    audit.record(actor=ACTOR, action="credential.adopt", target=row, after=credentials.facts(row))
    return row, "adopted"


def _is_secret(text: str) -> bool:
    try:
        return credentials.check_secret(text) == text
    except WauleError:
        return False


def _take_over(row: SoraToken, item: dict[str, Any], fingerprint: str) -> bool:
    """Writes what the service says into a row that is in step; whether anything that an operator sees has changed."""
    before, before_all = credentials.facts(row), _values(row)
    is_new = row._state.adding
    was_active = row.is_active or is_new
    if (not row.secret or row.fingerprint != fingerprint) and _is_secret(item["token"]):
        row.secret, row.fingerprint, row.masked = item["token"], fingerprint, mask(item["token"])
    for name, key in (("session_token", "st"), ("refresh_token", "rt")):
        if isinstance(item.get(key), str):
            setattr(row, name, clean_text(item[key], credentials.MAX_SECRET_LENGTH))
    row.remote_id = item["id"]
    row.email = _text(item, "email", 254) or row.email or credentials.email_of(item["token"])
    row.name = row.name or _text(item, "name", 200)
    if "remark" in item:
        row.remark = _text(item, "remark", 500)
    for name in ("image_enabled", "video_enabled", "is_active"):
        if isinstance(item.get(name), bool):
            setattr(row, name, item[name])
    for name in ("image_concurrency", "video_concurrency"):
        if _is_number(item.get(name)) and -1 <= item[name] <= MAX_LIMIT:
            setattr(row, name, item[name])
    row.expires_at = _moment(item.get("expiry_time")) or credentials.expiry_of(item["token"])
    row.is_deleted, row.is_missing_there = False, False
    row.conflict, row.push_error = {}, ""
    row.remote = {name: _kept(item[name]) for name in KEPT if isinstance(item.get(name), str | int | float)}
    learned = _learned(row, item, was_active)
    if is_new or before_all != _values(row):
        _free_id(item["id"], row)
        row.save()
    if learned is not None and (row.state, row.cooling_until) != learned:
        pool.mark_within(row, *learned)
    return before != credentials.facts(row)


def _values(row: SoraToken) -> dict[str, Any]:
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}


def _kept(value: Any) -> Any:
    return clean_text(value, 500) if isinstance(value, str) else value


def _learned(row: SoraToken, item: dict[str, Any], was_active: bool) -> tuple[str, datetime | None] | None:
    """What the service found out: a cooldown, a quota at its end, a dead token. The state and until when, or None."""
    reason = _text(item, "disabled_reason", 500)
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


@durable
def _note_missing(seen: set[Any], listed_at: datetime) -> list[dict[str, Any]]:
    """Marks what the list did not have, and forgets deleted tokens that it no longer has."""
    absent = SoraToken.objects.select_for_update().filter(to_push=[], pushed_at__lt=listed_at).exclude(pk__in=seen)
    missing = []
    for row in absent:
        if row.is_deleted:
            row.delete()
            continue
        if not row.is_missing_there:
            SoraToken.objects.filter(pk=row.pk).update(is_missing_there=True)
            audit.record(actor=ACTOR, action="credential.missing", target=row)
        missing.append(_named(row))
    return missing


def _text(item: dict[str, Any], name: str, limit: int) -> str:
    return clean_text(item.get(name), limit)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _moment(value: Any) -> datetime | None:
    """The service writes moments without a zone, in UTC; later versions write one."""
    try:
        if isinstance(value, str) and len(value) <= 40:
            moment = parse_datetime(value)
        elif _is_number(value) and 0 < value < 32503680000:
            moment = datetime.fromtimestamp(value, UTC)
        else:
            return None
    except ValueError:
        return None
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)
