"""Credentials for tests, and the tokens that Sora's users have."""

import base64
import json
from typing import Any

from django.utils import timezone

from aiservices.credentials.models import GeminiKey, SoraToken
from waule.core.crypto.encryption import keyed_hash, mask
from waule.core.ids import uuid7

KEYS = ["AIzaPlanted-key-number-one-00000001", "AIzaPlanted-key-number-two-00000002"]


def key(name: str = "", **fields: Any) -> GeminiKey:
    """A Gemini key of our own that has worked, with a secret that is its own."""
    fields.setdefault("accepted_at", timezone.now())
    secret = f"AIzaTest-{name}-{uuid7().hex}"
    return GeminiKey.objects.create(name=name, secret=secret, fingerprint=keyed_hash(secret), masked=mask(secret), **fields)


def token(name: str = "", **fields: Any) -> SoraToken:
    """A Sora token of our own that has worked; the service does not know it, and is not to be told of it."""
    fields.setdefault("accepted_at", timezone.now())
    secret = f"sora-{name}-{uuid7().hex}"
    return SoraToken.objects.create(name=name, secret=secret, fingerprint=keyed_hash(secret), masked=mask(secret), **fields)


def access_token(email: str = "", **claims: Any) -> str:
    """An access token as Sora's users have them: a JSON Web Token that says whose it is."""

    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    profile = {"https://api.openai.com/profile": {"email": email}} if email else {}
    return f"{part({'alg': 'RS256'})}.{part(profile | {'exp': 4102444800, 'jti': uuid7().hex} | claims)}.c2ln{uuid7().hex}"
