"""The platform's own tokens: HS256 with JWT_SECRET, claim `userId`. An access token lives an hour, a refresh token a week."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import jwt
from django.conf import settings

Kind = Literal["access", "refresh"]
LIFETIMES: dict[Kind, timedelta] = {"access": timedelta(hours=1), "refresh": timedelta(days=7)}
ALGORITHM = "HS256"


@dataclass(frozen=True)
class Token:
    """What a valid token says: whose it is, and whether a second factor was proved when it was asked for."""

    user_id: str
    stamp: str
    has_second_factor: bool


def issue(user_id: str, kind: Kind, *, stamp: str, has_second_factor: bool = False) -> str:
    """Return a token for the user. `stamp` changes when the password does, and with it every older token ends."""
    now = datetime.now(UTC)
    claims = {"userId": user_id, "type": kind, "stamp": stamp, "iat": now, "exp": now + LIFETIMES[kind]}
    if has_second_factor:
        claims["secondFactor"] = True
    return jwt.encode(claims, settings.JWT_SECRET, algorithm=ALGORITHM)


def accepted_secrets() -> list[str]:
    """Return the secrets by which tokens are known: that of now first."""
    return [secret for secret in (settings.JWT_SECRET, settings.JWT_SECRET_PREVIOUS) if secret]


def _decode(token: str, secret: str) -> dict[str, Any] | None:
    try:
        claims: dict[str, Any] = jwt.decode(token, secret, algorithms=[ALGORITHM], options={"require": ["exp", "userId"]})
    except jwt.InvalidTokenError:
        return None
    return claims


def read(token: str, kind: Kind) -> Token | None:
    """Return what a token says that is ours, of this kind, and in time; else None.

    Tokens without `type` are those of other services that share JWT_SECRET: they are access tokens, without a stamp.
    """
    claims = next((found for secret in accepted_secrets() if (found := _decode(token, secret)) is not None), None)
    if claims is None:
        return None
    user_id, stamp = claims["userId"], claims.get("stamp", "")
    if claims.get("type", "access") != kind or not isinstance(user_id, str) or not isinstance(stamp, str):
        return None
    return Token(user_id, stamp, claims.get("secondFactor") is True)
