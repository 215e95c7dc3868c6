"""What an operator does with Sora tokens and Gemini keys: add, edit, switch, delete, import, export.

Secrets are typed once and shown masked; duplicates are found by the keyed fingerprint, without opening anything. Every
act is in the audit log. Changes of Sora tokens are noted in `to_push`; `aiservices/sora_sync.py` carries them over.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _

from aiservices import pool
from aiservices.models import GeminiKey, SoraToken
from tenants import audit
from waule.encryption import Unreadable, keyed_hash, mask, reveal
from waule.errors import Duplicate, Forbidden, InvalidRequest, NotFound, WauleError
from waule.ids import parse_uuid
from waule.logs import HIDDEN, redact_text
from waule.transactions import durable

Row = GeminiKey | SoraToken
MAX_IMPORT = 1000
MAX_SECRET_LENGTH = 8192
MIN_SECRET_LENGTH = 4
MAX_REASON_LENGTH = 500

_SECRET = re.compile(rf"[\x21-\x7e]{{{MIN_SECRET_LENGTH},{MAX_SECRET_LENGTH}}}")
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
    """Every credential of `provider` that an operator may see."""
    found: QuerySet[Any] = pool.MODELS[provider]._default_manager.all()
    return found.filter(is_deleted=False) if provider == "sora" else found


def find(provider: str, credential_id: str) -> Any:
    """The credential with this id. Raises NotFound."""
    found = rows(provider).filter(pk=parse_uuid(credential_id)).first()
    if found is None:
        raise NotFound
    return found


def facts(row: Row) -> dict[str, Any]:
    """What the audit log keeps of a credential: no secret, not even sealed."""
    names = sorted((EDITABLE[row.provider] - _SORA_SECRETS) | {"is_active", "disabled_reason", "masked"})
    kept = {name: getattr(row, name) for name in names}
    return kept | ({"proxy_url": shown_url(row.proxy_url)} if isinstance(row, SoraToken) else {})


def hidden(text: str, row: Row) -> str:
    """`text` of an upstream without the secrets of `row`, should it repeat them."""
    secrets = [row.secret, *((row.session_token, row.refresh_token) if isinstance(row, SoraToken) else ())]
    for secret in secrets:
        if isinstance(secret, str) and secret:
            text = text.replace(secret, HIDDEN)
    return redact_text(text)


def shown_url(url: str | Unreadable) -> str:
    """A proxy's address without the account that may be in it."""
    if isinstance(url, Unreadable):
        return str(url)
    try:
        parts = urlsplit(url)
        return parts._replace(netloc=f"…@{parts.netloc.rpartition('@')[2]}").geturl() if "@" in parts.netloc else url
    except ValueError:
        return "…"


def check_secret(text: str, name: str = "secret") -> str:
    """`text` without the spaces around it. Raises InvalidRequest for what can be no credential."""
    found = text.strip()
    if not _SECRET.fullmatch(found):
        raise InvalidRequest.of_field(name, _("Send 4 to 8192 printable ASCII characters without spaces."))
    return found


def claims(token: str) -> dict[str, Any]:
    """What a JSON Web Token says about itself, unverified; empty for what is none."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        read = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return {}
    return read if isinstance(read, dict) else {}


def email_of(token: str) -> str:
    """The e-mail address in a Sora access token, or an empty text."""
    found = claims(token)
    profile = found.get("https://api.openai.com/profile")
    for place in (found, profile if isinstance(profile, dict) else {}):
        email = place.get("email")
        if isinstance(email, str) and re.fullmatch(r"[^@\s\0]+@[^@\s\0]+", email) and len(email) <= 254:
            return email
    return ""


def expiry_of(token: str) -> datetime | None:
    """When an access token says that it expires."""
    moment = claims(token).get("exp")
    if isinstance(moment, bool) or not isinstance(moment, int | float) or not 0 < moment < 32503680000:
        return None
    return datetime.fromtimestamp(moment, UTC)


# --- one at a time -------------------------------------------------------------------------------------------------


@durable
def add(*, provider: str, secret: str, actor: str, request: Any = None, is_active: bool = True, **fields: Any) -> Any:
    """Adds one credential.

    Raises:
        Duplicate: this secret is there already (`details.id`).
        InvalidRequest: it can be no secret.
    """
    secret = check_secret(secret)
    row, is_new = _put(provider, secret, fields, is_active)
    if not is_new:
        raise Duplicate(_("This credential is there already: %(name)s.") % {"name": row}, id=str(row.pk))
    audit.record(actor=actor, action="credential.add", target=row, after=facts(row), request=request)
    return row


def _put(provider: str, secret: str, fields: Mapping[str, Any], is_active: bool) -> tuple[Any, bool]:
    """The row with this secret, and whether it was made now; a token that was deleted, or is missing there, comes back."""
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


@durable
def edit(*, credential: Row, changes: Mapping[str, Any], actor: str, reason: str = "", request: Any = None) -> Any:
    """Changes settings, the secret (`secret`) and the switch (`is_active`) of one credential.

    Raises:
        Duplicate: another credential has that secret.
        NotFound: it was deleted meanwhile.
    """
    row = _lock(credential)
    before = facts(row)
    changes = dict(changes)
    wished = changes.pop("is_active", None)
    secret = changes.pop("secret", None)
    _apply(row, changes, secret)
    if wished is not None:
        _switch(row, wished, reason)
    _save(row)
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


def _apply(row: Row, changes: Mapping[str, Any], secret: str | None) -> bool:
    """Puts `changes` into the row; whether anything differs from what was there."""
    unknown = set(changes) - EDITABLE[row.provider]
    assert not unknown, unknown
    changed = {name for name, value in changes.items() if getattr(row, name) != value}
    for name in changed:
        setattr(row, name, changes[name])
    if secret is not None and keyed_hash(secret := check_secret(secret)) != row.fingerprint:
        row.secret, row.fingerprint, row.masked = secret, keyed_hash(secret), mask(secret)
        changed.add("secret")
        pool.give_trial_within(row)  # what was learned was learned of another secret
        if isinstance(row, SoraToken):
            row.email = email_of(secret) or row.email
            row.expires_at = expiry_of(secret)
    if isinstance(row, SoraToken):
        if changed & (_SORA_SECRETS | {"secret"}):
            _note(row, Push.SECRET, Push.STATUS)
        if changed & _SORA_TOLD:
            _note(row, Push.FIELDS)
    return bool(changed)


def _switch(row: Row, is_active: bool, reason: str) -> None:
    row.disabled_reason = "" if is_active else reason[:MAX_REASON_LENGTH]
    if isinstance(row, SoraToken):
        row.is_probably_quota = False
        row.reenable_after_cooldown = row.reenable_after_cooldown and not is_active
        _note(row, Push.STATUS)
    row.is_active = is_active


def _note(row: SoraToken, *what: str) -> None:
    """Remembers what the Sora service has to be told; what is new there is told as a whole."""
    row.revision += 1
    if Push.ADD not in row.to_push:
        row.to_push = [*row.to_push, *(str(name) for name in what if name not in row.to_push)]


def _save(row: Row) -> None:
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError as error:
        if "fingerprint" in str(error):
            raise Duplicate(_("Another credential has this secret.")) from None
        raise InvalidRequest.of_field("limits", _("A weight or limit is out of bounds.")) from None


def enable(*, credential: Row, actor: str, reason: str = "", request: Any = None) -> Any:
    """Switches a credential on. Where the machine had given it up, the next lease is a trial."""
    return _turn(credential=credential, is_active=True, actor=actor, reason=reason, request=request)


def disable(*, credential: Row, reason: str = "", actor: str, request: Any = None) -> Any:
    """Switches a credential off; leases that are out run on."""
    return _turn(credential=credential, is_active=False, actor=actor, reason=reason, request=request)


@durable
def _turn(*, credential: Row, is_active: bool, actor: str, reason: str, request: Any) -> Any:
    row = _lock(credential)
    before = facts(row)
    _switch(row, is_active, reason)
    row.save()
    if is_active and row.state in (row.State.INVALID, row.State.QUOTA_EXHAUSTED):
        pool.give_trial_within(row)
    action = "credential.enable" if is_active else "credential.disable"
    audit.record(actor=actor, action=action, target=row, reason=reason, before=before, after=facts(row), request=request)
    row.refresh_from_db()
    return row


@durable
def delete(*, credential: Row, actor: str, reason: str = "", request: Any = None) -> None:
    """Deletes a credential and its secret. A token that the Sora service knows stays as a note until it was told."""
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


# --- many at once --------------------------------------------------------------------------------------------------


@dataclass
class ImportResult:
    """How an import went; `results` has one line for each line that was pasted."""

    added: int = 0
    updated: int = 0
    skipped: int = 0
    failed: int = 0
    results: list[dict[str, Any]] = field(default_factory=list)
    touched: list[Any] = field(default_factory=list)  # ids of rows that are new or changed

    def take(self, other: "ImportResult") -> None:
        """Adds what another part of the same import did."""
        for name in ("added", "updated", "skipped", "failed"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        before = len(self.results)
        self.results += [line | {"line": line["line"] + before} for line in other.results]
        self.touched += other.touched

    def line(self, status: str, row: Row | None = None, error: str = "") -> None:
        setattr(self, status, getattr(self, status) + 1)
        found = {"id": str(row.pk), "secret": row.masked} if row is not None else {}
        self.results.append({"line": len(self.results) + 1, "status": status, **found} | ({"error": error} if error else {}))
        if row is not None and status in ("added", "updated"):
            self.touched.append(row.pk)


def import_many(*, provider: str, items: Sequence[Mapping[str, Any]], actor: str, request: Any = None) -> ImportResult:
    """Adds many credentials. Each item has `secret` and what else `add` takes, or `error` if it was malformed.

    A Gemini key that is there already is skipped; a Sora token that is there already is updated with what the item says.
    """
    if not 1 <= len(items) <= MAX_IMPORT:
        raise InvalidRequest.of_field("items", _("Send 1 to 1000 of them."))
    return _import_many(provider=provider, items=items, actor=actor, request=request)


@durable
def _import_many(*, provider: str, items: Sequence[Mapping[str, Any]], actor: str, request: Any) -> ImportResult:
    result = ImportResult()
    for item in items:
        _import_one(provider, dict(item), result)
    audit.record(
        actor=actor,
        action="credential.import",
        target_type=pool.MODELS[provider]._meta.label_lower,
        target_name=f"{result.added + result.updated}",
        after={name: getattr(result, name) for name in ("added", "updated", "skipped", "failed")}
        | {"ids": [line["id"] for line in result.results if line["status"] in ("added", "updated")]},
        request=request,
    )
    return result


def _import_one(provider: str, item: dict[str, Any], result: ImportResult) -> None:
    if "error" in item:
        result.line("failed", error=str(item["error"]))
        return
    try:
        with transaction.atomic():
            is_active = item.pop("is_active", None)
            secret = check_secret(item.pop("secret"))
            row, is_new = _put(provider, secret, item, True if is_active is None else is_active)
            if not is_new and provider == "sora":
                changed = _apply(row, item, None)
                if is_active is not None and is_active != row.is_active:
                    _switch(row, is_active, "")
                    changed = True
                if changed:
                    _save(row)
    except WauleError as error:
        result.line("failed", error=str(error))
        return
    result.line("added" if is_new else "updated" if provider == "sora" else "skipped", row)


def parse_lines(text: str) -> list[tuple[int, str]]:
    """What was pasted, a secret a line, with the line's number; empty ones and those that begin with # are left out."""
    lines = ((number, line.strip().strip(",").strip("\"'")) for number, line in enumerate(text.splitlines(), 1))
    return [(number, line) for number, line in lines if line and not line.startswith("#")]


@durable
def export(*, provider: str, is_revealed: bool, actor: str, reason: str = "", request: Any = None) -> list[dict[str, Any]]:
    """Every credential with its secrets, in the form that an import reads.

    Raises:
        Forbidden: the caller did not say in so many words that the secrets are to be revealed.
        SecretUnreadable: one of them was sealed with a key that is gone.
    """
    if not is_revealed:
        raise Forbidden(_("An export shows every secret: say that this is meant."))
    exported = []
    for row in rows(provider).order_by("id"):
        if isinstance(row, SoraToken):
            item = {
                "token": reveal(row.secret),
                "st": reveal(row.session_token),
                "rt": reveal(row.refresh_token),
                "clientId": row.client_id,
                "proxyUrl": reveal(row.proxy_url),
                "remark": row.remark,
                "imageEnabled": row.image_enabled,
                "videoEnabled": row.video_enabled,
                "imageConcurrency": row.image_concurrency,
                "videoConcurrency": row.video_concurrency,
            }
        else:
            item = {"apiKey": reveal(row.secret)}
        exported.append(item | {"name": row.name, "isActive": row.is_active})
    audit.record(
        actor=actor,
        action="credential.export",
        target_type=pool.MODELS[provider]._meta.label_lower,
        target_name=str(len(exported)),
        reason=reason,
        request=request,
    )
    return exported
