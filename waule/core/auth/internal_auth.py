"""Authentication of `/internal` by the header `X-Internal-Secret`."""

import logging
from typing import Any

from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from waule.core.auth.client_address import address_group, client_address
from waule.core.auth.internal_callers import Program, caller_of, known_callers
from waule.core.auth.rate_limit import AddressLimit
from waule.core.errors import Forbidden, NotConfigured, RateLimited, Unauthorized

logger = logging.getLogger(__name__)
HEADER = "HTTP_X_INTERNAL_SECRET"
# The right secret is let in however many wrong ones came from its address: a neighbour must not lock the gateway out.
failures = AddressLimit(500, 300)


class InternalSecretAuthentication(BaseAuthentication):
    """Names the header, so that a rejection is a 401 and not a 403."""

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        caller = caller_of(request.META.get(HEADER))
        return (caller, None) if caller else None

    def authenticate_header(self, request: Request) -> str:
        return "X-Internal-Secret"


class HasInternalSecret(BasePermission):
    """Lets in who sends one of the configured secrets and has the view's `scope`.

    Raises:
        NotConfigured: no secret is configured (or only weak ones): nobody gets in.
        Unauthorized: no header, or another secret.
        RateLimited: as many other secrets came from that address before.
        Forbidden: the caller's scopes do not include the view's.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        if not known_callers():
            raise NotConfigured
        caller: Any = request.user
        if not isinstance(caller, Program):
            raise rejection(request)
        if view.scope not in caller.scopes:
            raise Forbidden(scope=view.scope)
        return True


def rejection(request: Any) -> Unauthorized | RateLimited:
    """Return the error for a request without a right secret; a wrong one is logged and counted."""
    if not request.META.get(HEADER):
        return Unauthorized()
    address = client_address(request)
    logger.warning("wrong internal secret from %s for %.200r", address, request.META.get("PATH_INFO", ""))
    wait_seconds = failures.hit(address_group(address))
    return RateLimited(retry_after_seconds=wait_seconds) if wait_seconds else Unauthorized()


def actor_of(request: Request) -> str:
    """Return who is asking, as ledger and audit log name it."""
    return str(request.user)
