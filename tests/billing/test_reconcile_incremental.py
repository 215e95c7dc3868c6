"""Reconciling on from the last proven entry: what it sees, what only a full run sees, and where it goes on."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction

from billing.catalog.models import AIModel
from billing.ledger.models import Account, ProvenEntry
from billing.reconciliation.checks import reconcile
from billing.reconciliation.incremental import reconcile_new
from tests.books import body

CHARGE = "/internal/billing/charge"


@pytest.fixture
def account(acme: Any, internal: Any, flash: AIModel) -> Account:
    for _number in range(3):
        internal.post(CHARGE, body(acme))
    return Account.objects.get(tenant=acme, mode="live")


@pytest.fixture
def tampered() -> Callable[[str, Callable[[], Any]], str]:
    """What `look` says of the ledger after a statement that no trigger stops; the statement is taken back."""

    def tamper(statement: str, look: Callable[[], Any]) -> str:
        with transaction.atomic(), connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("SET LOCAL session_replication_role = replica")
            else:
                for table in ("ledgerentry", "charge", "refund"):
                    for trigger in ("no_update", "no_delete", "integers_update"):
                        cursor.execute(f"DROP TRIGGER IF EXISTS billing_{table}_{trigger}")
            cursor.execute(statement)
            if connection.vendor == "postgresql":
                cursor.execute("SET LOCAL session_replication_role = origin")
            said = " ".join(problem.what for problem in look().problems)
            transaction.set_rollback(True)
        return said

    return tamper


def test_it_goes_on_where_it_was(account: Account, acme: Any, internal: Any) -> None:
    first = reconcile_new()
    assert (first.ok, first.is_full, first.as_json()["incremental"]) == (True, False, True)
    assert first.entries >= 4
    account.refresh_from_db()
    proven = ProvenEntry.objects.get(account=account)
    assert (proven.seq, proven.balance, proven.hash) == (account.last_seq, account.balance, account.last_hash)
    assert reconcile_new().entries == 0
    answer = internal.post(CHARGE, body(acme))[1]
    internal.post("/internal/billing/refund", {"chargeId": answer["chargeId"], "reason": "x"})
    assert (reconcile_new().entries, reconcile_new().entries) == (2, 0)
    assert "incremental" not in reconcile().as_json()


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE billing_ledgerentry SET description = 'other' WHERE account_id = {id} AND seq = {last}", "was changed"),
        ("UPDATE billing_ledgerentry SET balance = balance + 1 WHERE account_id = {id} AND seq = {last}", "does not follow"),
        ("DELETE FROM billing_ledgerentry WHERE account_id = {id} AND seq = {last}", "is missing"),
        ("UPDATE billing_ledgerentry SET hash = 'x' WHERE account_id = {id} AND seq = {proven}", "when it was proven"),
        ("DELETE FROM billing_ledgerentry WHERE account_id = {id} AND seq = {proven}", "is missing"),
        ("UPDATE billing_account SET balance = 5 WHERE id = {id}", "but the entries make"),
        ("UPDATE billing_account SET held = 5 WHERE id = {id}", "are held"),
        ("UPDATE billing_charge SET credits = credits + 1 WHERE account_id = {id}", "but its charge says"),
        ("UPDATE billing_charge SET refunded = refunded - 1 WHERE account_id = {id} AND refunded > 0", "refunded, its refunds"),
        ("UPDATE billing_ledgerentry SET charge_id = NULL WHERE account_id = {id} AND seq = {second}", "but has no entry"),
    ],
)
def test_what_is_new_is_looked_at(account: Account, acme: Any, internal: Any, tampered: Any, statement: str, said: str) -> None:
    reconcile_new()
    proven = ProvenEntry.objects.get(account=account).seq
    for _number in range(2):
        charged = internal.post(CHARGE, body(acme))[1]
    internal.post("/internal/billing/refund", {"chargeId": charged["chargeId"], "reason": "x"})
    places = {"id": account.id, "proven": proven, "second": proven + 2, "last": proven + 3}
    told = tampered(statement.format(**places), reconcile_new)
    assert said in told
    assert ProvenEntry.objects.get(account=account).seq == proven
    assert reconcile_new().ok


def test_what_lies_behind_is_left_to_the_full_run(account: Account, tampered: Any) -> None:
    reconcile_new()
    old = f"UPDATE billing_ledgerentry SET description = 'other' WHERE account_id = {account.id} AND seq = 2"
    assert tampered(old, reconcile_new) == ""
    assert "was changed" in tampered(old, reconcile)


def test_an_account_that_is_wrong_is_not_proven(account: Account, tampered: Any) -> None:
    def look() -> Any:
        report = reconcile_new()
        assert not ProvenEntry.objects.filter(account=account).exists()
        assert ProvenEntry.objects.exists()  # the others are
        return report

    assert tampered(f"UPDATE billing_account SET held = 5 WHERE id = {account.id}", look)
