"""Holds past their time that somebody ends while others wait for the account: each answer has the balance there is then."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
from django.db import connection

from aiservices.generations.settlement import one_statement
from billing import services
from billing.catalog.usage import UsageRequest
from billing.ledger import fast_path_sql
from billing.ledger.models import LedgerEntry
from billing.reconciliation.checks import reconcile
from tenants.principal import Principal
from tests.books import account_of, balance_and_held
from tests.catalog import priced_model
from tests.live import connect
from tests.races.calls import waiting_for_locks
from tests.waiting import eventually
from waule.core.db.connection_pool import release_connection
from waule.core.db.prepared import Prepared

pytestmark = pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite writes one transaction at a time")
USE: dict[str, Any] = {"use": UsageRequest(model="flash"), "actor": "test"}


def released(call: Callable[[], Any]) -> Any:
    try:
        return call()
    finally:
        release_connection()


@pytest.fixture
def while_it_is_tidied(cloned_db: Any, acme: Any) -> Iterator[Callable[[Callable[[Any], Any]], Any]]:
    """Runs a call that waits for Acme's account behind one that ends one of three holds, past its time. The call gets another."""
    priced_model("flash", base=1)
    target = Principal("tenant", str(acme.id))
    with ThreadPoolExecutor(2) as pool:

        def run(call: Callable[[Any], Any]) -> Any:
            past, still_open, _other = [services.hold(target=target, **USE).hold for _ in range(3)]
            account = account_of(acme)
            with connection.cursor() as cursor:
                cursor.execute("UPDATE billing_hold SET expires_at = '2020-01-01' WHERE id = %s", [past.id])
            with closing(connect(connection.settings_dict["NAME"])) as holder:
                holder.cursor().execute("SELECT 1 FROM billing_account WHERE id = %s FOR UPDATE", [account.id])
                tidied = pool.submit(released, services.expire_holds)
                eventually(lambda: waiting_for_locks() == 1)
                called = pool.submit(released, lambda: call(still_open))
                eventually(lambda: waiting_for_locks() == 2)
                holder.rollback()
            assert tidied.result() == 1
            return called.result()

        yield run


@pytest.mark.parametrize(
    ("verb", "left", "spent"),
    [
        ("charge", 997, 1),
        ("hold", 997, 0),
        ("capture", 998, 1),
        ("batch", 997, 1),
    ],
)
def test_the_balance_is_what_is_left_then(acme: Any, while_it_is_tidied: Any, verb: str, left: int, spent: int) -> None:
    """Of a thousand, two are held besides."""
    target = Principal("tenant", str(acme.id))

    def call(still_open: Any) -> int:
        if verb == "capture":
            return services.capture(hold_id=str(still_open.id), actor="test").balance
        if verb == "batch":
            return services.charge_many(items=[services.BatchItem(target, USE["use"])], actor="test")[0].balance
        return getattr(services, verb)(target=target, **USE).balance

    assert while_it_is_tidied(call) == left
    assert list(LedgerEntry.objects.filter(kind="CONSUME").values_list("spendable", flat=True)) == [left] * spent
    balance, held = balance_and_held(acme)
    assert (balance, balance - held) == (1000 - spent, left)
    assert reconcile().ok


def test_no_statement_that_waits_for_an_account_reads_its_holds_as_they_were() -> None:
    """Each that says what is left asks the function, which looks when the account is locked."""
    kept = (value for value in vars(fast_path_sql).values() if isinstance(value, dict))
    statements = {one for each in (*kept, one_statement._BEGIN) for one in each.values() if isinstance(one, Prepared)}
    assert len(statements) == 18  # charge and hold for two owners, capture, three of many, each waiting or not; images begin
    for one in (*statements, one_statement._END):
        assert "billing_due_credits(" in one.sql
        assert "sum(h.credits)" not in one.sql
