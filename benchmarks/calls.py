"""How many Python calls and SQL statements an answer takes, in one process: figures that no other load changes.

Run as a process of its own, with DATABASE_URL naming a throw-away database: python -m benchmarks.calls. Prints JSON.
"""

import cProfile
import io
import json
import os
import pstats
import sys
import uuid
from collections.abc import Callable
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "waule.settings")

from django.conf import settings
from django.db import connections

from benchmarks.seed import CREDITS, add_keys, platform
from billing.ledger.models import Kind
from billing.services import grant
from tenants.principal import Principal
from waule.wsgi import application

TIMES = 20
Call = Callable[[], Any]


def ask(method: str, path: str, body: Any = None, **headers: str) -> Any:
    raw = json.dumps(body).encode() if body is not None else b""
    path, _mark, query = path.partition("?")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "127.0.0.1",
        "HTTP_X_INTERNAL_SECRET": settings.INTERNAL_SECRET,
        "wsgi.input": io.BytesIO(raw),
        "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr,
        **{f"HTTP_{name.upper()}": value for name, value in headers.items()},
    }
    if raw:
        environ |= {"CONTENT_TYPE": "application/json", "CONTENT_LENGTH": str(len(raw))}
    statuses: list[str] = []
    answer = b"".join(application(environ, lambda status, *_headers: statuses.append(status)))
    assert statuses[0][0] == "2", (statuses, answer)
    return json.loads(answer) if answer else None


def scenarios() -> dict[str, Call]:
    made = platform(2)
    tenant, model, key = made["tenants"][0], made["model"], made["key"]
    target = Principal("tenant", tenant)
    add_keys()
    grant(target=target, credits=CREDITS, kind=Kind.GIFT, reason="bench", actor="bench", idempotency_key=uuid.uuid4().hex)
    use = {"targetType": "tenant", "targetId": tenant, "modelId": model, "operation": "image", "quantity": 1}

    def charge() -> None:
        ask("POST", "/internal/billing/charge", use, idempotency_key=str(uuid.uuid4()))

    def hold_and_capture() -> None:
        hold = ask("POST", "/internal/billing/holds", use, idempotency_key=str(uuid.uuid4()))
        ask("POST", f"/internal/billing/holds/{hold['holdId']}/capture")

    def batch() -> None:
        ask("POST", "/internal/billing/charges/batch", {"charges": [use | {"idempotencyKey": str(uuid.uuid4())}] * 1})

    def lease_and_report() -> None:
        lent = ask("POST", "/internal/credentials/lease", {"provider": "gemini"})
        ask("POST", f"/internal/credentials/leases/{lent['leaseId']}/report", {"outcome": "ok"})

    def image() -> None:
        ask("POST", "/v1/images/generations", {"model": "bench", "prompt": "x", "size": "64x64"}, authorization=f"Bearer {key}")

    return {
        "healthz": lambda: ask("GET", "/healthz"),
        "by-apikey": lambda: ask("GET", "/internal/tenants/by-apikey", x_api_key=key),
        "balance": lambda: ask("GET", f"/internal/billing/balance?targetType=tenant&targetId={tenant}"),
        "charge": charge,
        "hold and capture": hold_and_capture,
        "batch of one": batch,
        "storage record": lambda: ask("POST", "/internal/storage/record", {"tenantId": tenant, "bytes": 7}),
        "models": lambda: ask("GET", "/v1/models", authorization=f"Bearer {key}"),
        "lease and report": lease_and_report,
        "image": image,
    }


def measure(call: Call) -> dict[str, int]:
    """Return what one call takes when its statements are prepared and what is kept is kept."""
    for _number in range(3):
        call()
    profile = cProfile.Profile()
    profile.enable()
    for _number in range(TIMES):
        call()
    profile.disable()
    statements = 0

    def count(execute: Any, *arguments: Any) -> Any:
        nonlocal statements
        statements += 1
        return execute(*arguments)

    make = connections.create_connection
    connections.create_connection = lambda alias: _listening(make(alias), count)  # type: ignore[method-assign]
    try:
        call()
    finally:
        connections.create_connection = make  # type: ignore[method-assign]
    return {"calls": pstats.Stats(profile).total_calls // TIMES, "statements": statements}


def _listening(connection: Any, count: Any) -> Any:
    connection.execute_wrappers[:] = [count]
    return connection


if __name__ == "__main__":
    found: dict[str, dict[str, int]] = {}
    for name, call in scenarios().items():
        found[name] = measure(call)
    print(json.dumps(found))
