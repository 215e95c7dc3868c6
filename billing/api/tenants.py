"""`/internal/tenants`: whom a key belongs to."""

from typing import Any

from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from billing.api import schema
from billing.ledger.keys import KeyWithAccount, find_api_key_with_account
from tenants.services import touch
from waule.core.errors import InvalidRequest, NotFound
from waule.core.http.api_base import InternalViewSet, answer


class TenantByKeyViewSet(InternalViewSet):
    scope = "tenants"

    @extend_schema(
        parameters=[OpenApiParameter("X-Api-Key", str, OpenApiParameter.HEADER, required=True)],
        responses={200: schema.TenantOfKey},
        operation_id="tenant_by_api_key",
    )
    def list(self, request: Request) -> Response:
        plaintext = request.META.get("HTTP_X_API_KEY")
        if not plaintext:
            raise InvalidRequest.of_field("X-Api-Key", _("Send the tenant's key in the header X-Api-Key."))
        key = find_api_key_with_account(plaintext)
        if key is None:
            raise NotFound(_("This key is unknown, has expired or was revoked."))
        touch(key.id, key.last_used_at)
        response = answer(tenant_answer(key))
        response["Cache-Control"] = "no-store"
        return response


def tenant_answer(key: KeyWithAccount) -> dict[str, Any]:
    return {
        "id": str(key.tenant_id),
        "name": key.tenant_name,
        "credits": key.spendable,
        "enabledModels": key.enabled_models,
        "ossMode": key.oss_mode or "platform",
        "isActive": key.is_active,
        "keyId": str(key.id),
        "keyMode": key.mode,
    }
