"""The count of a tenant's bytes, and its bucket."""

from typing import Any

import pytest

from storage.checks.reconcile import differences
from storage.models import OssConfig, StorageUsage, StoredObject
from tenants.models import AuditEntry

RECORD, RELEASE = "/internal/storage/record", "/internal/storage/release"


def record(internal: Any, tenant: Any, size: Any, object_key: Any = None, key: str | None = None) -> tuple[int, Any]:
    return internal.post(RECORD, {"tenantId": str(tenant.id), "bytes": size, "objectKey": object_key}, key=key)


def test_an_object_is_counted_once(internal: Any, acme: Any) -> None:
    expected = {"ok": True, "storageUsedBytes": 100, "storageQuotaBytes": None, "overQuota": False}
    assert record(internal, acme, 100, "a.png") == (200, expected)
    assert record(internal, acme, 100, "a.png") == (200, expected)
    assert record(internal, acme, 70, "a.png")[1]["storageUsedBytes"] == 70
    assert record(internal, acme, 5, "b.png")[1]["storageUsedBytes"] == 75
    assert list(differences()) == []


def test_without_an_object_the_key_counts_once(internal: Any, acme: Any) -> None:
    first = record(internal, acme, 10, key="k")
    record(internal, acme, 1)
    assert record(internal, acme, 10, key="k") == first
    assert internal.last["Idempotent-Replayed"] == "true"
    assert record(internal, acme, 11, key="k")[1]["code"] == "idempotency_key_reused"
    assert record(internal, acme, 1)[1]["storageUsedBytes"] == 12
    assert list(differences()) == []


def test_a_release_gives_back_once_and_a_new_record_counts_again(internal: Any, acme: Any) -> None:
    record(internal, acme, 100, "a.png")
    body = {"tenantId": str(acme.id), "objectKey": "a.png"}
    for _ in range(2):
        status, answer = internal.post(RELEASE, body)
        assert (status, answer["ok"], answer["storageUsedBytes"]) == (200, True, 0)
    assert internal.post(RELEASE, body | {"objectKey": "never.png"})[1]["storageUsedBytes"] == 0
    assert record(internal, acme, 40, "a.png")[1]["storageUsedBytes"] == 40
    assert StoredObject.objects.count() == 1


def test_the_quota_is_told(internal: Any, acme: Any) -> None:
    StorageUsage.objects.create(tenant=acme, quota_bytes=50)
    assert record(internal, acme, 50, "a")[1]["overQuota"] is False
    answer = record(internal, acme, 1, "b")[1]
    assert (answer["storageQuotaBytes"], answer["overQuota"]) == (50, True)


@pytest.mark.parametrize("size", [0, -1, 2**53, 1.0, "5", True, None])
def test_bad_sizes_count_nothing(internal: Any, acme: Any, size: Any) -> None:
    assert record(internal, acme, size, "a")[0] == 400
    assert not StoredObject.objects.exists()


def test_unknown_tenants(internal: Any, db: None) -> None:
    for tenant_id in ("nobody", "0192f0c1-0000-7000-8000-000000000000"):
        for path, body in ((RECORD, {"bytes": 1}), (RELEASE, {"objectKey": "a"})):
            status, answer = internal.post(path, {"tenantId": tenant_id} | body)
            assert (status, answer["code"], answer["error"]) == (404, "tenant_not_found", "Tenant not found")
        assert internal.get(f"/internal/tenants/{tenant_id}/oss-config")[1]["error"] == "Tenant not found"


def test_a_tenants_bucket_is_told_and_each_reading_noted(internal: Any, acme: Any) -> None:
    url = f"/internal/tenants/{acme.id}/oss-config"
    assert internal.get(url)[1] == {"ossMode": "platform", "ossConfig": None}
    OssConfig.objects.create(
        tenant=acme,
        mode="custom",
        region="oss-cn-beijing",
        bucket="acme",
        access_key_id="id",
        access_key_secret="the-secret",
        custom_domain="cdn.acme.example",
    )
    assert internal.get(url)[1] == {
        "ossMode": "custom",
        "ossConfig": {
            "region": "oss-cn-beijing",
            "bucket": "acme",
            "accessKeyId": "id",
            "accessKeySecret": "the-secret",
            "customDomain": "cdn.acme.example",
            "endpoint": None,
        },
    }
    assert internal.last["Cache-Control"] == "no-store"
    assert AuditEntry.objects.filter(action="oss_config.read", target_id=str(acme.id)).count() == 2
    assert "the-secret" not in str(list(AuditEntry.objects.values()))
