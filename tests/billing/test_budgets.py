"""Budgets: calendar periods in the tenant's zone, read from the ledger, per tenant and per key."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connections

from billing.budgets.limits import KEEP_AFTER_ENTRIES, OverBudget, period_of, standing_of
from billing.budgets.models import Budget, BudgetCheckpoint
from billing.catalog.models import AIModel
from billing.catalog.usage import UsageRequest
from billing.ledger.models import Account, Charge, Hold
from billing.services import BatchItem, capture, charge, charge_many, hold, refund, release
from tenants.models import ApiKey
from tenants.principal import Principal
from tests.books import body
from waule.core.errors import WauleError

CHARGE = "/internal/billing/charge"


def target(tenant: Any, key: Any = None, mode: str = "live") -> Principal:
    return Principal("tenant", str(tenant.id), mode, key.id if key else None)


def key_of(tenant: Any, name: str = "k") -> ApiKey:
    return ApiKey.objects.create(tenant=tenant, name=name, masked=f"wk_live_…{name}", key_hash=f"{name:0>64}")


@pytest.mark.parametrize(
    ("period", "start", "end"),
    [
        ("day", "2026-03-08T05:00:00+00:00", "2026-03-09T04:00:00+00:00"),  # 23 hours: the clocks go forward
        ("week", "2026-03-02T05:00:00+00:00", "2026-03-09T04:00:00+00:00"),
        ("month", "2026-03-01T05:00:00+00:00", "2026-04-01T04:00:00+00:00"),
    ],
)
def test_a_period_is_the_calendars_in_its_zone(period: str, start: str, end: str) -> None:
    first, following = period_of(period, datetime(2026, 3, 8, 12, tzinfo=UTC), ZoneInfo("America/New_York"))
    assert (first.astimezone(UTC).isoformat(), following.astimezone(UTC).isoformat()) == (start, end)


def test_december_ends_with_the_year() -> None:
    assert period_of("month", datetime(2026, 12, 31, tzinfo=UTC), ZoneInfo("UTC"))[1] == datetime(2027, 1, 1, tzinfo=UTC)


def test_over_budget_is_told_with_the_moment_it_opens(internal: Any, acme: Any, flash: AIModel) -> None:
    budget = Budget.objects.create(tenant=acme, period="day", limit_credits=20)
    assert [internal.post(CHARGE, body(acme))[0] for _ in range(3)] == [200, 200, 429]
    status, answer = internal.post(CHARGE, body(acme), key="again")
    details = answer["details"]
    assert (status, answer["code"], details["limit"], details["used"]) == (429, "rate_limited", 20, 14)
    assert details["budget"] == {"id": str(budget.id), "scope": "tenant", "period": "day"}
    opens_at = datetime.fromisoformat(details["opensAt"])
    assert (opens_at.hour, opens_at.utcoffset().total_seconds()) == (0, 8 * 3600)
    assert 0 < int(internal.last["Retry-After"]) <= 86_401
    assert Charge.objects.count() == 2
    estimate = internal.post("/internal/billing/estimate", body(acme))[1]
    assert (estimate["allowed"], estimate["code"]) == (False, "rate_limited")
    budget.is_active = False
    budget.save()
    assert internal.post(CHARGE, body(acme), key="again")[0] == 200


def test_the_gateway_names_the_key_and_its_budget_binds(internal: Any, acme: Any, birch: Any, flash: AIModel) -> None:
    key, other = key_of(acme, "k"), key_of(acme, "o")
    Budget.objects.create(tenant=acme, api_key=key, period="day", limit_credits=10)
    by_key = body(acme) | {"apiKeyId": str(key.id)}
    assert [internal.post(CHARGE, by_key)[0] for _ in range(2)] == [200, 429]
    assert internal.post(CHARGE, body(acme) | {"apiKeyId": str(other.id)})[0] == 200
    assert internal.post("/internal/billing/holds", by_key)[0] == 429
    assert internal.post("/internal/billing/estimate", by_key)[1]["code"] == "rate_limited"
    batch = internal.post("/internal/billing/charges/batch", {"charges": [by_key, body(acme)]})[1]["results"]
    assert [item["status"] for item in batch] == [429, 200]
    assert Charge.objects.filter(api_key=key).count() == 1
    for wrong in (body(birch) | {"apiKeyId": str(key.id)}, body(acme) | {"apiKeyId": "x"}):
        assert "apiKeyId" in internal.post(CHARGE, wrong)[1]["details"]["fields"]


def test_another_key_is_another_body(internal: Any, acme: Any, flash: AIModel) -> None:
    first, second = (body(acme) | {"apiKeyId": str(key_of(acme, name).id)} for name in "ab")
    assert [internal.post(CHARGE, each, key="k")[0] for each in (first, first, second, body(acme))] == [200, 200, 422, 422]
    holds = "/internal/billing/holds"
    assert [internal.post(holds, each, key="h")[0] for each in (first, second)] == [201, 422]
    batch = {"charges": [each | {"idempotencyKey": "k"} for each in (first, second)]}
    assert [item["status"] for item in internal.post("/internal/billing/charges/batch", batch)[1]["results"]] == [200, 422]


def test_by_a_test_key_test_credits_are_spent(internal: Any, acme: Any, flash: AIModel) -> None:
    key = ApiKey.objects.create(tenant=acme, name="t", masked="wk_test_…t", key_hash="t" * 64, mode="test")
    assert internal.post(CHARGE, body(acme) | {"apiKeyId": str(key.id)})[0] == 200
    assert Charge.objects.get().account == Account.objects.get(tenant=acme, mode="test")


def test_a_replay_is_answered_over_budget_too(internal: Any, acme: Any, flash: AIModel) -> None:
    Budget.objects.create(tenant=acme, period="month", limit_credits=7)
    first = internal.post(CHARGE, body(acme), key="a")
    assert internal.post(CHARGE, body(acme), key="a") == first
    assert internal.post(CHARGE, body(acme), key="b")[0] == 429


def test_holds_count_and_come_back(acme: Any, film: AIModel) -> None:
    Budget.objects.create(tenant=acme, period="week", limit_credits=100)
    use = UsageRequest(model="film", duration=Decimal(6))
    first = hold(target=target(acme), use=use, actor="test")
    with pytest.raises(OverBudget):
        hold(target=target(acme), use=use, actor="test")
    release(hold_id=str(first.hold.id), actor="test")
    second = hold(target=target(acme), use=use, actor="test")
    made = capture(hold_id=str(second.hold.id), actor="test").charge
    with pytest.raises(OverBudget) as over:
        charge(target=target(acme), use=use, actor="test")
    assert over.value.details["used"] == 60
    refund(charge_id=str(made.id), reason="bad", actor="test")
    assert charge(target=target(acme), use=use, actor="test").charge.credits == 60


def test_an_expired_hold_does_not_count(acme: Any, film: AIModel) -> None:
    key = key_of(acme)
    Budget.objects.create(tenant=acme, period="week", limit_credits=100)
    Budget.objects.create(tenant=acme, api_key=key, period="week", limit_credits=100)
    use = UsageRequest(model="film", duration=Decimal(6))
    made = hold(target=target(acme, key), use=use, actor="test").hold
    Hold.objects.filter(id=made.id).update(expires_at=datetime(2020, 1, 1, tzinfo=UTC))
    assert charge(target=target(acme, key), use=use, actor="test").charge.credits == 60


def test_a_keys_budget_stops_that_key_alone(acme: Any, flash: AIModel) -> None:
    narrow, other = key_of(acme, "a"), key_of(acme, "b")
    Budget.objects.create(tenant=acme, api_key=narrow, period="day", limit_credits=7)
    use = UsageRequest(model="flash")
    assert charge(target=target(acme, narrow), use=use, actor="test").charge.api_key_id == narrow.id
    with pytest.raises(OverBudget) as over:
        charge(target=target(acme, narrow), use=use, actor="test")
    assert over.value.details["budget"]["scope"] == "apiKey"
    for who in (other, None):
        charge(target=target(acme, who), use=use, actor="test")


def test_test_credits_are_no_matter_of_the_tenants_budget(acme: Any, flash: AIModel) -> None:
    Budget.objects.create(tenant=acme, period="day", limit_credits=0)
    assert charge(target=target(acme, mode="test"), use=UsageRequest(model="flash"), actor="test").charge.credits == 7


def test_what_was_used_before_the_period_does_not_count(acme: Any, flash: AIModel) -> None:
    Budget.objects.create(tenant=acme, period="day", limit_credits=7)
    charge(target=target(acme), use=UsageRequest(model="flash"), actor="test")
    account = Account.objects.get(tenant=acme, mode="live")
    later = datetime(2099, 1, 1, tzinfo=UTC)
    assert standing_of(Budget.objects.get(), account.id, now=later, held=0).used == 0


def test_a_batch_stays_within(acme: Any, flash: AIModel) -> None:
    Budget.objects.create(tenant=acme, period="day", limit_credits=20)
    items = [BatchItem(target(acme), UsageRequest(model="flash")) for _ in range(5)]
    results = charge_many(items=items, actor="test")
    assert [isinstance(result, WauleError) for result in results] == [False, False, True, True, True]


def test_a_checkpoint_says_what_the_ledger_says(acme: Any, flash: AIModel) -> None:
    budget = Budget.objects.create(tenant=acme, period="month", limit_credits=10_000)
    use = UsageRequest(model="flash")
    charge_many(items=[BatchItem(target(acme), use) for _ in range(KEEP_AFTER_ENTRIES)], actor="test")
    charge(target=target(acme), use=use, actor="test")
    kept = BudgetCheckpoint.objects.get()
    assert (kept.used, kept.seq) == (700, KEEP_AFTER_ENTRIES + 1)
    charge(target=target(acme), use=use, actor="test")
    account = Account.objects.get(tenant=acme, mode="live")
    fresh = Budget.objects.select_related("checkpoint", "tenant").get(id=budget.id)
    assert standing_of(fresh, account.id, now=datetime.now(UTC), held=0).used == 714


def test_a_tenant_without_budgets_pays_no_query(acme: Any, birch: Any, flash: AIModel, django_assert_num_queries: Any) -> None:
    use = UsageRequest(model="flash")
    charge(target=target(acme), use=use, actor="test")
    with django_assert_num_queries(50, exact=False) as counted:
        charge(target=target(acme), use=use, actor="test")
    assert not any('FROM "billing_budget"' in query["sql"] for query in counted.captured_queries)


def test_many_at_once_do_not_pass_the_limit(cloned_db: Any, acme: Any, flash: AIModel) -> None:
    Budget.objects.create(tenant=acme, period="day", limit_credits=70)

    def one(_number: int) -> bool:
        try:
            charge(target=target(acme), use=UsageRequest(model="flash"), actor="test")
        except OverBudget:
            return False
        else:
            return True
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(one, range(30))) == 10
