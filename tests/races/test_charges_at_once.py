"""Many callers at once, over HTTP, against the real server."""

from collections import Counter
from typing import Any

import pytest

from billing.ledger.models import Account, Charge, Hold
from tests.at_once import at_once
from tests.books import body
from tests.catalog import priced_model
from tests.races.calls import books_are_right, post

CALLERS = 200


@pytest.fixture(autouse=True)
def models(waule: Any, acme: Any) -> None:
    priced_model("flash", base=7)
    priced_model("ten", base=10)
    waule.start()


def test_200_callers_charge_7_from_1000(waule: Any, acme: Any) -> None:
    answers = at_once(CALLERS, lambda _n: post(waule, "charge", body(acme)))
    assert Counter(answer.status_code for answer in answers) == {200: 142, 402: 58}
    assert Account.objects.get(tenant=acme, mode="live").balance == 6
    assert sorted(a.json()["balance"] for a in answers if a.status_code == 200) == list(range(6, 1000, 7))
    assert books_are_right(waule)


def test_50_callers_with_one_key_make_one_charge(waule: Any, acme: Any) -> None:
    answers = at_once(50, lambda _n: post(waule, "charge", body(acme), key="one"))
    assert {answer.status_code for answer in answers} == {200}
    texts = {answer.text for answer in answers}
    assert len(texts) == 1
    assert Counter(answer.headers.get("Idempotent-Replayed") for answer in answers) == {None: 1, "true": 49}
    assert Charge.objects.count() == 1
    assert books_are_right(waule)


def test_holds_at_once_never_pass_the_balance(waule: Any, acme: Any) -> None:
    answers = at_once(CALLERS, lambda _n: post(waule, "holds", body(acme, "ten")))
    assert Counter(answer.status_code for answer in answers) == {201: 100, 402: 100}
    assert Account.objects.get(tenant=acme, mode="live").held == 1000
    assert books_are_right(waule)


def test_a_hold_ends_once_whoever_comes_first(waule: Any, acme: Any) -> None:
    holds = [post(waule, "holds", body(acme, "ten")).json()["holdId"] for _ in range(30)]
    calls = [(hold, ending) for hold in holds for ending in ("capture", "release", "capture", "release")]
    answers = at_once(len(calls), lambda n: post(waule, f"holds/{calls[n][0]}/{calls[n][1]}"))
    by_hold: dict[str, Counter[int]] = {}
    for (hold, _ending), answer in zip(calls, answers, strict=True):
        by_hold.setdefault(hold, Counter())[answer.status_code] += 1
    assert all(counts == {200: 2, 409: 2} for counts in by_hold.values()), by_hold
    captured = Hold.objects.filter(state="captured").count()
    account = Account.objects.get(tenant=acme, mode="live")
    assert (account.balance, account.held) == (1000 - 10 * captured, 0)
    assert books_are_right(waule)


def test_refunds_twice_at_once_move_once(waule: Any, acme: Any) -> None:
    charges = [post(waule, "charge", body(acme, "ten")).json()["chargeId"] for _ in range(50)]
    answers = at_once(100, lambda n: post(waule, "refund", {"chargeId": charges[n % 50], "reason": "failed"}))
    assert {answer.status_code for answer in answers} == {200}
    assert Counter(answer.headers.get("Idempotent-Replayed") for answer in answers) == {None: 50, "true": 50}
    assert Account.objects.get(tenant=acme, mode="live").balance == 1000
    assert books_are_right(waule)
