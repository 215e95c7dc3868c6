"""The last of something, wanted by many at once; and the same thing ended, counted or sent by many at once."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from billing.ledger.models import Charge, DailyUsage, Hold, Refund
from billing.services import expire_holds
from storage.checks.reconcile import differences
from storage.models import StoredObject
from tests.at_once import at_once
from tests.books import account_of, body, give
from tests.catalog import permit, priced_model
from tests.races.calls import books_are_right, post
from tests.settings import INTERNAL_SECRET

CALLERS = 50


def by_100_callers(count: int, call: Any) -> list[Any]:
    """`count` calls by 100 callers: more threads than that only wait for the two processors of a test machine."""
    with ThreadPoolExecutor(100) as pool:
        return list(pool.map(call, range(count)))


@pytest.mark.slow
def test_1000_holds_of_10_on_5000(waule: Any, acme: Any) -> None:
    priced_model("ten", base=10)
    give(acme, 4000)
    with_keys = by_100_callers(1000, lambda n: post(waule, "holds", body(acme, "ten"), key=f"hold-{n}"))
    assert Counter(answer.status_code for answer in with_keys) == {201: 500, 402: 500}
    account = account_of(acme)
    assert (account.balance, account.held, Hold.objects.filter(state="held").count()) == (5000, 5000, 500)
    assert books_are_right(waule)


def test_capture_release_and_expiry_of_one_hold(waule: Any, acme: Any) -> None:
    """Whoever comes first ends it; the others are told how it ended."""
    priced_model("ten", base=10)
    holds = [post(waule, "holds", body(acme, "ten")).json()["holdId"] for _ in range(30)]

    def end(n: int) -> tuple[str, str, Any]:
        hold, ending = holds[n // 4], ("capture", "expire", "release", "expire")[n % 4]
        if ending == "expire":
            waule.sql("UPDATE billing_hold SET expires_at = '2020-01-01 00:00:00' WHERE id = %s", hold_parameter(waule, hold))
            return hold, ending, post(waule, "holds", body(acme, "ten"))  # a writer of the account ends what is due
        return hold, ending, post(waule, f"holds/{hold}/{ending}")

    answers = at_once(len(holds) * 4, end)
    expire_holds()  # a charge that needs none of their credits may leave the rows to the worker
    states = {str(hold.id): hold.state for hold in Hold.objects.filter(id__in=holds)}
    named = {"capture": "captured", "release": "released"}
    for hold, ending, answer in answers:
        if ending == "expire":
            assert answer.status_code in (201, 402), answer.text
        elif answer.status_code == 200:
            assert states[hold] == named[ending]
        else:
            # Whoever comes when its time is over is told so, also while one who came before waits for the account.
            assert answer.status_code == 409
            assert answer.json()["details"]["state"] in (states[hold], "expired")
    assert set(states.values()) <= {"captured", "released", "expired"}
    account = account_of(acme)
    assert Charge.objects.count() == sum(state == "captured" for state in states.values())
    still_held = 10 * Hold.objects.filter(state="held").count()  # those made by the writers
    assert (account.balance, account.held) == (1000 - 10 * Charge.objects.count(), still_held)
    assert books_are_right(waule)


def hold_parameter(waule: Any, hold: str) -> str:
    return hold if waule.database.is_postgresql else hold.replace("-", "")


def test_the_last_free_use_is_taken_once(waule: Any, vera: Any) -> None:
    permit("VIP", priced_model("flash", base=7), is_free_for_member=True, free_daily_limit=1)
    answers = at_once(CALLERS, lambda _n: post(waule, "charge", body(vera)))
    assert {answer.status_code for answer in answers} == {200}
    assert Counter(answer.json()["isFreeUsage"] for answer in answers) == {True: 1, False: CALLERS - 1}
    assert account_of(vera).balance == 1000 - 7 * (CALLERS - 1)
    usage = DailyUsage.objects.get()
    assert (usage.uses, usage.free_uses) == (CALLERS, 1)
    assert books_are_right(waule)


def test_the_last_use_of_the_day_is_taken_once(waule: Any, alice: Any) -> None:
    permit("USER", priced_model("flash", base=7), daily_limit=1)
    answers = at_once(CALLERS, lambda _n: post(waule, "charge", body(alice)))
    assert Counter(answer.status_code for answer in answers) == {200: 1, 429: CALLERS - 1}
    assert {answer.json()["code"] for answer in answers if answer.status_code == 429} == {"daily_limit"}
    assert (account_of(alice).balance, DailyUsage.objects.get().uses) == (993, 1)
    assert books_are_right(waule)


@pytest.mark.slow
def test_500_charges_each_refunded_twice_at_once(waule: Any, acme: Any) -> None:
    priced_model("flash", base=7)
    give(acme, 2500)
    items = [body(acme) | {"idempotencyKey": f"charge-{n}"} for n in range(500)]
    charges = [result["chargeId"] for result in post(waule, "charges/batch", {"charges": items}).json()["results"]]
    answers = by_100_callers(1000, lambda n: post(waule, "refund", {"chargeId": charges[n // 2], "reason": "failed"}))
    assert {answer.status_code for answer in answers} == {200}
    assert Counter(answer.headers.get("Idempotent-Replayed") for answer in answers) == {None: 500, "true": 500}
    assert account_of(acme).balance == 3500
    assert Refund.objects.count() == 500
    assert books_are_right(waule)


def test_20_uploads_of_one_object_are_counted_once(waule: Any, acme: Any) -> None:
    given = {"tenantId": str(acme.id), "bytes": 100, "objectKey": "a.png"}
    headers = {"X-Internal-Secret": INTERNAL_SECRET}
    answers = at_once(20, lambda _n: waule.post("/internal/storage/record", given, headers=headers))
    assert {(answer.status_code, answer.json()["storageUsedBytes"]) for answer in answers} == {(200, 100)}
    assert StoredObject.objects.count() == 1
    assert list(differences()) == []


def test_batches_with_the_same_keys_in_opposite_order(waule: Any, acme: Any, birch: Any, alice: Any) -> None:
    """Accounts are locked in one order, whatever the batch's is: nobody waits in a circle, and each item is charged once."""
    priced_model("flash", base=7)
    give(birch, 1000)
    items = [body(owner) | {"idempotencyKey": f"item-{n}"} for n in range(40) for owner in (acme, birch, alice)]
    batches = [items, items[::-1]] * 5
    answers = at_once(len(batches), lambda n: post(waule, "charges/batch", {"charges": batches[n]}))
    assert {answer.status_code for answer in answers} == {200}
    results = [result for answer in answers for result in answer.json()["results"]]
    assert {result["status"] for result in results} == {200}
    assert sum("replayed" not in result for result in results) == len(items) == Charge.objects.count()
    assert {account_of(owner).balance for owner in (acme, birch, alice)} == {1000 - 7 * 40}
    assert books_are_right(waule)
