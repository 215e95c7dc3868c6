"""The count of a tenant's bytes, proved from its objects."""

from collections.abc import Iterator

from django.db.models import Q, Sum

from storage.models import StorageUsage, StoredObject


def differences() -> Iterator[tuple[str, str]]:
    """`(tenant id, what differs)` for each tenant whose `used_bytes` is not what its objects make together.

    Memory grows with the tenants, not with their objects.
    """
    counted = dict(
        StoredObject.objects.filter(tenant__isnull=False, released_at=None)
        .values_list("tenant_id")
        .annotate(total=Sum("size_bytes"))
        .order_by()
    )
    known = dict(
        StorageUsage.objects.filter(Q(used_bytes__gt=0) | Q(tenant_id__in=counted)).values_list("tenant_id", "used_bytes")
    )
    for tenant_id in sorted(counted.keys() | known.keys()):
        used, total = known.get(tenant_id, 0), counted.get(tenant_id, 0)
        if used != total:
            yield str(tenant_id), f"{used} bytes are counted, but the stored objects make {total}"
