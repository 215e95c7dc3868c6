"""The count of a tenant's bytes. Only these verbs write `StorageUsage.used_bytes`.

Each counts an object and its tenant's total in one transaction, under the lock of the total's row.
"""

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import IntegrityError
from django.db.models import Sum
from django.utils import timezone

from storage.drivers import LOCAL
from storage.errors import OverQuota
from storage.models import Reservation, StorageUsage, StoredObject
from tenants.errors import TenantNotFound
from tenants.models import Tenant
from waule.core.db.prepared import IS_POSTGRESQL, Prepared
from waule.core.db.transactions import durable, retried
from waule.core.errors import IdempotencyKeyReused
from waule.core.ids import parse_uuid, uuid7

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
    """Count an object once per `object_key` (the same key with another size: the difference) or once per idempotency key.

    `about` are further fields of `StoredObject`: what it is and where it lies. The quota is not asked: the bytes are there.

    Raises:
        TenantNotFound. IdempotencyKeyReused: the key came before with another size or object.
    """
    pk = _tenant_pk(tenant_id)
    return _record_new(pk, size_bytes, object_key, idempotency_key, about) or _record(
        pk, size_bytes, object_key, idempotency_key, about
    )


# What else a row says, and what it says where a caller leaves it out.
_ABOUT: dict[str, tuple[str, Any]] = {
    "content_type": ("text", ""),
    "driver": ("text", ""),
    "bucket": ("text", ""),
    "is_own": ("bool", False),
    "waiting_since": ("timestamptz", None),
    "url": ("text", ""),
}
_RECORD_NEW = Prepared(
    f"""
    WITH total AS (
        INSERT INTO storage_storageusage AS u (tenant_id, used_bytes)
        SELECT id, %(size)s FROM tenants_tenant WHERE id = %(tenant)s
        ON CONFLICT (tenant_id) DO UPDATE SET used_bytes = u.used_bytes + %(size)s RETURNING used_bytes, quota_bytes
    ), made AS (
        INSERT INTO storage_storedobject (id, tenant_id, size_bytes, used_after, object_key, idempotency_key, fingerprint,
            created_at, {", ".join(_ABOUT)})
        SELECT %(id)s, %(tenant)s, %(size)s, used_bytes, %(object_key)s, %(key)s, %(fingerprint)s, clock_timestamp(),
            {", ".join(f"%({name})s" for name in _ABOUT)} FROM total
    )
    SELECT used_bytes, quota_bytes FROM total
    """,  # noqa: S608
    {"id": "uuid", "tenant": "uuid", "size": "bigint", "object_key": "text", "key": "text", "fingerprint": "text"}
    | {name: type for name, (type, _default) in _ABOUT.items()},
)


@retried
def _record_new(
    tenant_pk: UUID, size_bytes: int, object_key: str | None, idempotency_key: str | None, about: dict[str, Any]
) -> Usage | None:
    """Return an object that is not known, as one statement; None, with nothing changed, where `_record` has to look closer."""
    if not IS_POSTGRESQL or not about.keys() <= _ABOUT.keys():
        return None
    request_hash = _fingerprint(size_bytes, object_key) if idempotency_key else ""
    further = [about.get(name, default) for name, (_type, default) in _ABOUT.items()]
    with suppress(IntegrityError):  # it is known
        row = _RECORD_NEW.write(str(uuid7()), str(tenant_pk), size_bytes, object_key, idempotency_key, request_hash, *further)
        return Usage(*row) if row else None
    return None


@durable
def _record(
    tenant_pk: UUID, size_bytes: int, object_key: str | None, idempotency_key: str | None, about: dict[str, Any]
) -> Usage:
    usage = _locked(tenant_pk)
    request_hash = _fingerprint(size_bytes, object_key) if idempotency_key else ""
    if idempotency_key is not None:
        first = StoredObject.objects.filter(tenant_id=tenant_pk, idempotency_key=idempotency_key).first()
        if first is not None:
            if first.fingerprint != request_hash:
                raise IdempotencyKeyReused
            return Usage(first.used_after or 0, usage.quota_bytes, replayed=True)
    known = StoredObject.objects.filter(tenant_id=tenant_pk, object_key=object_key).first() if object_key else None
    if known is not None and _stays(known, about):
        return Usage(usage.used_bytes, usage.quota_bytes)
    counted = known.size_bytes if known is not None and known.released_at is None else 0
    usage.used_bytes += size_bytes - counted
    fields = {
        "size_bytes": size_bytes,
        "released_at": None,
        "fingerprint": request_hash,
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


@durable
def record_of_user(*, user_id: str, size_bytes: int, object_key: str, **about: Any) -> None:
    """The same for a user without a tenant, whose bytes nobody limits."""
    columns: dict[str, Any] = {"user_id": user_id, "object_key": object_key}
    known = StoredObject.objects.select_for_update(no_key=True).filter(**columns).first()
    if known is None or not _stays(known, about):
        StoredObject.objects.update_or_create(**columns, defaults=about | {"size_bytes": size_bytes, "released_at": None})


def _stays(known: StoredObject, about: dict[str, Any]) -> bool:
    """Return whether it lies in a bucket, and now lies here too: whoever uploaded it there deletes the file here."""
    return known.released_at is None and known.driver not in ("", LOCAL) and about.get("driver") == LOCAL


def release(*, tenant_id: str, object_key: str) -> Usage:
    """Stop counting an object that was deleted. A second time, or for an unknown key, nothing changes.

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


@durable
def forget_objects(kind: str, owner_id: UUID, *, limit: int) -> int:
    """Delete up to `limit` rows of an owner who is erased (kind: "tenant" or "user"), and counts their bytes no more."""
    usage = _locked(owner_id) if kind == "tenant" else None
    found = list(StoredObject.objects.filter(**{kind: owner_id}).values_list("id", "size_bytes", "released_at")[:limit])
    StoredObject.objects.filter(id__in=[pk for pk, _size, _released in found]).delete()
    if usage is not None:
        usage.used_bytes -= sum(size for _pk, size, released in found if released is None)
        _write(usage)
    return len(found)


# --- room for what is being made -----------------------------------------------------------------------------------

# Parts of statements of others, on PostgreSQL: that a tenant has no quota; that what ended (its `id`) keeps no room any more.
HAS_NO_QUOTA = "NOT EXISTS (SELECT 1 FROM storage_storageusage AS s WHERE s.tenant_id = {tenant} AND s.quota_bytes IS NOT NULL)"
END_RESERVATIONS = "DELETE FROM storage_reservation AS r USING {ended} AS e WHERE r.id = e.id"


def reserve(*, tenant_id: str, reservation_id: UUID, size_bytes: int) -> None:
    """Keep `size_bytes` of the tenant's quota for something that is being made. Without a quota nothing is kept.

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
    """Keep no room any more: what it was for is stored and counted, or will never be. A second time nothing changes."""
    Reservation.objects.filter(id=reservation_id).delete()


def sweep_reservations() -> int:
    """Delete those that have expired, which keep nothing already; how many there were."""
    return Reservation.objects.filter(expires_at__lte=timezone.now()).delete()[0]


# --- under the lock ------------------------------------------------------------------------------------------------


def _tenant_pk(tenant_id: str) -> UUID:
    pk = parse_uuid(tenant_id)
    if pk is None:
        raise TenantNotFound
    return pk


def _locked(tenant_pk: UUID) -> StorageUsage:
    """Return the tenant's total, its row locked; made where there is none."""
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
