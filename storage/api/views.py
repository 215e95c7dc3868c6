"""`/internal/storage` and a tenant's bucket."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from storage import services
from storage.api import schema
from storage.checks.backend import check_owner
from storage.models import OssConfig
from tenants import audit
from tenants.principal import Principal
from tenants.selectors import find_tenant
from waule.core.auth.internal_auth import actor_of
from waule.core.crypto.encryption import reveal
from waule.core.http.api_base import InternalViewSet, answer, idempotency_key
from waule.core.http.fields import BodySerializer, Integer, Text


class RecordBody(BodySerializer):
    tenantId = Text(max_length=64, min_length=1)
    bytes = Integer(min_value=1, max_value=services.MAX_BYTES)
    objectKey = Text(max_length=1024, min_length=1, required=False)


class ReleaseBody(BodySerializer):
    tenantId = Text(max_length=64, min_length=1)
    objectKey = Text(max_length=1024, min_length=1)


RECORD, RELEASE = RecordBody(), ReleaseBody()


def usage_answer(usage: services.Usage) -> dict[str, Any]:
    return {
        "ok": True,
        "storageUsedBytes": usage.used_bytes,
        "storageQuotaBytes": usage.quota_bytes,
        "overQuota": usage.is_over_quota,
    }


class StorageViewSet(InternalViewSet):
    """The count of a tenant's bytes."""

    scope = "storage"

    @extend_schema(request=RecordBody, responses={200: schema.StorageUsage}, operation_id="storage_record")
    def record(self, request: Request) -> Response:
        fields = self.read_body(request, RECORD)
        usage = services.record(
            tenant_id=fields["tenantId"],
            size_bytes=fields["bytes"],
            object_key=fields.get("objectKey"),
            idempotency_key=idempotency_key(request),
        )
        return answer(usage_answer(usage), replayed=usage.replayed)

    @extend_schema(request=ReleaseBody, responses={200: schema.StorageUsage}, operation_id="storage_release")
    def release(self, request: Request) -> Response:
        fields = self.read_body(request, RELEASE)
        return answer(usage_answer(services.release(tenant_id=fields["tenantId"], object_key=fields["objectKey"])))


class OssConfigViewSet(InternalViewSet):
    """Where a tenant's files go, with the keys to it: each read is in the audit log."""

    scope = "secrets"

    @extend_schema(responses={200: schema.TenantBucket}, operation_id="tenant_oss_config")
    def retrieve(self, request: Request, tenant_id: str) -> Response:
        tenant = find_tenant(tenant_id)
        config = OssConfig.objects.filter(tenant=tenant).first()
        is_custom = config is not None and config.mode == OssConfig.Mode.CUSTOM
        answered = {
            "ossMode": "custom" if is_custom else "platform",
            "ossConfig": config_answer(config) if config is not None and is_custom else None,
        }
        audit.record(actor=actor_of(request), action="oss_config.read", target=tenant, request=request._request)
        response = answer(answered)
        response["Cache-Control"] = "no-store"
        return response

    @extend_schema(request=None, responses={200: schema.BucketTest}, operation_id="tenant_oss_config_test")
    def test(self, request: Request, tenant_id: str) -> Response:
        """Return whether the place of the tenant's files works: 200 either way, with `ok` and the reason."""
        tenant = find_tenant(tenant_id)
        checked = check_owner(Principal("tenant", str(tenant.id)))
        after = {"ok": checked.ok, "reason": checked.reason}
        audit.record(actor=actor_of(request), action="oss_config.test", target=tenant, after=after, request=request._request)
        return answer(checked.as_json())


def config_answer(config: OssConfig) -> dict[str, Any]:
    return {
        "region": config.region,
        "bucket": config.bucket,
        "accessKeyId": config.access_key_id,
        "accessKeySecret": reveal(config.access_key_secret),
        "customDomain": config.custom_domain or None,
        "endpoint": config.endpoint or None,
    }
