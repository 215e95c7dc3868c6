"""A range of days over a whole list: right at its ends, and found by an index."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from billing.ledger.models import Account, LedgerEntry
from tenants.models import Tenant

DAYS = 40


@pytest.fixture
def entries(acme: Tenant) -> list[LedgerEntry]:
    """Two entries a day, at midnight and at noon."""
    account = Account.objects.get(tenant=acme, mode="live")
    midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    times = [midnight - timedelta(days=days) + timedelta(hours=hours) for days in range(DAYS, 0, -1) for hours in (0, 12)]
    seq = account.last_seq
    rows = [
        LedgerEntry(account=account, seq=seq + n, kind="GIFT", amount=1, balance=n, spendable=n, created_at=at, hash=str(n))
        for n, at in enumerate(times, 1)
    ]
    return [row for row in rows if row.save() is None]


def shown(client: Any, first: datetime | None, last: datetime | None) -> list[int]:
    asked = {"created_at_from": first, "created_at_to": last}
    query = {name: f"{at:%Y-%m-%d}" for name, at in asked.items() if at}
    found: list[int] = []
    address = reverse("admin:billing_ledgerentry_changelist")
    while True:
        changes = client.get(address, query).context["cl"]
        found += [row.pk for row in changes.result_list]
        if not changes.older_url:
            return found
        query["before"] = str(found[-1])


@pytest.mark.parametrize(("first", "last"), [(30, 3), (30, 29), (9, 9), (35, None), (None, 20), (None, None), (90, 60), (200, 1)])
def test_days_are_shown_whole_and_no_others(
    admin_client: Any, entries: list[LedgerEntry], first: int | None, last: int | None
) -> None:
    today = timezone.localtime()
    since, until = (today - timedelta(days=days) if days else None for days in (first, last))
    expected = [
        row.pk
        for row in entries
        if (since is None or timezone.localtime(row.created_at).date() >= since.date())
        and (until is None or timezone.localtime(row.created_at).date() <= until.date())
    ]
    found = [pk for pk in shown(admin_client, since, until) if pk in {row.pk for row in entries}]
    assert found == expected[::-1]


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has no such index")
def test_the_ends_of_a_range_are_found_by_the_index_of_time(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("EXPLAIN SELECT max(id + 0) FROM billing_ledgerentry WHERE created_at >= now() - interval '7 days'")
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "billing_entry_time" in plan, plan
