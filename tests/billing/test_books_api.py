"""Grants, balances, entries, estimates and batches."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext

from billing import services
from billing.catalog.models import AIModel
from billing.ledger.models import MAX_CREDITS, Account, Kind, LedgerEntry
from billing.reconciliation.checks import reconcile
from tenants.principal import Principal
from tests.books import body, books_of
from tests.catalog import permit, priced_model
from waule.core.errors import InvalidRequest


def target(owner: Any) -> dict[str, str]:
    return {name: value for name, value in body(owner).items() if name.startswith("target")}


def grant(internal: Any, owner: Any, credits: Any, key: str | None, kind: str = "GIFT") -> tuple[int, Any]:
    given = target(owner) | {"credits": credits, "type": kind, "reason": "welcome"}
    return internal.post("/internal/billing/grant", given, key=key)


def test_a_grant_adds_and_replays(internal: Any, birch: Any) -> None:
    first = grant(internal, birch, 50, "g1", "RECHARGE")
    entry = LedgerEntry.objects.get(account__tenant=birch, account__mode="live")
    assert first == (200, {"success": True, "entryId": str(entry.id), "balance": 50})
    assert (entry.kind, entry.amount, entry.seq, entry.description) == ("RECHARGE", 50, 1, "welcome")
    assert grant(internal, birch, 50, "g1", "RECHARGE") == first
    assert grant(internal, birch, 51, "g1", "RECHARGE")[1]["code"] == "idempotency_key_reused"
    assert grant(internal, birch, 50, None)[0] == 400


@pytest.mark.parametrize("credits", [0, -5, 1.5, "5", True, 2**53, 2**70, None])
def test_bad_grants_give_nothing(internal: Any, birch: Any, credits: Any) -> None:
    assert grant(internal, birch, credits, "g")[0] == 400
    assert books_of(birch) == (0, 0, 0)


@pytest.mark.parametrize("kind", ["CONSUME", "REFUND", "EXPIRE", "gift", "", None, 1])
def test_only_grants_are_granted(internal: Any, birch: Any, kind: Any) -> None:
    assert grant(internal, birch, 5, "g", kind)[0] == 400


@pytest.mark.parametrize(("credits", "kind"), [(0, Kind.GIFT), (-1, Kind.GIFT), (MAX_CREDITS + 1, Kind.GIFT), (5, Kind.CONSUME)])
def test_the_verb_grants_no_such_amount_either(acme: Any, credits: int, kind: Kind) -> None:
    """Commands and the admin come to it past the serializer."""
    given: dict[str, Any] = {"kind": kind, "reason": "welcome", "actor": "test"}
    with pytest.raises(InvalidRequest):
        services.grant(target=Principal("tenant", str(acme.id)), credits=credits, **given)
    assert books_of(acme) == (1000, 1, 0)


def test_a_balance_can_be_asked_at_a_moment(internal: Any, acme: Any, flash: AIModel) -> None:
    internal.post("/internal/billing/charge", body(acme))
    entries = list(LedgerEntry.objects.filter(account__tenant=acme, account__mode="live").order_by("seq"))
    query = f"/internal/billing/balance?targetType=tenant&targetId={acme.id}"
    assert internal.get(query)[1] == {"balance": 993, "held": 0}
    for timestamp, expected in (
        (entries[0].created_at - timedelta(microseconds=1), 0),
        (entries[0].created_at, 1000),
        (entries[1].created_at, 993),
    ):
        text = timestamp.isoformat().replace("+", "%2B")
        assert internal.get(f"{query}&at={text}")[1]["balance"] == expected
    for bad in ("2026-11-22T08:00:00", "yesterday", "2026-13-01T00:00:00Z", ""):
        assert internal.get(f"{query}&at={bad}")[0] == 400, bad
    assert internal.get("/internal/billing/balance?targetType=user&targetId=x")[1]["code"] == "target_not_found"
    assert internal.get("/internal/billing/balance?targetType=user")[0] == 400
    assert internal.get(f"{query}%00")[0] == 400


def test_entries_page_by_key_and_stay_put(internal: Any, acme: Any, flash: AIModel) -> None:
    for _ in range(4):
        internal.post("/internal/billing/charge", body(acme))
    query = f"/internal/billing/entries?targetType=tenant&targetId={acme.id}&limit=2"
    first = internal.get(query)[1]
    assert [entry["seq"] for entry in first["entries"]] == [5, 4]
    assert set(first["entries"][0]) == {"id", "seq", "type", "amount", "balance", "chargeId", "description", "createdAt"}
    internal.post("/internal/billing/charge", body(acme))
    second = internal.get(f"{query}&cursor={first['nextCursor']}")[1]
    assert [entry["seq"] for entry in second["entries"]] == [3, 2]
    last = internal.get(f"{query}&cursor={second['nextCursor']}")[1]
    assert ([entry["seq"] for entry in last["entries"]], last["nextCursor"]) == ([1], None)
    timestamp = last["entries"][0]["createdAt"]
    since = internal.get(f"/internal/billing/entries?targetType=tenant&targetId={acme.id}&from={timestamp}")[1]
    until = internal.get(f"/internal/billing/entries?targetType=tenant&targetId={acme.id}&to={timestamp}")[1]
    assert (len(since["entries"]), len(until["entries"])) == (6, 0)
    for bad in ("cursor=x", "cursor=-1", "limit=0", "limit=501", "limit=1_0", "limit=２", "from=now", "limit=1&limit=2"):
        base = query.replace("&limit=2", "")
        assert internal.get(f"{base}&{bad}")[0] == 400, bad


def test_an_estimate_says_what_the_charge_takes(internal: Any, acme: Any, vera: Any, flash: AIModel) -> None:
    url = "/internal/billing/estimate"
    status, answer = internal.post(url, body(acme, quantity=3))
    assert status == 200
    assert (answer["credits"], answer["allowed"], answer["isFreeUsage"]) == (7, True, False)
    assert answer["ruleId"] == str(flash.billing_rules.get().id)
    assert answer["explanation"]
    assert internal.post(url, {"modelId": "flash"})[1]["credits"] == 7
    permit("VIP", flash, is_free_for_member=True, free_daily_limit=1)
    assert internal.post(url, body(vera))[1] == internal.post(url, body(vera))[1]
    assert internal.post(url, body(vera))[1]["isFreeUsage"] is True
    assert internal.post("/internal/billing/charge", body(vera))[1]["isFreeUsage"] is True
    assert internal.post(url, body(vera))[1]["credits"] == 7


def test_an_estimate_tells_refusals_as_data(internal: Any, birch: Any, flash: AIModel) -> None:
    url = "/internal/billing/estimate"
    status, answer = internal.post(url, body(birch))
    assert (status, answer["allowed"], answer["code"], answer["credits"]) == (200, False, "insufficient_credits", 7)
    flash.is_active = False
    flash.save()
    assert internal.post(url, body(birch))[1]["code"] == "model_disabled"
    assert internal.post(url, body(birch, "unheard-of"))[0] == 404
    assert internal.post(url, body(birch) | {"targetId": "x"})[0] == 404
    assert internal.post(url, body(birch, quantity="x"))[0] == 400
    assert internal.post(url, {"modelId": "flash", "targetType": "user"})[0] == 400
    priced_model("seconds", base=1, billing_type="PER_DURATION")
    assert internal.post(url, body(birch, "seconds"))[1]["code"] == "missing_dimension"


def test_a_batch_charges_each_item_on_its_own(internal: Any, acme: Any, birch: Any, alice: Any, flash: AIModel) -> None:
    items = [
        body(acme) | {"idempotencyKey": "a"},
        body(birch),
        body(acme) | {"idempotencyKey": "a"},
        body(acme, quantity=9) | {"idempotencyKey": "a"},
        body(alice),
        body(acme, quantity=0),
        body(acme) | {"idempotencyKey": " a"},
        body(acme) | {"targetId": "nobody"},
        "nonsense",
        body(acme),
    ]
    status, answer = internal.post("/internal/billing/charges/batch", {"charges": items})
    assert status == 200
    results = answer["results"]
    assert [result["status"] for result in results] == [200, 402, 200, 422, 200, 400, 400, 404, 400, 200]
    assert results[0]["chargeId"] == results[2]["chargeId"]
    assert (results[1]["code"], results[1]["creditsCharged"]) == ("insufficient_credits", 0)
    assert books_of(acme) == (986, 3, 2)
    assert books_of(alice) == (993, 2, 1)
    again = internal.post("/internal/billing/charges/batch", {"charges": items[:1]})[1]["results"][0]
    assert again["chargeId"] == results[0]["chargeId"]
    single = internal.post("/internal/billing/charge", body(acme), key="a")
    assert single[1]["chargeId"] == results[0]["chargeId"], "one key, whichever call it came by"
    assert reconcile().ok


@pytest.mark.parametrize("charges", [[], {}, None, "x", [{}] * 1001])
def test_a_wrong_list_is_the_calls_400(internal: Any, db: None, charges: Any) -> None:
    assert internal.post("/internal/billing/charges/batch", {"charges": charges})[0] == 400


def test_a_batch_needs_few_statements(internal: Any, acme: Any, flash: AIModel) -> None:
    def statements(count: int) -> int:
        with CaptureQueriesContext(connection) as queries:
            internal.post("/internal/billing/charges/batch", {"charges": [body(acme)] * count})
        return len(queries)

    statements(1)
    assert statements(100) <= statements(2) + 4  # SQLite splits long inserts
    assert books_of(acme) == (1000 - 7 * 103, 104, 103)


def test_an_entry_cannot_be_changed_or_deleted(acme: Any) -> None:
    entry = LedgerEntry.objects.filter(account__tenant=acme, account__mode="live").get()
    for refused in (entry.save, entry.delete, LedgerEntry.objects.all().delete):
        with pytest.raises(TypeError):
            refused()
    statements = [
        f"UPDATE billing_ledgerentry SET amount = 5 WHERE id = {entry.id}",
        f"DELETE FROM billing_ledgerentry WHERE id = {entry.id}",
        "UPDATE billing_account SET balance = -1",
        "UPDATE billing_account SET held = balance + 1",
    ]
    if connection.vendor == "postgresql":
        statements.append("TRUNCATE billing_ledgerentry CASCADE")
    else:
        statements += [
            "INSERT OR REPLACE INTO billing_ledgerentry SELECT * FROM billing_ledgerentry",
            "UPDATE billing_account SET balance = 'abc'",
            "UPDATE billing_account SET balance = 9223372036854775807 + 1",
        ]
    for statement in statements:
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
    assert reconcile().ok


def test_reconcile_names_what_was_changed_behind_the_triggers(acme: Any, internal: Any, flash: AIModel) -> None:
    for _ in range(3):
        internal.post("/internal/billing/charge", body(acme))
    account = Account.objects.get(tenant=acme, mode="live")
    name = f"tenant:{acme.id}"

    said: list[str] = []

    def tamper(statement: str) -> list[tuple[str, int | None]]:
        with transaction.atomic(), connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("SET LOCAL session_replication_role = replica")
            else:
                for trigger in ("no_update", "no_delete", "integers_update"):
                    cursor.execute(f"DROP TRIGGER billing_ledgerentry_{trigger}")
            cursor.execute(statement)
            if connection.vendor == "postgresql":
                cursor.execute("SET LOCAL session_replication_role = origin")
            problems = reconcile().problems
            said.append(" ".join(problem.what for problem in problems))
            transaction.set_rollback(True)
        return [(problem.account, problem.seq) for problem in problems]

    where = f"WHERE account_id = {account.id} AND seq"
    assert (name, 2) in tamper(f"UPDATE billing_ledgerentry SET description = 'other' {where} = 2")
    assert (name, 3) in tamper(f"UPDATE billing_ledgerentry SET amount = -6 {where} = 3")
    assert (name, 3) in tamper(f"DELETE FROM billing_ledgerentry {where} = 2")
    assert "entry 2 is missing" in said[-1]
    tamper(f"UPDATE billing_ledgerentry SET balance = balance + 1 {where} = 3")
    assert "does not follow from" in said[-1]
    assert (name, 4) in tamper(f"DELETE FROM billing_ledgerentry {where} = 4")
    assert any(found[0] == name for found in tamper(f"UPDATE billing_account SET balance = 5 WHERE id = {account.id}"))
    assert any(found[0] == name for found in tamper(f"UPDATE billing_account SET held = 5 WHERE id = {account.id}"))
    assert any(found[0] == name for found in tamper("UPDATE billing_charge SET refunded = 1"))
    assert reconcile().ok
