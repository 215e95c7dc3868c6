"""Import and export of many credentials."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.utils.translation import gettext_lazy as _

from aiservices.credentials import pool
from aiservices.credentials.models import Row, SoraToken
from aiservices.credentials.secrets import check_secret
from aiservices.credentials.services import apply_changes, put, rows, save, switch
from tenants import audit
from waule.core.crypto.encryption import reveal
from waule.core.db.transactions import durable
from waule.core.errors import Forbidden, InvalidRequest, WauleError

MAX_IMPORT = 1000


@dataclass
class ImportResult:
    """The outcome of an import: how many credentials were added, updated, skipped or failed, and one result for each item."""

    added: int = 0
    updated: int = 0
    skipped: int = 0
    failed: int = 0
    results: list[dict[str, Any]] = field(default_factory=list)
    touched: list[Any] = field(default_factory=list)  # ids of rows that are new or changed

    def take(self, other: "ImportResult") -> None:
        """Add the outcome of a later part of the same import; its line numbers go on from ours."""
        for name in ("added", "updated", "skipped", "failed"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        before = len(self.results)
        self.results += [line | {"line": line["line"] + before} for line in other.results]
        self.touched += other.touched

    def line(self, status: str, row: Row | None = None, error: str = "", note: str = "") -> None:
        """Count the next item under `status` (the name of a counter) and append its result."""
        setattr(self, status, getattr(self, status) + 1)
        found = {"id": str(row.pk), "secret": row.masked} if row is not None else {}
        texts = {name: text for name, text in (("error", error), ("note", note)) if text}
        self.results.append({"line": len(self.results) + 1, "status": status, **found} | texts)
        if row is not None and status in ("added", "updated"):
            self.touched.append(row.pk)


def import_many(*, provider: str, items: Sequence[Mapping[str, Any]], actor: str, request: Any = None) -> ImportResult:
    """Add up to MAX_IMPORT credentials. Each item has `secret` and the other fields of `services.add`, or `error` if it was
    malformed.

    A Gemini key that exists is skipped; a Sora token that exists is updated with the item's fields.

    Raises:
        InvalidRequest: there are no items, or more than MAX_IMPORT.
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
    note = str(item.pop("note", ""))
    try:
        with transaction.atomic():
            is_active = item.pop("is_active", None)
            secret = check_secret(item.pop("secret"))
            row, is_new = put(provider, secret, item, True if is_active is None else is_active)
            if not is_new and provider == "sora":
                changed = apply_changes(row, item, None)
                if is_active is not None and is_active != row.is_active:
                    switch(row, is_active, "")
                    changed = True
                if changed:
                    save(row)
    except WauleError as error:
        result.line("failed", error=str(error))
        return
    result.line("added" if is_new else "updated" if provider == "sora" else "skipped", row, note=note)


@durable
def export(*, provider: str, is_revealed: bool, actor: str, reason: str = "", request: Any = None) -> list[dict[str, Any]]:
    """Return every credential with its secrets in plain text, in the form that an import reads.

    Raises:
        Forbidden: `is_revealed` is not set.
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
