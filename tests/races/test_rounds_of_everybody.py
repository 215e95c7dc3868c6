"""One round for charges of many accounts: none of them spoils another's, and a locked account delays no other.

A lock on the table of charges holds the first round up, so that what is asked for meanwhile is in one round.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import psycopg2
import pytest
from django.db import InternalError, connection

from billing import services
from billing.catalog.usage import UsageRequest
from billing.ledger.models import Charge
from billing.reconciliation.checks import reconcile
from billing.services.gathering import EVERYBODY, gathering
from tenants.models import Tenant
from tenants.principal import Principal
from tests.books import account_of, give
from tests.catalog import priced_model
from tests.waiting import eventually
from waule.core.db.connection_pool import release_connection
from waule.core.errors import WauleError

pytestmark = pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite writes one transaction at a time")
TABLE = "LOCK TABLE billing_charge IN SHARE MODE"


def charge(owner: Any, key: str | None = None) -> int | str:
    kind = "tenant" if isinstance(owner, Tenant) else "user"
    try:
        use = UsageRequest(model="flash")
        return services.charge(target=Principal(kind, str(owner.id)), use=use, actor="test", idempotency_key=key).balance
    except WauleError as error:
        return error.code
    finally:
        release_connection()


class Locks:
    """Locks that somebody else has, each until it is given back."""

    def __init__(self, kept: ExitStack) -> None:
        self.kept = kept

    def __call__(self, statement: str, *parameters: Any) -> Callable[[], None]:
        """Run a statement that locks; return what gives the lock back."""
        settings = connection.settings_dict
        holder = psycopg2.connect(dbname=settings["NAME"], user=settings["USER"], host=settings["HOST"], port=settings["PORT"])
        self.kept.callback(holder.close)
        holder.cursor().execute(statement, parameters)
        return holder.rollback

    def account(self, owner: Any) -> Callable[[], None]:
        return self("SELECT 1 FROM billing_account WHERE id = %s FOR UPDATE", account_of(owner).id)


@pytest.fixture
def lock() -> Iterator[Locks]:
    with ExitStack() as kept:
        yield Locks(kept)


@pytest.fixture
def owners(cloned_db: Any) -> list[Tenant]:
    priced_model("flash", base=1)
    made = [Tenant.objects.create(name=f"Tenant {number}", enabled_models=["*"]) for number in range(6)]
    for tenant in made:
        give(tenant, 10)
    return made


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(20) as pool:
        yield pool


def gathered(threads: ThreadPoolExecutor, *calls: tuple[Any, ...]) -> list[Future[Any]]:
    """Ask for these charges, in this order, each when the one before waits. The first leads; the others are the next round."""
    asked = []
    for number, call in enumerate(calls):
        asked.append(threads.submit(charge, *call))
        eventually(lambda number=number: len(gathering._waiting.get(EVERYBODY, "-" * 9)) == number)
    return asked


def transactions() -> int:
    """By how many transactions the charges were written."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(DISTINCT xmin::text) FROM billing_charge")
        return int(cursor.fetchone()[0])


def test_one_statement_writes_those_of_many_accounts(owners: Any, alice: Any, lock: Locks, threads: Any) -> None:
    unlock = lock(TABLE)
    asked = gathered(threads, *[(owner,) for owner in owners], (alice,), (owners[1],))
    unlock()
    assert [one.result() for one in asked] == [9, 9, 9, 9, 9, 9, 999, 8]
    assert transactions() == 2
    assert reconcile().ok


def test_a_locked_account_is_left_out_and_made_when_it_is_free(owners: Any, lock: Locks, threads: Any) -> None:
    unlock_table, unlock_account = lock(TABLE), lock.account(owners[2])
    asked = gathered(threads, *[(owner,) for owner in owners])
    unlock_table()
    assert [one.result() for number, one in enumerate(asked) if number != 2] == [9] * 5
    assert [charge(owner) for owner in owners if owner is not owners[2]] == [8] * 5  # while the other still waits
    assert not asked[2].done()
    unlock_account()
    assert asked[2].result() == 9
    assert reconcile().ok


def test_an_account_that_is_locked_when_it_comes_alone_delays_no_other(owners: Any, lock: Locks, threads: Any) -> None:
    unlock = lock.account(owners[0])
    waits = threads.submit(charge, owners[0])
    eventually(lambda: str(owners[0].id) in gathering._waiting)
    assert [charge(owner) for owner in owners[1:]] == [9] * 5
    assert not waits.done()
    unlock()
    assert waits.result() == 9


def test_a_replay_and_a_rejection_stop_no_other(owners: Any, lock: Locks, threads: Any) -> None:
    assert charge(owners[1], "order 1") == 9
    poor = Tenant.objects.create(name="Poor", enabled_models=["*"])
    unlock = lock(TABLE)
    asked = gathered(threads, (owners[0],), (owners[1], "order 1"), (owners[2],), (poor,), (owners[3],))
    unlock()
    assert [one.result() for one in asked] == [9, 9, 9, "insufficient_credits", 9]
    assert reconcile().ok


def test_a_key_that_comes_twice_in_a_round_is_charged_once(owners: Any, lock: Locks, threads: Any) -> None:
    unlock = lock(TABLE)
    asked = gathered(threads, (owners[0],), (owners[1], "one"), (owners[2],), (owners[1], "one"), (owners[2], "one"))
    unlock()
    assert [one.result() for one in asked[:2]] == [9, 9]
    assert asked[3].result() == 9
    assert {asked[2].result(), asked[4].result()} == {9, 8}
    assert Charge.objects.filter(idempotency_key="one").count() == 2
    assert reconcile().ok


def test_an_account_that_can_pay_for_some_pays_for_those(owners: Any, lock: Locks, threads: Any) -> None:
    for _number in range(8):
        charge(owners[1])
    unlock = lock(TABLE)
    asked = gathered(threads, (owners[0],), *[(owners[1],)] * 4, (owners[2],))
    unlock()
    answers = [one.result() for one in asked]
    assert (answers[0], answers[5]) == (9, 9)
    assert sorted(answers[1:5], key=str) == [0, 1, "insufficient_credits", "insufficient_credits"]
    assert reconcile().ok


def test_what_the_database_refuses_of_one_stops_no_other(owners: Any, lock: Locks, threads: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'broken'; END $$")
        cursor.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON billing_charge FOR EACH ROW"
            " WHEN (NEW.idempotency_key = 'bad') EXECUTE FUNCTION refuse()"
        )
    unlock = lock(TABLE)
    asked = gathered(threads, *[(owner,) for owner in owners[:4]], (owners[4], "bad"), (owners[5],))
    unlock()
    assert [one.result() for number, one in enumerate(asked) if number != 4] == [9] * 5
    with pytest.raises(InternalError, match="broken"):
        asked[4].result()
    assert Charge.objects.count() == 5
    assert reconcile().ok


def test_a_test_account_and_a_live_one_are_two(owners: Any, lock: Locks, threads: Any) -> None:
    give(owners[0], 5, mode="test")

    def in_test_mode() -> int:
        try:
            target = Principal("tenant", str(owners[0].id), mode="test")
            return services.charge(target=target, use=UsageRequest(model="flash"), actor="test").balance
        finally:
            release_connection()

    unlock = lock(TABLE)
    asked = gathered(threads, (owners[1],), (owners[0],), (owners[2],))
    in_test = threads.submit(in_test_mode)
    eventually(lambda: len(gathering._waiting[EVERYBODY]) == 3)
    unlock()
    assert [one.result() for one in asked] == [9, 9, 9]
    assert in_test.result() == 1_000_004  # a test account begins with a million
    assert reconcile().ok
