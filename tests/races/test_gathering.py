"""Charges of one process that are written together: each is answered as if it had been alone."""

import functools
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import InternalError, connection

from billing import services
from billing.catalog.usage import UsageRequest
from billing.ledger.models import Account, Charge, LedgerEntry
from billing.reconciliation.checks import reconcile
from billing.services.gathering import MOST_TOGETHER, charges
from tenants.principal import Principal
from tests.at_once import together
from tests.catalog import priced_model
from tests.live import connect
from tests.waiting import eventually
from waule.core.db.connection_pool import release_connection
from waule.core.errors import WauleError

CALLERS = 30  # each with a connection of its own, and a server may have a hundred for all that is tested


def charge(owner: Any, kind: str = "tenant", key: str | None = None, model: str = "flash") -> int | str:
    """What is left, or the code of the rejection. For threads: it leaves no connection behind."""
    try:
        use = UsageRequest(model=model)
        return services.charge(target=Principal(kind, str(owner.id)), use=use, actor="test", idempotency_key=key).balance
    except WauleError as error:
        return error.code
    finally:
        release_connection()


@pytest.mark.parametrize("kind", ["tenant", "user"])
def test_the_last_credits_are_spent_once(cloned_db: Any, acme: Any, alice: Any, kind: str) -> None:
    priced_model("flash", base=37)
    owner = acme if kind == "tenant" else alice
    answers = together([lambda: charge(owner, kind)] * CALLERS)
    left = sorted(answer for answer in answers if isinstance(answer, int))
    assert left == list(range(1, 1000, 37))
    assert Counter(answer for answer in answers if isinstance(answer, str)) == {"insufficient_credits": CALLERS - 27}
    assert reconcile().ok


def test_each_gets_its_own_answer(cloned_db: Any, acme: Any, alice: Any) -> None:
    """Replays, rejections and charges of two accounts, all at once."""
    priced_model("flash", base=1)
    calls = [
        *[lambda: charge(acme, key="one")] * 10,
        *[lambda: charge(acme)] * 10,
        *[lambda: charge(acme, model="unknown")] * 5,
        *[lambda: charge(alice, "user")] * 10,
    ]
    answers = together(calls)
    assert len(set(answers[:10])) == 1
    assert len({*answers[:10], *answers[10:20]}) == 11
    assert set(answers[20:25]) == {"model_not_found"}
    assert sorted(answers[25:]) == list(range(990, 1000))
    assert Charge.objects.count() == 21
    assert reconcile().ok


def test_each_of_a_few_gets_its_own_answer(cloned_db: Any, acme: Any) -> None:
    priced_model("flash", base=1)
    for turn in range(10):
        left = Account.objects.get(tenant=acme, mode="live").balance
        keyed = functools.partial(charge, acme, key=f"key {turn}")
        answers = together([keyed, keyed, lambda: charge(acme), lambda: charge(acme, model="x")])
        assert answers[3] == "model_not_found"
        assert answers[0] == answers[1]
        assert {answers[0], answers[2]} == {left - 1, left - 2}
    assert Charge.objects.count() == 20
    assert reconcile().ok


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite locks the whole database")
def test_a_locked_account_delays_no_other(cloned_db: Any, acme: Any, alice: Any) -> None:
    """More charges queue for it than one round takes, and all are made when the lock is gone."""
    priced_model("flash", base=1)
    waiting = MOST_TOGETHER + 20
    holder = connect(connection.settings_dict["NAME"])
    with holder.cursor() as cursor:
        cursor.execute("SELECT 1 FROM billing_account WHERE tenant_id = %s AND mode = 'live' FOR UPDATE", [str(acme.id)])
    with ThreadPoolExecutor(waiting) as pool:
        slow = [pool.submit(charge, acme) for _ in range(waiting)]
        assert [charge(alice, "user") for _ in range(5)] == [999, 998, 997, 996, 995]
        assert not any(one.done() for one in slow)
        holder.rollback()
        holder.close()
        assert sorted(one.result() for one in slow) == list(range(1000 - waiting, 1000))
    assert LedgerEntry.objects.filter(account=Account.objects.get(tenant=acme, mode="live"), kind="CONSUME").count() == waiting
    assert reconcile().ok


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite locks the whole database")
def test_what_the_database_refuses_of_one_stops_no_other_of_its_account(cloned_db: Any, acme: Any) -> None:
    priced_model("flash", base=1)
    with connection.cursor() as cursor:
        cursor.execute("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'broken'; END $$")
        cursor.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON billing_charge FOR EACH ROW"
            " WHEN (NEW.idempotency_key = 'second') EXECUTE FUNCTION refuse()"
        )
    holder = connect(connection.settings_dict["NAME"])
    with holder.cursor() as cursor:
        cursor.execute("SELECT 1 FROM billing_account WHERE tenant_id = %s AND mode = 'live' FOR UPDATE", [str(acme.id)])
    with ThreadPoolExecutor(4) as pool:
        asked = []
        for number, key in enumerate(["leads", "first", "second", "third"]):
            asked.append(pool.submit(charge, acme, key=key))
            eventually(lambda number=number: len(charges._waiting.get(str(acme.id), "-" * 9)) == number)
        holder.rollback()
        holder.close()
        assert asked[0].result() == 999
        assert {asked[1].result(), asked[3].result()} == {998, 997}
        with pytest.raises(InternalError, match="broken"):
            asked[2].result()
    assert set(Charge.objects.values_list("idempotency_key", flat=True)) == {"leads", "first", "third"}
    assert reconcile().ok
