"""Opens every list of the admin, its filters, searches and older pages, and the pages made of figures.

Run as a process of its own: python -m benchmarks.pages.admin_pages. Prints {path: milliseconds, the median of REPEATS}.
"""

import json
import os
import statistics
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "waule.settings")

import django

django.setup()

from django.contrib import admin  # noqa: E402
from django.core.cache import cache  # noqa: E402
from django.test import Client, RequestFactory  # noqa: E402
from django.urls import reverse  # noqa: E402

from aiservices.generations.models import Generation  # noqa: E402
from aiservices.monitoring import daily_stats as outcomes  # noqa: E402
from billing.ledger.models import Account, Charge  # noqa: E402
from billing.monitoring import daily_stats as figures  # noqa: E402
from tenants.models import User  # noqa: E402

REPEATS = 5
FILTERED = 3  # choices of each filter


def paths(user: User) -> Iterator[str]:
    """Without what lies behind the short tables' pages: those are the same however long the history is."""
    account = Account.objects.order_by("id")[7]
    yield reverse("admin:index")
    yield reverse("admin:tenants_tenant_change", args=[account.tenant_id])
    yield reverse("admin:tenant_overview", args=[account.tenant_id])
    yield reverse("admin:billing_statement", args=[account.pk])
    yield from searches(account)
    for model, page in sorted(admin.site._registry.items(), key=lambda pair: pair[0]._meta.label):
        if not getattr(page, "is_large", False):
            continue
        path = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        yield path
        request = RequestFactory().get(path)
        request.user = user
        shown = page.get_changelist_instance(request)
        newest = list(shown.result_list)
        if newest:
            yield f"{path}?before={getattr(newest[-1], shown.key)}"
            yield f"{path}?q={newest[-1].pk}"
        yield f"{path}?q={account.tenant.name.replace(' ', '+')}"
        yield f"{path}?q=nothing+of+that+name"
        for spec in shown.filter_specs:
            for choice in list(choices_of(spec, shown))[1 : FILTERED + 1]:
                yield path + choice["query_string"]
        if "account" in {each[0] if isinstance(each, tuple) else each for each in page.get_list_filter(request)}:
            yield f"{path}?account__id__exact={account.pk}"


def searches(account: Account) -> Iterator[str]:
    """Names, parts of ids from everywhere in the history, and what nobody has."""
    charges = Charge.objects.order_by("id")
    some = [charge for charge in (charges.first(), charges.last(), account.charges.first()) if charge is not None]
    parts = [part for charge in some for part in (str(charge.pk), str(charge.pk)[-12:], str(charge.pk)[9:18])]
    for term in (account.tenant.name, "a1b2-c3d4-e5f6", "nothing of that name", *parts):
        yield f"{reverse('admin:search')}?{urlencode({'s': term})}"
    generation = Generation.objects.order_by("id").last()
    if generation is not None:
        yield reverse("admin:aiservices_generation_change", args=[generation.pk])
        yield f"{reverse('admin:search')}?{urlencode({'s': generation.prompt[:40]})}"


def choices_of(spec: Any, shown: Any) -> Iterator[dict[str, Any]]:
    return (choice for choice in spec.choices(shown) if choice.get("query_string", "").startswith("?"))


def measure() -> dict[str, float]:
    figures.add_up()
    outcomes.add_up()
    user = User.objects.create_superuser("bench", password="bench-benchmark-0")
    client = Client(headers={"host": "127.0.0.1"})
    client.force_login(user)
    taken: dict[str, float] = {}
    for path in dict.fromkeys(paths(user)):
        times = []
        for _repeat in range(REPEATS + 1):
            cache.clear()
            started = time.perf_counter()
            answer = client.get(path, secure=True)
            times.append(time.perf_counter() - started)
            if answer.status_code != 200:
                raise SystemExit(f"{path} answered {answer.status_code}")
        taken[path] = 1000 * statistics.median(times[1:])
    return taken


if __name__ == "__main__":
    print(json.dumps(measure()))
