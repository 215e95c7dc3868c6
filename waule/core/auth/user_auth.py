"""Who calls `/api`: a platform user with a JSON Web Token, or with the session of a browser (then with CSRF)."""

import hashlib
import hmac
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from waule.core.auth import jwt_tokens
from waule.core.ids import parse_uuid


def stamp_of(user: Any, secret: str | None = None) -> str:
    """Change with the user's password. `secret` is JWT_SECRET, or one that is accepted beside it."""
    return hmac.new((secret or settings.JWT_SECRET).encode(), user.password.encode(), hashlib.sha256).hexdigest()[:16]


def _is_stamp_of(stamp: str, user: Any) -> bool:
    return any(hmac.compare_digest(stamp.encode(), stamp_of(user, secret).encode()) for secret in jwt_tokens.accepted_secrets())


def user_of_token(text: str, kind: jwt_tokens.Kind) -> tuple[Any, jwt_tokens.Token] | None:
    """Return the active user whose token this is, and what it says; None for any other."""
    token = jwt_tokens.read(text, kind)
    user_pk = parse_uuid(token.user_id) if token else None
    user = get_user_model().objects.filter(pk=user_pk, is_active=True).first() if user_pk else None
    if token is None or user is None or (token.stamp and not _is_stamp_of(token.stamp, user)):
        return None
    return user, token


class JWTAuthentication(BaseAuthentication):
    """`Authorization: Bearer <token>`. Anything that is sent there and is not a valid token is refused."""

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        header = request.META.get("HTTP_AUTHORIZATION", "")
        if not header:
            return None
        scheme, _space, token = header.partition(" ")
        found = user_of_token(token.strip(), "access") if scheme.lower() == "bearer" else None
        if found is None:
            raise AuthenticationFailed
        return found

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


USER_AUTHENTICATION = [JWTAuthentication, SessionAuthentication]
