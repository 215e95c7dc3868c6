"""How a tenant's key looks: `wk_live_` or `wk_test_`, 30 random characters, 6 characters of checksum.

The checksum (CRC-32 in base 62) lets a mistyped key be refused without a look at the database.
"""

import secrets
import string
import zlib

from tenants.models import Mode

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
RANDOM_LENGTH = 30
CHECKSUM_LENGTH = 6


def new_key(mode: str) -> str:
    """Return a new key of that mode, about 178 bits of randomness."""
    return with_checksum(f"wk_{Mode(mode).value}_" + "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_LENGTH)))


def with_checksum(text: str) -> str:
    number = zlib.crc32(text.encode())
    digits = ""
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return text + digits


def looks_valid(text: str) -> bool:
    """Return whether `text` could be one of our keys: prefix, length, alphabet and checksum."""
    prefix, body = text[:8], text[8:]
    return (
        prefix in ("wk_live_", "wk_test_")
        and len(body) == RANDOM_LENGTH + CHECKSUM_LENGTH
        and all(character in ALPHABET for character in body)
        and with_checksum(text[:-CHECKSUM_LENGTH]) == text
    )


def mask_key(text: str) -> str:
    """Return how a key is shown: `wk_live_…AB12`."""
    return f"{text[:8]}…{text[-4:]}"
