"""One round for charges, holds or captures of many accounts: none spoils another's, and a locked account delays no other.

A lock on the table that is written holds the first round up, so that what is asked for meanwhile is in one round.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import InternalError, connection, transaction
from django.db.models import QuerySet

from billing import services
from billing.catalog.usage import UsageRequest
from billing.ledger.models import Charge, Hold, LedgerEntry
from billing.reconciliation.checks import reconcile
from billing.services import gathering
from billing.services.gathering import EVERYBODY, Gathering
from tenants.models import Tenant
from tenants.principal import Principal
from tests.books import account_of, give
from tests.catalog import priced_model
from tests.live import connect
from tests.races.calls import waiting_for_locks
from tests.waiting import eventually
from waule.core.db.connection_pool import release_connection
from waule.core.errors import WauleError

pytestmark = pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite writes one transaction at a time")
CHARGE = UsageRequest(model="flash")


@dataclass(frozen=True)
class Verb:
    name: str
    table: str
    gathering: Gathering[Any]

    @property
    def waiting(self) -> dict[str, Any]:
        return self.gathering._waiting

    def __call__(self, owner: Any, key: str | None = None, mode: str = "live") -> int | str:
        """What is left, or the code of the rejection; of a capture `owner` is a hold's id. It leaves no connection behind."""
        try:
            if self.name == "capture":
                return services.capture(hold_id=str(owner), actor="test").balance
            target = Principal("tenant" if isinstance(owner, Tenant) else "user", str(owner.id), mode=mode)
            return getattr(services, self.name)(target=target, use=CHARGE, actor="test", idempotency_key=key).balance
        except WauleError as error:
            return error.code
        finally:
            release_connection()

    def gathered(self, threads: ThreadPoolExecutor, *calls: tuple[Any, ...]) -> list[Future[Any]]:
        """Ask for these, in this order, each when the one before waits. The first leads; the others are the next round."""
        asked = []
        for number, call in enumerate(calls):
            asked.append(threads.submit(self, *call))
            eventually(lambda number=number: len(self.waiting.get(EVERYBODY, "-" * 9)) == number)
        return asked

    def rows(self) -> QuerySet[Any]:
        return (Hold if self is hold else Charge).objects.all()

    def transactions(self) -> int:
        """By how many transactions the rows were written."""
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT count(DISTINCT xmin::text) FROM {self.table}")
            return int(cursor.fetchone()[0])


charge = Verb("charge", "billing_charge", gathering.charges)
hold = Verb("hold", "billing_hold", gathering.holds)
capture = Verb("capture", "billing_charge", gathering.captures)
both = pytest.mark.parametrize("verb", [charge, hold], ids=["charge", "hold"])


class Locks:
    """Locks that somebody else has, each until it is given back."""

    def __init__(self, kept: ExitStack) -> None:
        self.kept = kept

    def __call__(self, statement: str, *parameters: Any) -> Callable[[], None]:
        """Run a statement that locks; return what gives the lock back."""
        holder = connect(connection.settings_dict["NAME"])
        self.kept.callback(holder.close)
        holder.cursor().execute(statement, parameters)
        return holder.rollback

    def table(self, verb: Verb) -> Callable[[], None]:
        return self(f"LOCK TABLE {verb.table} IN SHARE MODE")

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


@both
def test_one_statement_writes_those_of_many_accounts(owners: Any, verb: Verb, alice: Any, lock: Locks, threads: Any) -> None:
    unlock = lock.table(verb)
    asked = verb.gathered(threads, *[(owner,) for owner in owners], (alice,), (owners[1],))
    unlock()
    assert [one.result() for one in asked] == [9, 9, 9, 9, 9, 9, 999, 8]
    assert verb.transactions() == 2
    assert reconcile().ok


@both
def test_a_locked_account_is_left_out_and_made_when_it_is_free(owners: Any, verb: Verb, lock: Locks, threads: Any) -> None:
    unlock_table, unlock_account = lock.table(verb), lock.account(owners[2])
    asked = verb.gathered(threads, *[(owner,) for owner in owners])
    unlock_table()
    assert [one.result() for number, one in enumerate(asked) if number != 2] == [9] * 5
    assert [verb(owner) for owner in owners if owner is not owners[2]] == [8] * 5  # while the other still waits
    assert not asked[2].done()
    unlock_account()
    assert asked[2].result() == 9
    assert reconcile().ok


@both
def test_an_account_that_is_locked_when_it_comes_alone_delays_no_other(
    owners: Any, verb: Verb, lock: Locks, threads: Any
) -> None:
    unlock = lock.account(owners[0])
    waits = threads.submit(verb, owners[0])
    eventually(lambda: str(owners[0].id) in verb.waiting)
    assert [verb(owner) for owner in owners[1:]] == [9] * 5
    assert not waits.done()
    unlock()
    assert waits.result() == 9


@both
def test_a_replay_and_a_rejection_stop_no_other(owners: Any, verb: Verb, lock: Locks, threads: Any) -> None:
    assert verb(owners[1], "order 1") == 9
    poor = Tenant.objects.create(name="Poor", enabled_models=["*"])
    unlock = lock.table(verb)
    asked = verb.gathered(threads, (owners[0],), (owners[1], "order 1"), (owners[2],), (poor,), (owners[3],))
    unlock()
    assert [one.result() for one in asked] == [9, 9, 9, "insufficient_credits", 9]
    assert reconcile().ok


@both
def test_a_key_that_comes_twice_in_a_round_is_charged_once(owners: Any, verb: Verb, lock: Locks, threads: Any) -> None:
    unlock = lock.table(verb)
    asked = verb.gathered(threads, (owners[0],), (owners[1], "one"), (owners[2],), (owners[1], "one"), (owners[2], "one"))
    unlock()
    assert [one.result() for one in asked[:2]] == [9, 9]
    assert asked[3].result() == 9
    assert {asked[2].result(), asked[4].result()} == {9, 8}
    assert verb.rows().filter(idempotency_key="one").count() == 2
    assert reconcile().ok


@both
def test_an_account_that_can_pay_for_some_pays_for_those(owners: Any, verb: Verb, lock: Locks, threads: Any) -> None:
    for _number in range(8):
        verb(owners[1])
    unlock = lock.table(verb)
    asked = verb.gathered(threads, (owners[0],), *[(owners[1],)] * 4, (owners[2],))
    unlock()
    answers = [one.result() for one in asked]
    assert (answers[0], answers[5]) == (9, 9)
    assert sorted(answers[1:5], key=str) == [0, 1, "insufficient_credits", "insufficient_credits"]
    assert reconcile().ok


@both
def test_what_the_database_refuses_of_one_stops_no_other(owners: Any, verb: Verb, lock: Locks, threads: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'broken'; END $$")
        cursor.execute(
            f"CREATE TRIGGER refuse BEFORE INSERT ON {verb.table} FOR EACH ROW"
            " WHEN (NEW.idempotency_key = 'bad') EXECUTE FUNCTION refuse()"
        )
    unlock = lock.table(verb)
    asked = verb.gathered(threads, *[(owner,) for owner in owners[:4]], (owners[4], "bad"), (owners[5],))
    unlock()
    assert [one.result() for number, one in enumerate(asked) if number != 4] == [9] * 5
    with pytest.raises(InternalError, match="broken"):
        asked[4].result()
    assert verb.rows().count() == 5
    assert reconcile().ok


@both
def test_who_is_inside_of_a_transaction_writes_nobody_elses(owners: Any, verb: Verb, lock: Locks, threads: Any) -> None:
    """What it does may be taken back."""

    def taken_back() -> None:
        try:
            with transaction.atomic():
                target = Principal("tenant", str(owners[1].id))
                getattr(services, verb.name)(target=target, use=CHARGE, actor="test")
                transaction.set_rollback(True)
        finally:
            release_connection()

    unlock = lock.table(verb)
    (first,) = verb.gathered(threads, (owners[0],))
    eventually(lambda: waiting_for_locks() == 1)
    inside = threads.submit(taken_back)
    eventually(lambda: waiting_for_locks() == 2)
    last = threads.submit(verb, owners[2])
    eventually(lambda: len(verb.waiting[EVERYBODY]) == 1)
    unlock()
    inside.result()
    assert (first.result(), last.result()) == (9, 9)
    assert verb.rows().count() == 2
    assert reconcile().ok


@both
def test_a_test_account_and_a_live_one_are_two(owners: Any, verb: Verb, lock: Locks, threads: Any) -> None:
    give(owners[0], 5, mode="test")
    unlock = lock.table(verb)
    asked = verb.gathered(threads, (owners[1],), (owners[0],), (owners[2],))
    in_test = threads.submit(verb, owners[0], None, "test")
    eventually(lambda: len(verb.waiting[EVERYBODY]) == 3)
    unlock()
    assert [one.result() for one in asked] == [9, 9, 9]
    assert in_test.result() == 1_000_004  # a test account begins with a million
    assert reconcile().ok


@both
def test_holds_past_their_time_can_be_spent_again(owners: Any, verb: Verb, lock: Locks, threads: Any) -> None:
    for _number in range(2):
        hold(owners[1])
    with connection.cursor() as cursor:
        cursor.execute("UPDATE billing_hold SET expires_at = '2020-01-01' WHERE id = %s", [Hold.objects.earliest("id").id])
    unlock = lock.table(verb)
    asked = verb.gathered(threads, *[(owner,) for owner in owners], (owners[1],))
    unlock()
    assert [one.result() for one in asked] == [9, 8, 9, 9, 9, 9, 7]
    assert reconcile().ok


def test_a_hold_lasts_as_long_as_it_was_asked_for(owners: Any, lock: Locks, threads: Any) -> None:
    """And is as much of a generation's, though it is written with others."""

    def held(owner: Any, seconds: int, pinned: bool) -> Any:
        try:
            target = Principal("tenant", str(owner.id))
            return services.hold(target=target, use=CHARGE, actor="test", expires_in_seconds=seconds, pinned=pinned).hold
        finally:
            release_connection()

    unlock = lock.table(hold)
    asked = []
    for number, (owner, about) in enumerate(zip(owners, [(60, False), (90, True), (7200, False), (3600, True)], strict=False)):
        asked.append((about, threads.submit(held, owner, *about)))
        eventually(lambda number=number: len(hold.waiting.get(EVERYBODY, "-" * 9)) == number)
    unlock()
    for (seconds, pinned), one in asked:
        answered, row = one.result(), Hold.objects.get(id=one.result().id)
        assert (row.expires_at - row.created_at, row.is_pinned) == (timedelta(seconds=seconds), pinned)
        assert (answered.expires_at, answered.created_at) == (row.expires_at, row.created_at)
    assert hold.transactions() == 2


# --- captures ------------------------------------------------------------------------------------------------------


def held_by(*owners: Any) -> list[UUID]:
    """An open hold of each."""
    made = []
    for owner in owners:
        kind = "tenant" if isinstance(owner, Tenant) else "user"
        made.append(services.hold(target=Principal(kind, str(owner.id)), use=CHARGE, actor="test").hold.id)
    return made


def test_one_statement_captures_holds_of_many_accounts(owners: Any, alice: Any, lock: Locks, threads: Any) -> None:
    open_holds = held_by(*owners, alice, owners[1], owners[1])
    unlock = lock.table(capture)
    asked = capture.gathered(threads, *[(each,) for each in open_holds])
    unlock()
    assert [one.result() for one in asked] == [9, 7, 9, 9, 9, 9, 999, 7, 7]
    assert capture.transactions() == 2
    assert [account_of(owner).held for owner in owners] == [0] * 6
    entries = LedgerEntry.objects.filter(account=account_of(owners[1])).order_by("seq")
    assert list(entries.values_list("balance", "spendable")) == [(10, 10), (9, 7), (8, 7), (7, 7)]
    assert list(Charge.objects.order_by("hold_id").values_list("hold_id", flat=True)) == sorted(open_holds)
    assert reconcile().ok


def test_a_locked_account_is_left_out_of_captures_too(owners: Any, lock: Locks, threads: Any) -> None:
    """Those of it that wait are captured together when it is free."""
    open_holds = held_by(*owners, owners[2], owners[2])
    unlock_table, unlock_account = lock.table(capture), lock.account(owners[2])
    asked = capture.gathered(threads, *[(each,) for each in open_holds])
    unlock_table()
    late = {2, 6, 7}
    assert [one.result() for number, one in enumerate(asked) if number not in late] == [9] * 5
    eventually(lambda: len(capture.waiting.get(str(account_of(owners[2]).id), ())) == 2)
    assert not any(asked[number].done() for number in late)
    unlock_account()
    assert [asked[number].result() for number in late] == [7] * 3
    assert reconcile().ok


def test_a_lone_capture_of_a_locked_account_delays_no_other(owners: Any, lock: Locks, threads: Any) -> None:
    open_holds = held_by(*owners)
    unlock = lock.account(owners[0])
    waits = threads.submit(capture, open_holds[0])
    eventually(lambda: str(account_of(owners[0]).id) in capture.waiting)
    assert [capture(each) for each in open_holds[1:]] == [9] * 5
    assert not waits.done()
    unlock()
    assert waits.result() == 9
    assert reconcile().ok


def test_a_hold_that_is_captured_twice_in_a_round_is_charged_once(owners: Any, lock: Locks, threads: Any) -> None:
    first, second, third = held_by(*owners[:3])
    unlock = lock.table(capture)
    asked = capture.gathered(threads, (first,), (second,), (third,), (second,), (first,))
    unlock()
    assert [one.result() for one in asked] == [9] * 5
    assert Charge.objects.count() == 3
    assert reconcile().ok


def test_holds_that_have_ended_stop_no_other(owners: Any, lock: Locks, threads: Any) -> None:
    first, released, expired, captured, last = held_by(*owners[:5])
    services.release(hold_id=str(released), actor="test")
    assert capture(captured) == 9
    with connection.cursor() as cursor:
        cursor.execute("UPDATE billing_hold SET expires_at = '2020-01-01' WHERE id = %s", [expired])
    unlock = lock.table(capture)
    unknown = UUID(int=7)
    asked = capture.gathered(threads, (first,), (released,), (expired,), (captured,), (unknown,), (last,))
    unlock()
    assert [one.result() for one in asked] == [9, "invalid_state", "invalid_state", 9, "not_found", 9]
    assert Charge.objects.count() == 3
    assert reconcile().ok


def test_what_the_database_refuses_of_one_capture_stops_no_other(owners: Any, lock: Locks, threads: Any) -> None:
    open_holds = held_by(*owners)
    with connection.cursor() as cursor:
        cursor.execute("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'broken'; END $$")
        cursor.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON billing_charge FOR EACH ROW"
            f" WHEN (NEW.hold_id = '{open_holds[3]}') EXECUTE FUNCTION refuse()"
        )
    unlock = lock.table(capture)
    asked = capture.gathered(threads, *[(each,) for each in open_holds])
    unlock()
    assert [one.result() for number, one in enumerate(asked) if number != 3] == [9] * 5
    with pytest.raises(InternalError, match="broken"):
        asked[3].result()
    assert Charge.objects.count() == 5
    assert reconcile().ok
