"""Results that their bucket did not take when they were made: brought there when it does."""

from collections.abc import Iterator
from uuid import UUID

import structlog
from django.db.models import Q, QuerySet

from storage.drivers import driver_of
from storage.drivers.local import path_of
from storage.errors import BucketProblem
from storage.media import place_columns
from storage.models import StoredObject
from storage.places import HERE, Owner, Shelf
from waule import connection_pool
from waule.encryption import SecretUnreadable

MAX_AT_ONCE = 100  # objects of one bucket that one round brings home
logger = structlog.get_logger(__name__)


def waiting() -> "QuerySet[StoredObject]":
    return StoredObject.objects.filter(waiting_since__isnull=False, released_at=None)


def bring_home() -> int:
    """Puts what waits under this machine's MEDIA_ROOT into its owner's place; how many were brought.

    A bucket that refuses is left alone until the next round, and holds up no other.
    """
    brought = 0
    for tenant_id in list(waiting().order_by().values_list("tenant_id", flat=True).distinct()):
        for stored in _oldest(tenant_id):
            owner = Owner.of(stored)
            try:
                brought += _bring(stored, Shelf(owner))
            except (BucketProblem, SecretUnreadable) as error:
                logger.warning("bucket_still_refuses", folder=owner.folder, reason=error.details.get("reason", error.code))
                break
    return brought


def _oldest(tenant_id: UUID | None) -> Iterator[StoredObject]:
    """Those whose file is on this machine."""
    rows = waiting().filter(Q(tenant_id=tenant_id) if tenant_id else Q(tenant=None)).order_by("waiting_since")[:MAX_AT_ONCE]
    return (stored for stored in list(rows) if path_of(str(stored.object_key)).is_file())


def _bring(stored: StoredObject, shelf: Shelf) -> bool:
    key, home = str(stored.object_key), shelf.home
    driver = driver_of(home)
    connection_pool.give_back()
    if home != HERE:
        driver.put(key, path_of(key), content_type=stored.content_type)
    about = place_columns(home) | {"url": driver.address(key)}
    if waiting().filter(id=stored.id).update(**about):
        if home != HERE:
            path_of(key).unlink(missing_ok=True)
        return True
    if home != HERE and StoredObject.objects.filter(id=stored.id, released_at__isnull=False).exists():
        driver.delete(key)  # it was deleted meanwhile
    return False
