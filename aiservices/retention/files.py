"""Deletes stored results: those of one owner, or those that are older than the media are kept."""

import shutil
from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings

from storage import media
from storage.backends import LOCAL_BACKEND, OwnerStorage, folder_of
from storage.drivers import driver_of
from storage.errors import BucketProblem
from storage.models import StoredObject
from storage.services import forget_objects
from tenants.erasure import BATCH, batches
from tenants.principal import Principal
from waule.core.crypto.encryption import SecretUnreadable

logger = structlog.get_logger(__name__)


def remove_all(kind: str, owner_id: UUID, *, dry_run: bool, leave: bool) -> int:
    """Delete every file of an owner and stop counting it. Return how many.

    Raises:
        BucketProblem, SecretUnreadable: a file cannot be deleted, and `leave` does not say to leave it where it is.
    """
    rows = StoredObject.objects.filter(**{kind: owner_id}, released_at=None)
    if dry_run:
        return rows.count()
    count = sum(_remove(batch, leave=leave) for batch in batches(rows))
    while forget_objects(kind, owner_id, limit=BATCH):
        pass
    owner = Principal("tenant", str(owner_id)) if kind == "tenant" else Principal("user", str(owner_id))
    shutil.rmtree(settings.MEDIA_ROOT / folder_of(owner), ignore_errors=True)
    return count


def remove_older(before: datetime, *, dry_run: bool) -> tuple[int, int]:
    """Delete results that were stored earlier; objects that callers keep themselves stay. (deleted, could not be deleted)."""
    rows = StoredObject.objects.filter(created_at__lt=before, released_at=None).exclude(driver="")
    if dry_run:
        return rows.count(), 0
    deleted = failed = 0
    for batch in batches(rows):
        done = _remove(batch, leave=None)
        deleted, failed = deleted + done, failed + len(batch) - done
    return deleted, failed


def _remove(rows: Iterable[Any], *, leave: bool | None) -> int:
    """`leave`: what a bucket does not delete raises (False), counts as deleted (True), or stays for next time (None)."""
    count = 0
    for stored in rows:
        owner = Principal.of(stored)
        try:
            _delete(stored, owner)
            count += 1
        except (BucketProblem, SecretUnreadable) as error:
            if leave is False:
                raise
            reason = error.details.get("reason", error.code)
            logger.warning("file_not_deleted", folder=folder_of(owner), reason=reason)
            count += bool(leave)
    return count


def _delete(stored: StoredObject, owner: Principal) -> None:
    key = stored.object_key or ""
    if stored.driver:
        media.remove(key, owner=owner)
        return
    # A caller's word: it may name anything, so only what lies below the owner's folder, or in the tenant's own bucket, goes.
    backend = OwnerStorage(owner).of(stored)
    if (
        key
        and backend is not None
        and backend != LOCAL_BACKEND
        and (not backend.is_operators or key.startswith(f"{folder_of(owner)}/"))
    ):
        driver_of(backend).delete(key)
