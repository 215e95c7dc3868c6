"""`/internal/tenants`: whom a key belongs to."""

from typing import Any

from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from tenants import selectors, services
from tenants.models import ApiKey
from waule.api_base import InternalViewSet, answer
from waule.errors import InvalidRequest, NotFound


class TenantByKeyViewSet(InternalViewSet):
    @extend_schema(
        parameters=[OpenApiParameter("X-Api-Key", str, OpenApiParameter.HEADER, required=True)],
        responses=dict,
        operation_id="tenant_by_api_key",
    )
    def list(self, request: Request) -> Response:
        plaintext = request.META.get("HTTP_X_API_KEY")
        if not plaintext:
            raise InvalidRequest.of_field("X-Api-Key", _("Send the tenant's key in the header X-Api-Key."))
        key = selectors.find_api_key_with_account(plaintext)
        if key is None:
            raise NotFound(_("This key is unknown, has expired or was revoked."))
        services.touch(key)
        response = answer(tenant_answer(key))
        response["Cache-Control"] = "no-store"
        return response


def tenant_answer(key: ApiKey) -> dict[str, Any]:
    tenant = key.tenant
    return {
        "id": str(tenant.id),
        "name": tenant.name,
        "credits": key.spendable,  # type: ignore[attr-defined]
        "enabledModels": tenant.enabled_models,
        "ossMode": key.oss_mode or "platform",  # type: ignore[attr-defined]
        "isActive": tenant.is_active,
        "keyId": str(key.id),
        "keyMode": key.mode,
    }
