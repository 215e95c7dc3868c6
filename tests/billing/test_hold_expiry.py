"""When a hold reserves nothing any more: one rule, which every reader and writer has from `billing.ledger.expiry`."""

import re
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

from django.conf import settings
from django.db import connection

from billing.ledger.expiry import due_holds, due_sql, open_holds
from billing.ledger.models import Account, Hold
from billing.ledger.rows import plain

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
AGES = (timedelta(microseconds=-1), timedelta(0), timedelta(microseconds=1))  # from the end of its time


def test_the_queryset_and_the_sql_say_the_same_of_every_hold(acme: Any) -> None:
    """The function of PostgreSQL too: it is asked for the credits."""
    account = Account.objects.get(tenant=acme, mode="live")
    due = set()
    for credits, (state, pinned, unknown, age) in enumerate(product(Hold.State.values, (False, True), (False, True), AGES), 1):
        hold = Hold.objects.create(
            account=account,
            credits=credits,
            state=state,
            is_pinned=pinned,
            is_unknown=unknown,
            expires_at=NOW - age,
            created_at=NOW,
        )
        if state == "held" and not pinned and not unknown and age >= timedelta(0):
            due.add(hold.id)
    assert set(due_holds(NOW).values_list("id", flat=True)) == due
    assert set(open_holds(NOW)) == set(Hold.objects.filter(state="held").exclude(id__in=due))
    at = plain(NOW) if connection.vendor == "sqlite" else NOW
    found = Hold.objects.raw(f"SELECT h.id FROM billing_hold AS h WHERE {due_sql('h', '%s')}", [at])
    assert {hold.id for hold in found} == due
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT billing_due_credits(%s, %s)", [account.id, NOW])
            assert cursor.fetchone() == (sum(hold.credits for hold in Hold.objects.filter(id__in=due)),)


def test_no_other_code_asks_whether_a_hold_is_due() -> None:
    """Only this rule compares `is_pinned`; elsewhere it is written and shown."""
    compared = re.compile(r"NOT \S*is_pinned|is_pinned OR|__is_pinned|is_pinned=(True|False)|\.is_pinned")
    apps = ("waule", "tenants", "billing", "storage", "aiservices")
    files = [path for app in apps for path in (settings.BASE_DIR / app).rglob("*.py") if "migrations" not in path.parts]
    assert [path.name for path in files if compared.search(path.read_text())] == ["expiry.py"]
