"""Identifiers that sort by the time they were made."""

import os
import time
from datetime import datetime
from uuid import UUID


def uuid7() -> UUID:
    """Return a version 7 UUID (RFC 9562): 48 bits of Unix milliseconds, then 74 random bits.

    New rows land at the end of the primary key's index, and the newest sort last.
    """
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds & 0xFFFF_FFFF_FFFF) << 80 | int.from_bytes(os.urandom(10))
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=value)


def uuid7_floor(timestamp: datetime) -> UUID:
    """Return the smallest version 7 UUID that could have been made at `timestamp`."""
    return UUID(int=int(timestamp.timestamp() * 1000) << 80)


def parse_uuid(text: str) -> UUID | None:
    """Return the UUID that `text` spells in its canonical form, or None: an id we never gave is simply unknown."""
    try:
        value = UUID(text)
    except (ValueError, AttributeError, TypeError):
        return None
    return value if str(value) == text.lower() else None
