"""The count of a tenant's bytes. Only these verbs write `StorageUsage.used_bytes`.

Each counts an object and its tenant's total in one transaction, under the lock of the total's row.
"""

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Sum
from django.utils import timezone

from storage.errors import OverQuota
from storage.models import Reservation, StorageUsage, StoredObject
from tenants.errors import TenantNotFound
from tenants.models import Tenant
from waule.errors import IdempotencyKeyReused
from waule.ids import parse_uuid
from waule.json_rows import as_document, columns_of, record_of
from waule.prepared import Prepared
from waule.transactions import durable, retried

MAX_BYTES = 2**53 - 1
RESERVATION_SECONDS = 24 * 3600  # then what it was kept for must have died without a trace


@dataclass(frozen=True)
class Usage:
    """A tenant's count after a call; `quota_bytes` None: no quota."""

    used_bytes: int
    quota_bytes: int | None
    replayed: bool = False

    @property
    def is_over_quota(self) -> bool:
        return self.quota_bytes is not None and self.used_bytes > self.quota_bytes


def record(
    *,
    tenant_id: str,
    size_bytes: int,
    object_key: str | None = None,
    idempotency_key: str | None = None,
    **about: Any,
) -> Usage:
    """Counts an object once per `object_key` (the same key with another size: the difference) or once per idempotency key.

    `about` are further fields of `StoredObject`: what it is and where it lies. The quota is not asked: the bytes are there.

    Raises:
        TenantNotFound. IdempotencyKeyReused: the key came before with another size or object.
    """
    pk = _tenant_pk(tenant_id)
    return _record_at_once(pk, size_bytes, object_key, idempotency_key, about) or _record(
        pk, size_bytes, object_key, idempotency_key, about
    )


_RECORD = """
    WITH given AS MATERIALIZED (SELECT * FROM json_to_record(%s) AS {record}), locked AS (
        SELECT used_bytes FROM storage_storageusage WHERE tenant_id = %s FOR NO KEY UPDATE
    ), made AS (
        INSERT INTO storage_storedobject ({columns}) SELECT {values} FROM given, locked
        ON CONFLICT DO NOTHING RETURNING tenant_id, used_after
    )
    UPDATE storage_storageusage AS u SET used_bytes = made.used_after FROM made WHERE u.tenant_id = made.tenant_id
    RETURNING u.used_bytes, u.quota_bytes
"""


@cache
def _record_statement() -> Prepared:
    columns = columns_of(StoredObject)
    values = ["used_bytes + size_bytes" if column == "used_after" else column for column in columns]
    statement = _RECORD.format(record=record_of(StoredObject), columns=", ".join(columns), values=", ".join(values))
    return Prepared(statement, ["json", "uuid"])


@retried
def _record_at_once(
    tenant_pk: UUID, size_bytes: int, object_key: str | None, idempotency_key: str | None, about: dict[str, Any]
) -> Usage | None:
    """An object that nobody has told of, as one statement, where the database can; else None, and nothing changed."""
    if connection.vendor != "postgresql":
        return None
    mark = _fingerprint(size_bytes, object_key) if idempotency_key else ""
    told = {"object_key": object_key, "idempotency_key": idempotency_key, "fingerprint": mark, **about}
    made = StoredObject(tenant_id=tenant_pk, size_bytes=size_bytes, **told)
    with connection.cursor() as cursor:
        _record_statement().run(cursor, [as_document(made), tenant_pk])
        row = cursor.fetchone()
    return Usage(*row) if row else None


@durable
def _record(
    tenant_pk: UUID, size_bytes: int, object_key: str | None, idempotency_key: str | None, about: dict[str, Any]
) -> Usage:
    usage = _locked(tenant_pk)
    mark = _fingerprint(size_bytes, object_key) if idempotency_key else ""
    if idempotency_key is not None:
        first = StoredObject.objects.filter(tenant_id=tenant_pk, idempotency_key=idempotency_key).first()
        if first is not None:
            if first.fingerprint != mark:
                raise IdempotencyKeyReused
            return Usage(first.used_after or 0, usage.quota_bytes, replayed=True)
    known = StoredObject.objects.filter(tenant_id=tenant_pk, object_key=object_key).first() if object_key else None
    counted = known.size_bytes if known is not None and known.released_at is None else 0
    usage.used_bytes += size_bytes - counted
    fields = {
        "size_bytes": size_bytes,
        "released_at": None,
        "fingerprint": mark,
        "used_after": usage.used_bytes,
        **({"idempotency_key": idempotency_key} if idempotency_key else {}),
        **about,
    }
    if known is not None:
        StoredObject.objects.filter(id=known.id).update(**fields)
    else:
        StoredObject.objects.create(tenant_id=tenant_pk, object_key=object_key, **fields)
    _write(usage)
    return Usage(usage.used_bytes, usage.quota_bytes)


def release(*, tenant_id: str, object_key: str) -> Usage:
    """Stops counting an object that was deleted. A second time, or for an unknown key, nothing changes.

    Raises:
        TenantNotFound.
    """
    return _release(_tenant_pk(tenant_id), object_key)


@durable
def _release(tenant_pk: UUID, object_key: str) -> Usage:
    usage = _locked(tenant_pk)
    known = StoredObject.objects.filter(tenant_id=tenant_pk, object_key=object_key, released_at=None).first()
    if known is not None:
        StoredObject.objects.filter(id=known.id).update(released_at=timezone.now(), waiting_since=None)
        usage.used_bytes -= known.size_bytes
        _write(usage)
    return Usage(usage.used_bytes, usage.quota_bytes)


# --- room for what is being made -----------------------------------------------------------------------------------


def reserve(*, tenant_id: str, reservation_id: UUID, size_bytes: int) -> None:
    """Keeps `size_bytes` of the tenant's quota for something that is being made. Without a quota nothing is kept.

    Nobody knows its size yet, so whatever room is left is enough for one: what counts is that the next one sees it taken.
    It ends by `end_reservation`, or after RESERVATION_SECONDS by itself.

    Raises:
        OverQuota: what is stored and what is reserved leave no room.
    """
    pk = _tenant_pk(tenant_id)
    if StorageUsage.objects.filter(tenant_id=pk, quota_bytes__isnull=False).exists():
        _reserve(pk, reservation_id, size_bytes)


@durable
def _reserve(tenant_pk: UUID, reservation_id: UUID, size_bytes: int) -> None:
    usage = _locked(tenant_pk)
    now = timezone.now()
    others = Reservation.objects.filter(tenant_id=tenant_pk, expires_at__gt=now).exclude(id=reservation_id)
    reserved = others.aggregate(total=Sum("size_bytes"))["total"] or 0
    if usage.quota_bytes is not None and usage.used_bytes + reserved >= usage.quota_bytes:
        raise OverQuota(usedBytes=usage.used_bytes, reservedBytes=reserved, quotaBytes=usage.quota_bytes)
    kept = {"tenant_id": tenant_pk, "size_bytes": size_bytes, "expires_at": now + timedelta(seconds=RESERVATION_SECONDS)}
    Reservation.objects.update_or_create(id=reservation_id, defaults=kept)


def end_reservation(reservation_id: UUID) -> None:
    """Keeps no room any more: what it was for is stored and counted, or will never be. A second time nothing changes."""
    Reservation.objects.filter(id=reservation_id).delete()


def sweep_reservations() -> int:
    """Deletes those that have expired, which keep nothing already; how many there were."""
    return Reservation.objects.filter(expires_at__lte=timezone.now()).delete()[0]


# --- under the lock ------------------------------------------------------------------------------------------------


def _tenant_pk(tenant_id: str) -> UUID:
    pk = parse_uuid(tenant_id)
    if pk is None:
        raise TenantNotFound
    return pk


def _locked(tenant_pk: UUID) -> StorageUsage:
    """The tenant's total, its row locked; made where there is none."""
    rows = StorageUsage.objects.filter(tenant_id=tenant_pk).select_for_update(no_key=True)
    if (usage := rows.first()) is not None:
        return usage
    if not Tenant.objects.filter(id=tenant_pk).exists():
        raise TenantNotFound
    StorageUsage.objects.bulk_create([StorageUsage(tenant_id=tenant_pk)], ignore_conflicts=True)
    return rows.get()


def _write(usage: StorageUsage) -> None:
    StorageUsage.objects.filter(tenant_id=usage.tenant_id).update(used_bytes=usage.used_bytes)


def _fingerprint(size_bytes: int, object_key: str | None) -> str:
    return hashlib.sha256(f"{size_bytes}\x1f{object_key or ''}".encode()).hexdigest()
