"""Who calls `/v1`: a tenant, by its key."""

from typing import Any

from django.utils.translation import gettext_lazy as _
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request

from aiservices.wishes import Caller
from billing.errors import TenantInactive
from tenants.models import ApiKey
from tenants.selectors import find_api_key
from tenants.services import touch
from waule.api_base import ApiViewSet
from waule.errors import Unauthorized


class TenantCaller:
    """The tenant behind a key, as DRF's permissions see a user."""

    is_authenticated = True

    def __init__(self, key: ApiKey) -> None:
        self.key = key
        self.pk = key.tenant_id


class TenantKeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer wk_live_…` or `wk_test_…`."""

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        scheme, _space, plaintext = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() != "bearer" or not plaintext.strip():
            raise Unauthorized(_("Send your key: Authorization: Bearer wk_live_…"))
        key = find_api_key(plaintext.strip())
        if key is None:
            raise Unauthorized(_("This API key is unknown, has expired or was revoked."))
        if not key.tenant.is_active:
            raise TenantInactive
        touch(key)
        return TenantCaller(key), key

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


def key_of(request: Request) -> ApiKey:
    key: ApiKey = request.auth  # type: ignore[assignment]
    return key


def caller_of(request: Request) -> Caller:
    key = key_of(request)
    return Caller("tenant", key.tenant_id, key.mode, key.id, getattr(request._request, "request_id", ""))


class OpenAIViewSet(ApiViewSet):
    authentication_classes = [TenantKeyAuthentication]
    permission_classes = [IsAuthenticated]

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """OpenAI's clients repeat a failed call by themselves; where work may have been done they must not."""
        if response.status_code in (409, 502, 504):
            response["x-should-retry"] = "false"
        return super().finalize_response(request, response, *args, **kwargs)
