"""Signatures of what the ledger's archive stands on: HMAC-SHA-256 by a key of LEDGER_SIGNING_KEYS.

The setting lists `id:secret`, newest first: the first signs, all of them verify. A key that has signed is kept there.
"""

import hashlib
import hmac
import json
import re
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from waule.core.errors import NotConfigured

MINIMUM_LENGTH = 32
MINIMUM_DISTINCT = 6  # different characters
_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,32}")


def keys() -> dict[str, str]:
    """Return the secrets by id, newest first.

    Raises:
        NotConfigured: an entry is malformed or weak; the message names its position or id, never the secret.
    """
    found: dict[str, str] = {}
    for number, entry in enumerate(settings.LEDGER_SIGNING_KEYS, 1):
        key_id, _colon, secret = entry.partition(":")
        if not _KEY_ID.fullmatch(key_id):
            raise NotConfigured(_("LEDGER_SIGNING_KEYS, entry %(number)s: write id:secret.") % {"number": number})
        if key_id in found:
            raise NotConfigured(_("LEDGER_SIGNING_KEYS names the key %(key)s twice.") % {"key": key_id})
        if len(secret) < MINIMUM_LENGTH or len(set(secret)) < MINIMUM_DISTINCT:
            raise NotConfigured(
                _("LEDGER_SIGNING_KEYS: the key %(key)s is too weak; use a random text of at least %(length)s characters.")
                % {"key": key_id, "length": MINIMUM_LENGTH}
            )
        found[key_id] = secret
    return found


def sign(content: dict[str, Any]) -> tuple[str, str]:
    """Return the newest key's id, and the signature in hex.

    Raises:
        NotConfigured: there is no key.
    """
    for key_id, secret in keys().items():
        return key_id, _digest(secret, content)
    raise NotConfigured(_("LEDGER_SIGNING_KEYS is not set: without a key nothing can be archived."))


def problem(content: dict[str, Any], *, key_id: str, signature: str) -> str | None:
    """Return what is wrong with a signature, or None."""
    try:
        secret = keys().get(key_id)
    except NotConfigured as error:
        return str(error)
    if secret is None:
        return f"the signing key {key_id} is not in LEDGER_SIGNING_KEYS"
    return None if hmac.compare_digest(_digest(secret, content), signature) else "the signature does not match"


def _digest(secret: str, content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()
