"""Tells the service what was changed here."""

import time
from collections.abc import Iterable
from typing import Any

from django.utils import timezone, translation
from django.utils.translation import gettext_lazy as _

from aiservices.credentials import services as credentials
from aiservices.credentials.bulk import MAX_IMPORT
from aiservices.credentials.models import SoraToken
from aiservices.credentials.secrets import hidden
from aiservices.credentials.sora.queries import SyncResult, free_id, named
from gateway_client.errors import UpstreamError, UpstreamRefused
from gateway_client.upstreams import sora_admin
from waule.core.crypto.encryption import keyed_hash, reveal
from waule.core.db.transactions import durable
from waule.core.errors import NotConfigured, WauleError

Push = SoraToken.Push
PUSH_SECONDS = 30.0  # how long one call goes on pushing many tokens
OFFLINE_BATCH = 100
REJECTIONS = {None, 400, 409, 422}  # a token is refused so, or with `success: false`; a 404 is a wrong address
NOT_REACHED = (UpstreamError, NotConfigured)


def add(*, secret: str, actor: str, request: Any = None, **fields: Any) -> SoraToken:
    """Add a token here and, if it is up, at the service.

    Raises:
        UpstreamRefused: the service does not want it; then it is not kept here either.
    """
    row: SoraToken = credentials.add(provider="sora", secret=secret, actor=actor, request=request, **fields)
    try:
        push(row)
    except NOT_REACHED as error:
        if isinstance(error, UpstreamRefused) and error.upstream_status in REJECTIONS:
            credentials.delete(credential=row, actor=actor, reason=_sentence(error, row), request=request)
            raise
        _not_pushed(row, error)
    row.refresh_from_db()
    return row


def push_quietly(ids: Iterable[Any]) -> None:
    """Push these tokens; what cannot be pushed now stays to be pushed."""
    push_pending(ids=list(ids))


def push_pending(*, ids: list[Any] | None = None, seconds: float = PUSH_SECONDS) -> SyncResult:
    """Push everything that has not been pushed yet, oldest change first, for at most `seconds`.

    It stops at the first sign that the service is away; a rejection of one token stops no other.
    """
    result = SyncResult()
    waiting = SoraToken.objects.exclude(to_push=[]).order_by("created_at")
    if ids is not None:
        waiting = waiting.filter(pk__in=ids)
    rows = list(waiting[:MAX_IMPORT])
    ends_at = time.monotonic() + seconds
    try:
        rows = _import_offline(rows, result)
    except NOT_REACHED as error:
        for row in rows:
            _not_pushed(row, error)
        result.failed += [named(row, error=_sentence(error, row)) for row in rows]
        return result
    for row in rows:
        if time.monotonic() > ends_at:
            break
        try:
            push(row)
        except NOT_REACHED as error:
            _not_pushed(row, error)
            result.failed.append(named(row, error=_sentence(error, row)))
            if not isinstance(error, UpstreamRefused):
                break
        else:
            result.pushed.append(named(row))
    return result


def push(row: SoraToken) -> None:
    """Tell the service what `row.to_push` names.

    Raises:
        UpstreamRefused: the service refused.
        UpstreamError, NotConfigured: it could not be pushed, or nobody knows whether it was.
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
        sora_admin.delete(remote_id)  # deleted here during the push
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
    """Add the new ones that have an e-mail address in one call each hundred; returns those still to be pushed one by one."""
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
            result.pushed.append(named(row))
            done.add(row.pk)
    return [row for row in rows if row.pk not in done]


def _offline(row: SoraToken) -> dict[str, Any]:
    secrets = _secrets(row)
    renamed = {"access_token": secrets["token"], "session_token": secrets.get("st"), "refresh_token": secrets.get("rt")}
    return _given({"email": row.email, "is_active": row.is_active, **renamed, **_fields(row)})


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    """A new token is pushed without the settings that nobody made; a change pushes empty ones too."""
    return {name: value for name, value in fields.items() if value not in (None, "")}


@durable
def _told(row: SoraToken, *, done: list[str], also: list[str] | None = None, **changes: Any) -> bool:
    """Note what the service knows now; False if the row is gone. A change made meanwhile stays to be pushed."""
    now_there = SoraToken.objects.select_for_update().filter(pk=row.pk).first()
    if now_there is None:
        return False
    is_same = now_there.revision == row.revision
    told = set(done) if is_same else set(done) & {Push.ADD}
    left = [name for name in now_there.to_push if name not in told]
    if Push.ADD in told and Push.DELETE not in left:
        # What was changed while it was being added is pushed as changes of a token that is there.
        more = (also or []) if is_same else [Push.SECRET, Push.FIELDS, Push.STATUS]
        left += [str(name) for name in more if name not in left]
    if not left:
        changes = {"push_error": "", "conflict": {}, "is_missing_there": False} | changes
    if changes.get("remote_id") is not None:
        free_id(changes["remote_id"], row)
    SoraToken.objects.filter(pk=row.pk).update(to_push=left, pushed_at=timezone.now(), **changes)
    return True


@durable
def _not_pushed(row: SoraToken, error: WauleError) -> None:
    SoraToken.objects.filter(pk=row.pk).update(push_error=_sentence(error, row)[:500])


@translation.override("en")
def _sentence(error: WauleError, row: SoraToken) -> str:
    """Return what went wrong, in English as it is stored; the service may repeat the secret that it was sent."""
    reason = error.details.get("reason", "")
    return hidden(f"{error} ({reason})" if reason else str(error), row)
