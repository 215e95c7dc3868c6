"""Holds: made, then captured, released or expired; once."""

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.utils import timezone

from billing.catalog.models import AIModel
from billing.ledger.models import Account, Charge, DailyUsage, Hold
from billing.ledger.posting import database_now
from billing.reconciliation.checks import reconcile
from billing.services import expire_holds
from tenants.services import create_api_key
from tests.books import body
from tests.catalog import permit

URL = "/internal/billing/holds"


def make(internal: Any, target: Any, **use: Any) -> dict[str, Any]:
    status, answer = internal.post(URL, body(target, "film", duration=use.pop("duration", 10), **use))
    assert status == 201, answer
    return answer


def run_out(hold: dict[str, Any]) -> None:
    with connection.cursor() as cursor:
        key = hold["holdId"] if connection.vendor == "postgresql" else hold["holdId"].replace("-", "")
        cursor.execute("UPDATE billing_hold SET expires_at = %s WHERE id = %s", ["2020-01-01 00:00:00", key])


def balance(internal: Any, target: Any) -> tuple[int, int]:
    answer = internal.get(f"/internal/billing/balance?targetType={body(target)['targetType']}&targetId={target.id}")[1]
    return answer["balance"], answer["held"]


def test_a_hold_sets_aside_and_a_capture_takes(internal: Any, acme: Any, film: AIModel) -> None:
    hold = make(internal, acme)
    assert (hold["creditsHeld"], hold["balance"], hold["isFreeUsage"]) == (100, 900, False)
    assert balance(internal, acme) == (900, 100)
    status, answer = internal.post(f"{URL}/{hold['holdId']}/capture")
    assert status == 200
    assert (answer["creditsCharged"], answer["creditsReleased"], answer["shortfall"], answer["balance"]) == (100, 0, 0, 900)
    assert internal.post(f"{URL}/{hold['holdId']}/capture", {"duration": 3})[1] == answer
    assert internal.last["Idempotent-Replayed"] == "true"
    status, conflict = internal.post(f"{URL}/{hold['holdId']}/release")
    assert (status, conflict["code"], conflict["details"]["state"]) == (409, "invalid_state", "captured")
    assert reconcile().ok


def test_holds_in_flight_cost_readers_no_more_queries(
    internal: Any, acme: Any, film: AIModel, django_assert_num_queries: Any
) -> None:
    """One hold runs, one is past its time and not yet ended: what it held can be spent."""
    _key, plaintext = create_api_key(tenant=acme, name="first", actor="test")
    make(internal, acme)
    run_out(make(internal, acme))
    balance(internal, acme)  # plans are prepared
    with django_assert_num_queries(1):
        assert balance(internal, acme) == (900, 100)
    for _twice in range(2):
        asked = internal.get("/internal/tenants/by-apikey", headers={"X-Api-Key": plaintext})
        assert asked[1]["credits"] == 900
    with django_assert_num_queries(1):
        internal.get("/internal/tenants/by-apikey", headers={"X-Api-Key": plaintext})


@pytest.mark.parametrize(
    ("duration", "charged", "released", "shortfall", "left"),
    [(4, 40, 60, 0, 960), (10, 100, 0, 0, 900), (12.5, 125, 0, 0, 875), (150, 1000, 0, 500, 0)],
)
def test_a_capture_of_the_final_use(
    internal: Any, acme: Any, film: AIModel, duration: float, charged: int, released: int, shortfall: int, left: int
) -> None:
    hold = make(internal, acme)
    answer = internal.post(f"{URL}/{hold['holdId']}/capture", {"duration": duration})[1]
    got = (answer["creditsCharged"], answer["creditsReleased"], answer["shortfall"], answer["balance"])
    assert got == (charged, released, shortfall, left)
    assert internal.get(f"/internal/billing/charges/{answer['chargeId']}")[1]["shortfall"] == shortfall
    assert reconcile().ok


def test_a_capture_is_priced_by_the_holds_snapshot(internal: Any, acme: Any, film: AIModel) -> None:
    hold = make(internal, acme)
    rule = film.billing_rules.get()
    rule.base_credits = 99
    rule.save()
    assert internal.post(f"{URL}/{hold['holdId']}/capture", {"duration": 5})[1]["creditsCharged"] == 50


def test_a_release_gives_back(internal: Any, acme: Any, film: AIModel) -> None:
    hold = make(internal, acme)
    first = internal.post(f"{URL}/{hold['holdId']}/release", {"reason": "failed"})
    assert first == (200, {"success": True, "creditsReleased": 100, "balance": 1000})
    make(internal, acme)
    assert internal.post(f"{URL}/{hold['holdId']}/release") == first
    assert internal.post(f"{URL}/{hold['holdId']}/capture")[1]["details"]["state"] == "released"


def test_past_its_time_a_hold_is_expired_for_everyone(internal: Any, acme: Any, film: AIModel) -> None:
    hold = make(internal, acme, duration=100)
    assert balance(internal, acme) == (0, 1000)
    run_out(hold)
    assert balance(internal, acme) == (1000, 0)
    assert internal.get(f"{URL}/{hold['holdId']}")[1]["state"] == "expired"
    status, answer = internal.post(f"{URL}/{hold['holdId']}/capture")
    assert (status, answer["details"]["state"]) == (409, "expired")
    assert Hold.objects.get().state == "held", "nobody has tidied up yet"
    # The next writer may spend what it held.
    status, answer = internal.post("/internal/billing/charge", body(acme, "film", duration=100))
    assert (status, answer["balance"]) == (200, 0)
    assert Hold.objects.get().state == "expired"
    assert reconcile().ok


def test_a_charge_beside_an_expired_hold_tells_what_can_be_spent(internal: Any, acme: Any, film: AIModel) -> None:
    run_out(make(internal, acme, duration=10))
    assert internal.post("/internal/billing/charge", body(acme, "film", duration=1))[1]["balance"] == 990


def test_a_worker_ends_expired_holds(internal: Any, vera: Any, film: AIModel) -> None:
    permit("VIP", film, daily_limit=5)
    run_out(make(internal, vera))
    assert DailyUsage.objects.get().uses == 1
    assert expire_holds() == 1
    assert expire_holds() == 0
    assert (Hold.objects.get().state, Account.objects.get(user=vera).held) == ("expired", 0)
    assert DailyUsage.objects.get().uses == 0


@pytest.mark.parametrize("kept", ["is_pinned", "is_unknown"])
def test_the_hold_of_a_generation_does_not_run_out(internal: Any, acme: Any, film: AIModel, kept: str) -> None:
    """It is under way, or nobody knows yet what became of it."""
    hold = make(internal, acme)
    Hold.objects.update(**{kept: True})
    run_out(hold)
    assert expire_holds() == 0
    assert balance(internal, acme) == (900, 100)
    assert internal.post("/internal/billing/charge", body(acme, "film", duration=95))[1]["code"] == "insufficient_credits"
    assert (Hold.objects.get().state, Account.objects.get(tenant=acme, mode="live").held) == ("held", 100)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no clock of its own")
@pytest.mark.parametrize("hours", [-2, 2])
def test_a_hold_runs_by_the_databases_clock(internal: Any, alice: Any, film: AIModel, hours: int) -> None:
    """A host whose clock is wrong neither ends holds early nor makes them last."""
    permit("USER", film, daily_limit=5)  # by several statements
    with time_machine.travel(timezone.now() + timedelta(hours=hours)):
        before = database_now()
        hold = make(internal, alice)
        made = Hold.objects.get()
        assert before <= made.created_at <= database_now()
        assert made.expires_at - made.created_at == timedelta(hours=1)
        assert internal.post(f"{URL}/{hold['holdId']}/capture", {"duration": 9})[1]["creditsCharged"] == 90


def test_a_hold_counts_when_made_and_not_again_when_captured(internal: Any, vera: Any, film: AIModel) -> None:
    permit("VIP", film, daily_limit=5, is_free_for_member=True, free_daily_limit=1)
    free = make(internal, vera)
    assert (free["creditsHeld"], free["isFreeUsage"]) == (0, True)
    assert internal.post(f"{URL}/{free['holdId']}/capture", {"duration": 60})[1]["creditsCharged"] == 0
    usage = DailyUsage.objects.get()
    assert (usage.uses, usage.free_uses) == (1, 1)
    paid = make(internal, vera)
    assert paid["creditsHeld"] == 100
    internal.post(f"{URL}/{paid['holdId']}/release")
    usage.refresh_from_db()
    assert (usage.uses, usage.free_uses) == (1, 1)


def test_a_refund_of_a_captured_charge_gives_the_use_back(internal: Any, vera: Any, film: AIModel) -> None:
    permit("VIP", film, daily_limit=1)
    charge = internal.post(f"{URL}/{make(internal, vera)['holdId']}/capture")[1]["chargeId"]
    assert internal.post(URL, body(vera, "film", duration=1))[0] == 429
    internal.post("/internal/billing/refund", {"chargeId": charge, "reason": "bad film"})
    assert internal.post(URL, body(vera, "film", duration=1))[0] == 201


def test_a_hold_replays(internal: Any, acme: Any, film: AIModel) -> None:
    first = internal.post(URL, body(acme, "film", duration=10), key="h")
    assert internal.post(URL, body(acme, "film", duration=10), key="h") == first
    assert internal.post(URL, body(acme, "film", duration=11), key="h")[0] == 422
    assert balance(internal, acme) == (900, 100)
    # A charge's keys are another matter.
    assert internal.post("/internal/billing/charge", body(acme, "film", duration=1), key="h")[0] == 200


def test_a_hold_above_the_funds_is_refused(internal: Any, acme: Any, film: AIModel) -> None:
    make(internal, acme, duration=60)
    status, answer = internal.post(URL, body(acme, "film", duration=41))
    assert (status, answer["details"]) == (402, {"required": 410, "available": 400})
    assert Charge.objects.count() == 0


def test_unknown_holds_are_not_found(internal: Any, db: None) -> None:
    for path in ("/capture", "/release"):
        assert internal.post(f"{URL}/nothing{path}")[1]["code"] == "not_found"
    assert internal.get(f"{URL}/0192f0c1-0000-7000-8000-000000000000")[1]["code"] == "not_found"


@pytest.mark.parametrize("seconds", [59, 86_401, 60.0, "60"])
def test_expires_in_has_bounds(internal: Any, acme: Any, film: AIModel, seconds: Any) -> None:
    status, answer = internal.post(URL, body(acme, "film", duration=1, expiresIn=seconds))
    assert (status, list(answer["details"]["fields"])) == (400, ["expiresIn"])


def test_a_free_hold_past_its_time_is_expired_and_gives_its_use_back(internal: Any, vera: Any, flash: AIModel) -> None:
    """It holds no credits, so the account's `held` does not show that there is one."""
    permit("VIP", flash, daily_limit=1, is_free_for_member=True, free_daily_limit=1)
    hold = internal.post("/internal/billing/holds", body(vera))[1]
    assert (hold["creditsHeld"], hold["isFreeUsage"]) == (0, True)
    assert internal.post("/internal/billing/estimate", body(vera))[1]["code"] == "daily_limit"
    run_out(hold)
    estimate = internal.post("/internal/billing/estimate", body(vera))[1]
    assert (estimate["allowed"], estimate["isFreeUsage"]) == (True, True)
    status, answer = internal.post(f"/internal/billing/holds/{hold['holdId']}/capture")
    assert (status, answer["code"], answer["details"]["state"]) == (409, "invalid_state", "expired")
    status, answer = internal.post("/internal/billing/charge", body(vera))
    assert (status, answer["isFreeUsage"]) == (200, True)
    assert Hold.objects.get().state == "expired"
