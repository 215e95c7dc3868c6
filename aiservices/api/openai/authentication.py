"""Who calls `/v1`: a tenant, by its key."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext_lazy as _
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import SAFE_METHODS, BasePermission, IsAuthenticated
from rest_framework.request import Request

from aiservices.generations import client_retries as retries
from billing.errors import TenantInactive
from tenants.errors import ScopeMissing
from tenants.models import ApiKey, Scope
from tenants.principal import Principal
from tenants.selectors import find_api_key
from tenants.services import touch
from waule.core.errors import Unauthorized
from waule.core.http.api_base import ApiViewSet


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
        touch(key.id, key.last_used_at)
        request_id = getattr(request._request, "request_id", "")
        allowed = tuple(key.allowed_models)
        return Principal("tenant", str(key.tenant_id), key.mode, key.id, request_id, allowed), key

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


def key_of(request: Request) -> ApiKey:
    key: ApiKey = request.auth  # type: ignore[assignment]
    return key


def caller_of(request: Request) -> Principal:
    caller: Principal = request.user  # type: ignore[assignment]
    return caller


def retry_of(request: Request) -> int:
    """For the how manieth time the caller's client repeats this request by itself, as OpenAI's clients say; 0: the first."""
    sent = request.META.get("HTTP_X_STAINLESS_RETRY_COUNT", "")
    return int(sent) if sent.isascii() and sent.isdigit() and len(sent) <= 3 else 0


READING = (Scope.READ, Scope.GENERATE)
GENERATING = (Scope.GENERATE,)
MANAGING = (Scope.MANAGE,)


class HasScope(BasePermission):
    """The key has one of the scopes that the action needs: to read, unless the view says otherwise, or to generate."""

    def has_permission(self, request: Request, view: Any) -> bool:
        default = READING if request.method in SAFE_METHODS else GENERATING
        needed = view.scopes.get(view.action, default)
        if not key_of(request).has_scope(*needed):
            words = " / ".join(needed)
            raise ScopeMissing(_("This API key lacks the scope %(scope)s.") % {"scope": words}, scopes=list(needed))
        return True


class OpenAIViewSet(ApiViewSet):
    authentication_classes = [TenantKeyAuthentication]
    permission_classes = [IsAuthenticated, HasScope]
    scopes: ClassVar[Mapping[str, Sequence[str]]] = {}  # by action, where it is not the method's default

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """OpenAI's clients repeat a failed call by themselves; where work may have been done they must not.

        An answer with a `generation` tells whether somebody was there to take it, for the repetitions of its request.
        """
        response = super().dispatch(request, *args, **kwargs)
        if response.status_code in (409, 502, 504):
            response["x-should-retry"] = "false"
        generation = getattr(response, "generation", None)
        if generation is not None and retries.wants_delivery(generation):
            response.on_delivered = partial(retries.note_delivered, generation)  # type: ignore[attr-defined]
        return response
