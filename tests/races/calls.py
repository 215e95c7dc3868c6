"""Calls of `/internal/billing` at the real server, and the check that comes after them."""

from typing import Any

from tests.settings import INTERNAL_SECRET


def post(waule: Any, path: str, given: Any = None, key: str | None = None) -> Any:
    headers = {"X-Internal-Secret": INTERNAL_SECRET} | ({"Idempotency-Key": key} if key else {})
    return waule.post(f"/internal/billing/{path}", given, headers=headers)


def books_are_right(waule: Any) -> bool:
    return bool(waule.manage_json("reconcile")["ok"])
