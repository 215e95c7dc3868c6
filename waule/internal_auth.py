"""The door of `/internal`: the header `X-Internal-Secret`."""

import hashlib
import hmac
import logging
from typing import Any

from django.contrib.auth.models import AnonymousUser
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from waule.checks import internal_secrets
from waule.errors import NotConfigured, Unauthorized

logger = logging.getLogger(__name__)
HEADER = "HTTP_X_INTERNAL_SECRET"


class InternalCaller(AnonymousUser):
    """Whoever knows the secret: in practice the gateway."""

    def __str__(self) -> str:
        return "gateway"


class InternalSecretAuthentication(BaseAuthentication):
    """Names the header, so that a refusal is a 401 and not a 403."""

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        return (InternalCaller(), None) if secret_matches(request.META.get(HEADER)) else None

    def authenticate_header(self, request: Request) -> str:
        return "X-Internal-Secret"


class HasInternalSecret(BasePermission):
    """Lets in who sends one of the configured secrets.

    Raises:
        NotConfigured: no secret is configured (or only ones shorter than 32 characters): nobody gets in.
        Unauthorized: no header, or another secret.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        if not internal_secrets():
            raise NotConfigured
        if not isinstance(request.user, InternalCaller):
            raise Unauthorized
        return True


def secret_matches(sent: str | None) -> bool:
    """Whether `sent` is a configured secret. Digests are compared, in constant time, every one of them."""
    if not sent:
        return False
    # WSGI hands header bytes over as Latin-1.
    digest = hashlib.sha256(sent.encode("latin-1", "replace")).digest()
    matches = [hmac.compare_digest(digest, hashlib.sha256(secret).digest()) for secret in internal_secrets()]
    return any(matches)
