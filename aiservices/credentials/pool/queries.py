"""What leasing, reports and the ends of leases share: the credentials' models, the day that limits count by, parameters."""

from datetime import date, datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import connection

from aiservices.credentials.models import GeminiKey, SoraToken

MODELS: dict[str, type[GeminiKey] | type[SoraToken]] = {"gemini": GeminiKey, "sora": SoraToken}


def today(now: datetime) -> date:
    """Return the day that daily limits count by, in BILLING_TIME_ZONE."""
    return now.astimezone(ZoneInfo(settings.BILLING_TIME_ZONE)).date()


def values_of(now: datetime, **more: Any) -> dict[str, Any]:
    """Parameters as this database writes them in its columns."""
    values = {"now": now, "today": today(now), **more}
    operations: Any = connection.ops
    for name, value in values.items():
        if isinstance(value, datetime):
            values[name] = operations.adapt_datetimefield_value(value)
        elif isinstance(value, date):
            values[name] = operations.adapt_datefield_value(value)
        elif isinstance(value, UUID):
            values[name] = value if connection.features.has_native_uuid_field else value.hex
    return values


def released(credential: GeminiKey | SoraToken, use: str, leases: int = 1) -> dict[str, Any]:
    """Return the columns that change in `credential`, whose row the caller has locked, when so many of its leases end."""
    changed: dict[str, Any] = {"in_flight": max(0, credential.in_flight - leases)}
    if use and isinstance(credential, SoraToken):
        name = f"in_flight_{use}s"
        changed[name] = max(0, getattr(credential, name) - leases)
    return changed
