"""Asks all that a tenant may ask, by its key and in the console: python -m benchmarks.pages.tenant_api FILE

FILE is what `benchmarks.data.tenant_history` printed, and DATABASE_URL its database. Prints {tenant: {path: milliseconds, the
median of REPEATS}} for the full, the small and the empty tenant.
"""

import json
import os
import statistics
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "waule.settings")

import django

django.setup()

from django.core.cache import cache  # noqa: E402
from django.test import Client  # noqa: E402
from django.utils import timezone  # noqa: E402

from aiservices.generations.models import Generation  # noqa: E402
from billing.ledger.models import LedgerEntry  # noqa: E402
from tenants.models import User  # noqa: E402

REPEATS = 9
TENANTS = ("empty", "small", "full")
BY_KEY = (
    "/v1/balance",
    "/v1/usage",
    "/v1/usage?group_by=model",
    "/v1/usage?group_by=day,model,key&from={year_ago}",
    "/v1/usage?from={year_ago_at_noon}&to={month_ago_at_noon}&group_by=key",
    "/v1/entries",
    "/v1/entries?limit=500",
    "/v1/entries?from={month_ago_at_noon}&to={today_at_noon}",
    "/v1/entries?cursor={entries_cursor}",
    "/v1/generations",
    "/v1/generations?limit=100",
    "/v1/generations?type=video",
    "/v1/generations?status=failed",
    "/v1/generations?status=queued",
    "/v1/generations?type=image&status=succeeded",
    "/v1/generations?after={oldest_generation}",
    "/v1/videos",
    "/v1/models",
    "/v1/prices",
    "/v1/keys",
    "/v1/webhook/deliveries",
    "/v1/dashboard/billing/subscription",
    "/v1/dashboard/billing/usage",
    "/api/usage/token",
)
IN_CONSOLE = (
    "",
    "usage/",
    "prices/",
    "statement/",
    "statement/?from={year_ago}&to={today}",
    "aiservices/generation/",
    "aiservices/generation/?state__exact=failed",
    "aiservices/generation/?state__exact=queued",
    "aiservices/generation/?type__exact=video",
    "aiservices/generation/?mode__exact=test",
    "aiservices/generation/?q=nothing",
    "aiservices/generation/?q={oldest_generation}",
    "aiservices/generation/?before={oldest_generation}",
    "billing/ledgerentry/",
    "billing/ledgerentry/?kind__exact=GIFT",
    "billing/ledgerentry/?kind__exact=EXPIRE",
    "billing/ledgerentry/?kind__exact=REFUND",
    "billing/ledgerentry/?q={oldest_generation}",
    "billing/ledgerentry/?before={oldest_entry}",
    "tenants/apikey/",
    "tenants/outboxmessage/",
    "tenants/outboxmessage/?state__exact=failed",
    "tenants/tenantmember/",
    "webhook/",
    "bucket/",
)


def values_of(tenant: dict[str, Any]) -> dict[str, str]:
    """Return what the paths name: days, and rows far back in the tenant's own history."""
    now = timezone.now()
    generations = Generation.objects.filter(tenant=tenant["tenant"]).order_by("id")
    entry = LedgerEntry.objects.filter(account=tenant["account"]).order_by("seq")[100:101].first()
    generation = generations[50:51].first() or Generation.objects.order_by("id").first()
    year, month = now - timedelta(days=359), now - timedelta(days=29)
    return {
        "today": f"{now:%Y-%m-%d}",
        "year_ago": f"{year:%Y-%m-%d}",
        "year_ago_at_noon": f"{year:%Y-%m-%d}T12:00:00Z",
        "month_ago_at_noon": f"{month:%Y-%m-%d}T12:00:00Z",
        "today_at_noon": f"{now:%Y-%m-%d}T12:00:00Z",
        "oldest_generation": str(generation.id) if generation else "",
        "oldest_entry": str(entry.id if entry else 1),
        "entries_cursor": str(entry.seq if entry else 1),
    }


def ask(client: Client, path: str, headers: dict[str, str]) -> float:
    """Return milliseconds of one answer."""
    cache.clear()
    started = time.perf_counter()
    answer = client.get(path, headers={"host": "127.0.0.1", **headers}, secure=True)
    elapsed = time.perf_counter() - started
    if answer.status_code != 200:
        raise SystemExit(f"{path} answered {answer.status_code}: {answer.content[:500]!r}")
    return 1000 * elapsed


def measure(made: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return the tenants take turns, so that a busy minute of the machine is one for all of them."""
    clients = {name: Client() for name in TENANTS}
    for name, client in clients.items():
        client.force_login(User.objects.get(username=made[name]["member"]))
    values = {name: values_of(made[name]) for name in TENANTS}
    taken: dict[str, dict[str, float]] = {name: {} for name in TENANTS}
    for path in (*BY_KEY, *(f"/console/{page}" for page in IN_CONSOLE)):
        times: dict[str, list[float]] = {name: [] for name in TENANTS}
        for _repeat in range(REPEATS + 1):
            for name, client in clients.items():
                by_key = {"authorization": f"Bearer {made[name]['key']}"} if path in BY_KEY else {}
                times[name].append(ask(client, path.format(**values[name]), by_key))
        for name in TENANTS:
            taken[name][path] = statistics.median(times[name][1:])
    return taken


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(Path(sys.argv[1]).read_text()))))
