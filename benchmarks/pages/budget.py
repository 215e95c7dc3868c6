"""How many statements and milliseconds the admin's lists take on a long history: python -m benchmarks.pages.budget

Run it beside a database that `benchmarks.data.tenant_history` or `benchmarks.data.history` has filled. Prints a table in
Markdown, to be kept in benchmarks/pages.md: each page's statements, and the median of REPEATS answers, rendering included.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "waule.settings")

import django

django.setup()

from django.contrib import admin  # noqa: E402
from django.core.cache import cache  # noqa: E402
from django.db import connection  # noqa: E402
from django.test import Client  # noqa: E402
from django.urls import reverse  # noqa: E402
from django.utils import timezone  # noqa: E402

from billing.ledger.models import Charge  # noqa: E402
from tenants.models import User  # noqa: E402

REPEATS = 3


def pages() -> Iterator[tuple[str, str]]:
    """Name and address: every list, ranges of days of those that are long, and the search."""
    for model, page in sorted(admin.site._registry.items(), key=lambda pair: pair[0]._meta.label):
        if getattr(page, "is_large", False):
            yield (
                f"{model._meta.verbose_name_plural}",
                reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"),
            )
    today = timezone.localdate()
    ledger = reverse("admin:billing_ledgerentry_changelist")
    charges = reverse("admin:billing_charge_changelist")
    ranges = {"a day": (90, 90), "a month": (120, 91), "ten months": (345, 45), "everything up to a day": (None, 200)}
    for name, (first, last) in ranges.items():
        query = "&".join(
            f"created_at_{side}={today - timedelta(days=days)}"
            for side, days in (("from", first), ("to", last))
            if days is not None
        )
        yield f"ledger, {name}", f"{ledger}?{query}"
        yield f"charges, {name}", f"{charges}?{query}"
    charge = Charge.objects.order_by("-pk").first()
    terms = (
        {"a part of a charge's id": str(charge.pk)[-12:], "words of a prompt": "lighthouse evening", "a name": "small 7"}
        if charge
        else {}
    )
    for name, term in terms.items():
        yield f"search: {name}", f"{reverse('admin:search')}?s={term.replace(' ', '+')}"
    yield "search: an id that nobody has", f"{reverse('admin:search')}?s=a1b2-c3d4-e5f6"


def measured(client: Client, address: str) -> tuple[int, float, float]:
    """Statements, and the milliseconds that they take and that the whole answer takes, each as the median."""
    times: list[float] = []
    waits: list[float] = []
    statements, waited = 0, 0.0

    def count(execute: Callable[..., Any], *arguments: Any) -> Any:
        nonlocal statements, waited
        began_at = time.perf_counter()
        try:
            return execute(*arguments)
        finally:
            statements, waited = statements + 1, waited + 1000 * (time.perf_counter() - began_at)

    for _repeat in range(REPEATS + 1):
        cache.clear()
        statements, waited, began_at = 0, 0.0, time.perf_counter()
        with connection.execute_wrapper(count):
            answer = client.get(address)
        times.append(1000 * (time.perf_counter() - began_at))
        waits.append(waited)
        if answer.status_code != 200:
            raise SystemExit(f"{address} answered {answer.status_code}")
    return statements, statistics.median(waits[1:]), statistics.median(times[1:])


def main() -> None:
    user = User.objects.filter(username="budget").first() or User.objects.create_superuser("budget", password="bench-benchmark-0")
    client = Client(headers={"host": "127.0.0.1"})
    client.force_login(user)
    print("| page | statements | their ms | with rendering, ms |\n| --- | --: | --: | --: |")
    for name, address in pages():
        statements, waited, ms = measured(client, address)
        print(f"| {name} | {statements} | {waited:.0f} | {ms:.0f} |", flush=True)


if __name__ == "__main__":
    main()
