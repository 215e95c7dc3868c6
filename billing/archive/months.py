"""Months as numbers since the year 0, in BILLING_TIME_ZONE, so that the next one is one more."""

from datetime import datetime
from zoneinfo import ZoneInfo

from django.conf import settings


def month_of(timestamp: datetime) -> int:
    there = timestamp.astimezone(zone())
    return there.year * 12 + there.month - 1


def name_of(number: int) -> str:
    return f"{number // 12:04}-{number % 12 + 1:02}"


def end_of(number: int) -> datetime:
    year, month = divmod(number + 1, 12)
    return datetime(year, month + 1, 1, tzinfo=zone())


def zone() -> ZoneInfo:
    return ZoneInfo(settings.BILLING_TIME_ZONE)
