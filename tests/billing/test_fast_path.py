"""The usual charge, hold and capture: one statement on PostgreSQL, with the same rows as the long way writes."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext

from billing.budgets.models import Budget
from billing.catalog.current import kept_catalog
from billing.catalog.models import AIModel, BillingRule
from billing.catalog.offers import offer_of
from billing.catalog.usage import UsageRequest
from billing.ledger.models import Account, Charge, Hold, LedgerEntry
from billing.ledger.posting import entry_hash
from billing.reconciliation.checks import reconcile
from tenants.services import create_api_key
from tests.books import body, give
from tests.catalog import permit

postgresql_only = pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has the long way alone")


def statements(internal: Any, path: str, given: Any = None) -> int:
    """How many statements a call takes, once they are prepared; a test's savepoints do not count."""
    status, answer = internal.post(path, given)
    assert status < 300, answer
    with CaptureQueriesContext(connection) as queries:
        internal.post(path, given)
    return sum(not query["sql"].startswith(("SAVEPOINT", "RELEASE")) for query in queries)


@postgresql_only
@pytest.mark.parametrize("who", ["tenant", "user", "keyed"])
def test_the_usual_charge_and_hold_are_one_statement(internal: Any, acme: Any, alice: Any, flash: AIModel, who: str) -> None:
    given = body(alice if who == "user" else acme)
    if who == "keyed":
        given["apiKeyId"] = str(create_api_key(tenant=acme, name="shop", actor="test")[0].id)
    assert statements(internal, "/internal/billing/charge", given | {"metadata": {"order": 7}}) == 1
    assert statements(internal, "/internal/billing/holds", given) == 1
    assert statements(internal, "/internal/billing/charges/batch", {"charges": [given] * 50}) == 1
    assert reconcile().ok


@postgresql_only
def test_the_usual_capture_is_one_statement(internal: Any, acme: Any, flash: AIModel) -> None:
    holds = [internal.post("/internal/billing/holds", body(acme))[1]["holdId"] for _ in range(2)]
    internal.post(f"/internal/billing/holds/{holds[0]}/capture")
    with CaptureQueriesContext(connection) as queries:
        captured = internal.post(f"/internal/billing/holds/{holds[1]}/capture")
    assert sum(not query["sql"].startswith(("SAVEPOINT", "RELEASE")) for query in queries) == 1
    assert captured[0] == 200
    assert (captured[1]["creditsCharged"], captured[1]["creditsReleased"], captured[1]["balance"]) == (7, 0, 986)
    assert internal.post(f"/internal/billing/holds/{holds[1]}/capture") == captured  # a replay, by the long way
    assert reconcile().ok


def rows_of(internal: Any, given: Any) -> list[dict[str, Any]]:
    """The rows that a charge, a batch of two, a hold and its capture leave, without ids and times."""
    before = {model: set(model.objects.values_list("id", flat=True)) for model in (Charge, Hold, LedgerEntry)}
    assert internal.post("/internal/billing/charge", given, key="one")[0] == 200
    batch = {"charges": [given | {"idempotencyKey": f"b{n}"} for n in range(2)]}
    results = internal.post("/internal/billing/charges/batch", batch)[1]["results"]
    assert [result["status"] for result in results] == [200, 200]
    hold = internal.post("/internal/billing/holds", given, key="two")[1]
    assert internal.post(f"/internal/billing/holds/{hold['holdId']}/capture")[0] == 200
    rows: list[dict[str, Any]] = []
    names = {"id", "hash", "account_id", "charge_id", "hold_id", "created_at", "expires_at", "ended_at"}
    for model, old in before.items():
        for row in model.objects.exclude(id__in=old).order_by("id").values():
            rows.append({name: value for name, value in row.items() if name not in names})
    return sorted(rows, key=repr)


@postgresql_only
def test_it_writes_what_the_long_way_writes(internal: Any, acme: Any, birch: Any, flash: AIModel) -> None:
    give(birch, 1000)
    Budget.objects.create(tenant=birch, period="day", limit_credits=100_000)  # budgets are asked the long way
    further = {"operation": "image", "quantity": 2, "resolution": "2K", "metadata": {"order": "é"}}
    quick, slow = (rows_of(internal, body(tenant) | further) for tenant in (acme, birch))
    assert quick == slow
    assert reconcile().ok


def test_a_change_of_the_catalog_holds_for_the_next_charge(internal: Any, acme: Any, flash: AIModel) -> None:
    assert internal.post("/internal/billing/charge", body(acme))[1]["creditsCharged"] == 7
    rule = BillingRule.objects.get(model=flash)
    rule.base_credits = 9
    rule.save()
    assert internal.post("/internal/billing/charge", body(acme))[1]["creditsCharged"] == 9
    flash.is_active = False
    flash.save()
    assert internal.post("/internal/billing/charge", body(acme))[1]["code"] == "model_disabled"


def test_a_model_ends_on_its_day_though_its_price_is_kept(internal: Any, acme: Any, flash: AIModel) -> None:
    flash.retires_at = datetime.now(UTC).date() + timedelta(days=3)
    flash.save()
    assert internal.post("/internal/billing/charge", body(acme))[0] == 200
    use = UsageRequest(model="flash")
    assert offer_of(kept_catalog(), use) is not None
    with time_machine.travel(datetime.now(UTC) + timedelta(days=5)):
        assert offer_of(kept_catalog(), use) is None  # the long way says why
    assert offer_of(kept_catalog(), use) is not None


def test_a_permission_made_after_the_first_charge_counts(internal: Any, alice: Any, flash: AIModel) -> None:
    assert internal.post("/internal/billing/charge", body(alice))[0] == 200
    permit("USER", flash, daily_limit=1)
    assert [internal.post("/internal/billing/charge", body(alice))[0] for _ in range(2)] == [200, 429]


def test_a_membership_that_has_run_out_pays_as_user(internal: Any, vera: Any, flash: AIModel) -> None:
    permit("USER", flash, is_allowed=False)
    assert internal.post("/internal/billing/charge", body(vera))[0] == 200
    vera.membership_expires_at = datetime.now(UTC) - timedelta(seconds=1)
    vera.save()
    assert internal.post("/internal/billing/charge", body(vera))[1]["code"] == "permission_denied"


def test_another_tenants_key_is_refused(internal: Any, acme: Any, birch: Any, flash: AIModel) -> None:
    key, _plaintext = create_api_key(tenant=birch, name="shop", actor="test")
    given = body(acme) | {"apiKeyId": str(key.id)}
    status, answer = internal.post("/internal/billing/charge", given)
    assert (status, list(answer["details"]["fields"])) == (400, ["apiKeyId"])
    results = internal.post("/internal/billing/charges/batch", {"charges": [body(acme), given]})[1]["results"]
    assert [result["status"] for result in results] == [200, 400]
    assert Account.objects.get(tenant=acme, mode="live").balance == 993


def test_a_test_key_charges_the_test_account(internal: Any, acme: Any, flash: AIModel) -> None:
    key, _plaintext = create_api_key(tenant=acme, mode="test", name="try", actor="test")
    given = body(acme) | {"apiKeyId": str(key.id)}
    assert internal.post("/internal/billing/charge", given)[0] == 200
    assert internal.post("/internal/billing/charges/batch", {"charges": [given, given]})[1]["results"][1]["status"] == 200
    balances = dict(Account.objects.filter(tenant=acme).values_list("mode", "balance"))
    assert balances == {"live": 1000, "test": 1_000_000 - 21}


@postgresql_only
def test_the_hash_is_one_in_sql_and_in_python(db: None) -> None:
    chance = random.Random(7)
    before, entries = "", []
    for seq in range(1, 30):
        entries.append(
            {
                "account_id": 41,
                "seq": seq,
                "kind": chance.choice(["CONSUME", "REFUND"]),
                "amount": chance.randrange(-(2**53), 2**53),
                "balance": chance.randrange(2**62),
                "charge_id": chance.choice([None, uuid4()]),
                "created_at": datetime(2026, 11, 29, 12, 0, 0, chance.randrange(1_000_000), UTC),
                "actor": chance.choice(["gateway", "user:é"]),
                "description": chance.choice(["", "image", "图像 \x1e"]),
            }
        )
    types = "bigint, %s::bigint, %s::text, %s::bigint, %s::bigint, %s::uuid, %s::timestamptz, %s::text, %s::text"
    rows = []
    with connection.cursor() as cursor:
        for entry in entries:
            values = [str(value) if name == "charge_id" and value else value for name, value in entry.items()]
            cursor.execute(f"SELECT billing_entry_hash(%s, %s::{types})", [before, *values])
            before = entry_hash(before=before, **entry)
            assert cursor.fetchone() == (before,)
            rows.append(values)
        given = ", ".join([f"(%s::{types})"] * len(rows))
        cursor.execute(
            "SELECT billing_entry_chain('', a, s, k, m, b, c, t, w, d) OVER (ORDER BY s) "
            f"FROM (VALUES {given}) AS v(a, s, k, m, b, c, t, w, d) ORDER BY s DESC LIMIT 1",
            [value for row in rows for value in row],
        )
        assert cursor.fetchone() == (before,)
