"""Takes over what the service lists: tokens changed there, new there, missing there, and conflicts."""

import logging
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from aiservices.credentials import services as credentials
from aiservices.credentials.models import SoraToken
from aiservices.credentials.sora.merge import is_secret, take_over, text_of
from aiservices.credentials.sora.push import push_pending
from aiservices.credentials.sora.queries import SyncResult, named
from gateway_client.upstreams import sora_admin
from tenants import audit
from waule.core.crypto.encryption import keyed_hash
from waule.core.db.transactions import durable

logger = logging.getLogger(__name__)
ACTOR = "sora-sync"
COMPARED = ("remark", "image_enabled", "video_enabled", "image_concurrency", "video_concurrency", "is_active")


def sync() -> SyncResult:
    """Push what is to be pushed, then merge what the service has.

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
                result.adopted.append(named(row))
            elif status == "updated":
                result.updated.append(named(row))
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
            found.append(named(row, fields=conflict))
            audit.record(actor=ACTOR, action="credential.conflict", target=row, after=conflict)
    return found


def _reenable() -> None:
    """Switch on what an operator asked to be switched on once its quota's cooldown has passed."""
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
        email = text_of(item, "email", 254)
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
    changed = take_over(row, item, fingerprint)
    if was_deleted:
        audit.record(actor=ACTOR, action="credential.adopt", target=row, after=credentials.facts(row))
        return row, "adopted"
    if changed:
        audit.record(actor=ACTOR, action="credential.pull", target=row, before=before, after=credentials.facts(row))
    return row, "updated" if changed else "same"


def _adopt(item: dict[str, Any], fingerprint: str) -> tuple[SoraToken | None, str]:
    row = SoraToken(fingerprint=fingerprint, pushed_at=timezone.now())
    if not is_secret(item["token"]):
        logger.warning("the Sora service has a token that can be none", extra={"remote_id": item["id"]})
        return None, "odd"
    try:
        with transaction.atomic():
            take_over(row, item, fingerprint)
    except IntegrityError:
        return None, "raced"  # another sync adopts it at this very moment
    audit.record(actor=ACTOR, action="credential.adopt", target=row, after=credentials.facts(row))
    return row, "adopted"


@durable
def _note_missing(seen: set[Any], listed_at: datetime) -> list[dict[str, Any]]:
    """Mark what the list did not have, and forget deleted tokens that it no longer has."""
    absent = SoraToken.objects.select_for_update().filter(to_push=[], pushed_at__lt=listed_at).exclude(pk__in=seen)
    missing = []
    for row in absent:
        if row.is_deleted:
            row.delete()
            continue
        if not row.is_missing_there:
            SoraToken.objects.filter(pk=row.pk).update(is_missing_there=True)
            audit.record(actor=ACTOR, action="credential.missing", target=row)
        missing.append(named(row))
    return missing
