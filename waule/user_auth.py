"""Who calls `/api`: a platform user with a JSON Web Token, or with the session of a browser (then with CSRF)."""

import hashlib
import hmac
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from waule import jwt_tokens
from waule.ids import parse_uuid


def stamp_of(user: Any) -> str:
    """Changes with the user's password."""
    return hmac.new(settings.JWT_SECRET.encode(), user.password.encode(), hashlib.sha256).hexdigest()[:16]


def user_of_token(text: str, kind: jwt_tokens.Kind) -> tuple[Any, jwt_tokens.Token] | None:
    """The active user whose token this is, and what it says; None for any other."""
    token = jwt_tokens.read(text, kind)
    user_pk = parse_uuid(token.user_id) if token else None
    user = get_user_model().objects.filter(pk=user_pk, is_active=True).first() if user_pk else None
    if token is None or user is None or (token.stamp and not hmac.compare_digest(token.stamp, stamp_of(user))):
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
