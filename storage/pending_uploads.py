"""Results that their bucket did not take when they were made: the upload is tried again until it does."""

from collections.abc import Iterator
from uuid import UUID

import structlog
from django.db.models import Q, QuerySet

from storage.backends import LOCAL_BACKEND, OwnerStorage, folder_of
from storage.drivers import driver_of
from storage.drivers.local import path_of
from storage.errors import BucketProblem
from storage.media import backend_columns
from storage.models import StoredObject
from tenants.principal import Principal
from waule.core.crypto.encryption import SecretUnreadable
from waule.core.db import connection_pool

MAX_AT_ONCE = 100  # objects of one bucket that one round uploads
logger = structlog.get_logger(__name__)


def pending() -> "QuerySet[StoredObject]":
    return StoredObject.objects.filter(waiting_since__isnull=False, released_at=None)


def retry_pending_uploads() -> int:
    """Upload what waits under this machine's MEDIA_ROOT to its owner's backend; returns how many were uploaded.

    A bucket that refuses is left alone until the next round, and holds up no other.
    """
    uploaded = 0
    for tenant_id in list(pending().order_by().values_list("tenant_id", flat=True).distinct()):
        for stored in _oldest(tenant_id):
            owner = Principal.of(stored)
            try:
                uploaded += _upload(stored, OwnerStorage(owner))
            except (BucketProblem, SecretUnreadable) as error:
                logger.warning("bucket_still_refuses", folder=folder_of(owner), reason=error.details.get("reason", error.code))
                break
    return uploaded


def _oldest(tenant_id: UUID | None) -> Iterator[StoredObject]:
    """Return those whose file is on this machine."""
    rows = pending().filter(Q(tenant_id=tenant_id) if tenant_id else Q(tenant=None)).order_by("waiting_since")[:MAX_AT_ONCE]
    return (stored for stored in list(rows) if path_of(str(stored.object_key)).is_file())


def _upload(stored: StoredObject, owner_storage: OwnerStorage) -> bool:
    key, current = str(stored.object_key), owner_storage.current
    driver = driver_of(current)
    connection_pool.release_connection()
    if current != LOCAL_BACKEND:
        driver.put(key, path_of(key), content_type=stored.content_type)
    about = backend_columns(current) | {"url": driver.address(key)}
    if pending().filter(id=stored.id).update(**about):
        if current != LOCAL_BACKEND:
            path_of(key).unlink(missing_ok=True)
        return True
    if current != LOCAL_BACKEND and StoredObject.objects.filter(id=stored.id, released_at__isnull=False).exists():
        driver.delete(key)  # it was deleted meanwhile
    return False
