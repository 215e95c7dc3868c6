"""What an operator does with Sora tokens and Gemini keys: add, edit, switch, delete.

Secrets are typed once and shown masked; duplicates are found by the keyed fingerprint, without opening anything. Every
act is in the audit log. Changes of Sora tokens are noted in `to_push`; `aiservices/credentials/sora` carries them over.
"""

from collections.abc import Mapping
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _

from aiservices.credentials import pool
from aiservices.credentials.models import CredentialLease, Row, SoraToken
from aiservices.credentials.secrets import check_secret, email_of, expiry_of, shown_url
from tenants import audit
from waule.core.crypto.encryption import keyed_hash, mask
from waule.core.db.transactions import durable
from waule.core.db.versions import check_version, version_of
from waule.core.errors import Duplicate, InvalidRequest, NotFound
from waule.core.ids import parse_uuid

MAX_REASON_LENGTH = 500
MAX_ATTEMPTS = 20  # of a credential's history that is shown
_POOL_FIELDS = frozenset({"name", "priority", "weight", "max_in_flight", "daily_limit"})
_SORA_SECRETS = frozenset({"session_token", "refresh_token"})
_SORA_TOLD = frozenset(
    {"remark", "client_id", "proxy_url", "image_enabled", "video_enabled", "image_concurrency", "video_concurrency"}
)  # settings that the Sora service has as well
EDITABLE: dict[str, frozenset[str]] = {
    "gemini": _POOL_FIELDS,
    "sora": _POOL_FIELDS | _SORA_SECRETS | _SORA_TOLD | {"email", "reenable_after_cooldown"},
}
Push = SoraToken.Push


# --- looking -------------------------------------------------------------------------------------------------------


def rows(provider: str) -> QuerySet[Any]:
    """Return every credential of `provider` that an operator may see."""
    found: QuerySet[Any] = pool.MODELS[provider]._default_manager.all()
    return found.filter(is_deleted=False) if provider == "sora" else found


def find(provider: str, credential_id: str) -> Any:
    """Return the credential with this id. Raises NotFound."""
    found = rows(provider).filter(pk=parse_uuid(credential_id)).first()
    if found is None:
        raise NotFound
    return found


def attempts(credential: Row) -> list[CredentialLease]:
    """Return the last leases of a credential, newest first."""
    return list(CredentialLease.objects.filter(credential_id=credential.pk).order_by("-id")[:MAX_ATTEMPTS])


def facts(row: Row) -> dict[str, Any]:
    """Return what the audit log keeps of a credential: no secret, not even sealed."""
    names = sorted((EDITABLE[row.provider] - _SORA_SECRETS) | {"is_active", "disabled_reason", "masked"})
    kept = {name: getattr(row, name) for name in names}
    return kept | ({"proxy_url": shown_url(row.proxy_url)} if isinstance(row, SoraToken) else {})


# --- one at a time -------------------------------------------------------------------------------------------------


@durable
def add(*, provider: str, secret: str, actor: str, request: Any = None, is_active: bool = True, **fields: Any) -> Any:
    """Add one credential.

    Raises:
        Duplicate: this secret is there already (`details.id`).
        InvalidRequest: it can be no secret.
    """
    secret = check_secret(secret)
    row, is_new = put(provider, secret, fields, is_active)
    if not is_new:
        raise Duplicate(_("This credential is there already: %(name)s.") % {"name": row}, id=str(row.pk))
    audit.record(actor=actor, action="credential.add", target=row, after=facts(row), request=request)
    return row


def put(provider: str, secret: str, fields: Mapping[str, Any], is_active: bool) -> tuple[Any, bool]:
    """Return the row with this secret, and whether it was made now; a token that was deleted, or is missing there, comes back."""
    unknown = set(fields) - EDITABLE[provider]
    assert not unknown, unknown
    model: Any = pool.MODELS[provider]
    print_ = keyed_hash(secret)
    found = model._default_manager.filter(fingerprint=print_).first()
    if found is not None and not (isinstance(found, SoraToken) and (found.is_deleted or found.is_missing_there)):
        return found, False
    row = model(fingerprint=print_) if found is None else found
    for name, value in fields.items():
        setattr(row, name, value)
    row.secret, row.masked, row.is_active, row.disabled_reason = secret, mask(secret), is_active, ""
    if isinstance(row, SoraToken):
        row.email = row.email or email_of(secret)
        row.expires_at = expiry_of(secret) or row.expires_at
        if row.is_missing_there:
            row.remote_id = None
        row.is_deleted = row.is_missing_there = row.is_probably_quota = False
        row.to_push = [Push.ADD] if row.remote_id is None else [Push.SECRET, Push.FIELDS, Push.STATUS]
        row.revision += 1
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError:  # another process put it there at this very moment
        return model._default_manager.get(fingerprint=print_), False
    return row, True


def version(row: Row) -> str:
    """Return the version of a credential: it changes with whatever an operator can change."""
    return version_of(row, _versioned(row))


def _versioned(row: Row) -> frozenset[str]:
    return EDITABLE[row.provider] | {"fingerprint", "is_active", "disabled_reason"}


@durable
def edit(
    *,
    credential: Row,
    changes: Mapping[str, Any],
    actor: str,
    reason: str = "",
    request: Any = None,
    expected_version: str | None = None,
) -> Any:
    """Change settings, the secret (`secret`) and the switch (`is_active`) of one credential.

    Raises:
        Conflict: it is no longer in `expected_version`, which the caller has read.
        Duplicate: another credential has that secret.
        NotFound: it was deleted meanwhile.
    """
    row = _lock(credential)
    check_version(expected_version, row, _versioned(row))
    before = facts(row)
    changes = dict(changes)
    requested = changes.pop("is_active", None)
    secret = changes.pop("secret", None)
    apply_changes(row, changes, secret)
    if requested is not None:
        switch(row, requested, reason)
    save(row)
    audit.record(
        actor=actor,
        action="credential.edit",
        target=row,
        reason=reason,
        before=before,
        after=facts(row) | ({"replaced": True} if secret is not None else {}),
        request=request,
    )
    return row


def _lock(credential: Row) -> Any:
    row = rows(credential.provider).select_for_update().filter(pk=credential.pk).first()
    if row is None:
        raise NotFound
    return row


def apply_changes(row: Row, changes: Mapping[str, Any], secret: str | None) -> bool:
    """Put `changes` into the row; return whether anything differs from what was there."""
    unknown = set(changes) - EDITABLE[row.provider]
    assert not unknown, unknown
    changed = {name for name, value in changes.items() if getattr(row, name) != value}
    for name in changed:
        setattr(row, name, changes[name])
    if secret is not None and keyed_hash(secret := check_secret(secret)) != row.fingerprint:
        row.secret, row.fingerprint, row.masked = secret, keyed_hash(secret), mask(secret)
        changed.add("secret")
        pool.start_half_open_within(row)  # what was detected was detected of another secret
        if isinstance(row, SoraToken):
            row.email = email_of(secret) or row.email
            row.expires_at = expiry_of(secret)
    if isinstance(row, SoraToken):
        if changed & (_SORA_SECRETS | {"secret"}):
            _note(row, Push.SECRET, Push.STATUS)
        if changed & _SORA_TOLD:
            _note(row, Push.FIELDS)
    return bool(changed)


def switch(row: Row, is_active: bool, reason: str) -> None:
    row.disabled_reason = "" if is_active else reason[:MAX_REASON_LENGTH]
    if isinstance(row, SoraToken):
        row.is_probably_quota = False
        row.reenable_after_cooldown = row.reenable_after_cooldown and not is_active
        _note(row, Push.STATUS)
    row.is_active = is_active


def _note(row: SoraToken, *what: str) -> None:
    """Note what has to be pushed to the Sora service; a token that is new there is pushed as a whole."""
    row.revision += 1
    if Push.ADD not in row.to_push:
        row.to_push = [*row.to_push, *(str(name) for name in what if name not in row.to_push)]


def save(row: Row) -> None:
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError as error:
        if "fingerprint" in str(error):
            raise Duplicate(_("Another credential has this secret.")) from None
        raise InvalidRequest.of_field("limits", _("A weight or limit is out of bounds.")) from None


def enable(*, credential: Row, actor: str, reason: str = "", request: Any = None) -> Any:
    """Switch a credential on. Where the machine had given it up, the next lease is a trial."""
    return _turn(credential=credential, is_active=True, actor=actor, reason=reason, request=request)


def disable(*, credential: Row, reason: str = "", actor: str, request: Any = None) -> Any:
    """Switch a credential off; leases that are out run on."""
    return _turn(credential=credential, is_active=False, actor=actor, reason=reason, request=request)


@durable
def _turn(*, credential: Row, is_active: bool, actor: str, reason: str, request: Any) -> Any:
    row = _lock(credential)
    before = facts(row)
    switch(row, is_active, reason)
    row.save()
    if is_active and row.state in (row.State.INVALID, row.State.QUOTA_EXHAUSTED):
        pool.start_half_open_within(row)
    action = "credential.enable" if is_active else "credential.disable"
    audit.record(actor=actor, action=action, target=row, reason=reason, before=before, after=facts(row), request=request)
    row.refresh_from_db()
    return row


@durable
def use_again(*, credential: Row, actor: str, reason: str = "", request: Any = None) -> Any:
    """End every cooldown of a credential: it is ready now, for every model. What its next use meets counts anew."""
    row = _lock(credential)
    before = {"state": row.state, "cooling_until": row.cooling_until.isoformat() if row.cooling_until else None}
    pool.end_cooldown_within(row)
    audit.record(
        actor=actor,
        action="credential.use_again",
        target=row,
        reason=reason,
        before=before,
        after={"state": row.State.READY},
        request=request,
    )
    row.refresh_from_db()
    return row


@durable
def delete(*, credential: Row, actor: str, reason: str = "", request: Any = None) -> None:
    """Delete a credential and its secret. A token that the Sora service knows stays as a note until the deletion was pushed."""
    row = _lock(credential)
    audit.record(actor=actor, action="credential.delete", target=row, reason=reason, before=facts(row), request=request)
    if not isinstance(row, SoraToken) or (row.remote_id is None and row.pushed_at is None and not row.push_error):
        row.delete()
        return
    row.is_deleted, row.is_active = True, False
    row.secret = row.session_token = row.refresh_token = ""
    row.to_push = [Push.DELETE]
    row.revision += 1
    row.save()
