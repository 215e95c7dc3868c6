"""Calls of `/internal/billing` at the real server, and the check that comes after them."""

from typing import Any

from django.db import connection

from tests.settings import INTERNAL_SECRET


def post(waule: Any, path: str, given: Any = None, key: str | None = None) -> Any:
    headers = {"X-Internal-Secret": INTERNAL_SECRET} | ({"Idempotency-Key": key} if key else {})
    return waule.post(f"/internal/billing/{path}", given, headers=headers)


def books_are_right(waule: Any) -> bool:
    return bool(waule.manage_json("reconcile")["ok"])


def waiting_for_locks() -> int:
    """How many sessions of this database wait for a lock. PostgreSQL alone."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
        return int(cursor.fetchone()[0])
