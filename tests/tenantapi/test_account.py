"""`/v1/balance`, `/v1/usage`, `/v1/entries`, `/v1/prices`, `/v1/estimate`: what there is, what it went on, what it costs."""

import uuid
from collections import Counter
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest

from aiservices.generations.models import Generation
from billing.budgets.limits import zone_of
from billing.budgets.models import Budget
from billing.catalog.models import AIModel, BillingPrice, BillingRule
from billing.catalog.usage import UsageRequest
from billing.ledger.models import Account, Charge, Kind, LedgerEntry
from billing.services import charge, refund
from billing.usage_reports import rollup, selectors
from billing.usage_reports.models import UsageDay, UsageProgress
from tenants.models import ApiKey, Tenant
from tenants.principal import Principal
from tenants.services import create_api_key
from tests.books import give
from tests.callers import Api, Internal, api_of_tenant
from tests.catalog import image_model, video_model
from tests.tenantapi.conftest import charged_at, refunded_at

IMAGES = "/v1/images/generations"


def by_gateway(tenant: Tenant, model: AIModel, **more: Any) -> Charge:
    """A charge that the gateway makes by the internal API."""
    return charge(
        target=Principal("tenant", str(tenant.id)), use=UsageRequest(model=str(model.id), **more), actor="gateway"
    ).charge


def ledger_of(tenant: Tenant, mode: str = "live") -> tuple[int, int]:
    """What the ledger took for uses, and what it gave back."""
    rows = LedgerEntry.objects.filter(account__tenant=tenant, account__mode=mode)
    taken, back = (sum(rows.filter(kind=kind).values_list("amount", flat=True)) for kind in (Kind.CONSUME, Kind.REFUND))
    return -taken, back


def usage(api: Api, **query: str) -> list[dict[str, Any]]:
    status, answer = api.get("/v1/usage?" + "&".join(f"{name.rstrip('_')}={value}" for name, value in query.items()))
    assert (status, answer.get("object")) == (200, "list"), answer
    return answer["data"]


# --- balance -------------------------------------------------------------------------------------------------------


def test_the_balance_of_an_account_without_budgets(as_acme: Api) -> None:
    expected = {"object": "balance", "balance": 1000, "held": 0, "mode": "live", "budgets": []}
    assert as_acme.get("/v1/balance") == (200, expected)


def test_a_test_key_sees_the_test_account(acme: Tenant) -> None:
    _status, answer = api_of_tenant(acme, "test").get("/v1/balance")
    assert (answer["mode"], answer["balance"]) == ("test", 1_000_000)


def test_held_credits_cannot_be_spent(as_acme: Api, acme: Tenant, filmer: AIModel) -> None:
    assert as_acme.post("/v1/videos", {"model": "filmer", "prompt": "x", "seconds": "4"})[0] == 200
    _status, answer = as_acme.get("/v1/balance")
    assert (answer["balance"], answer["held"]) == (960, 40)


def test_budgets_of_the_tenant_and_of_the_key(acme: Tenant, painter: AIModel) -> None:
    key, plaintext = create_api_key(tenant=acme, actor="test")
    other, _plaintext = create_api_key(tenant=acme, actor="test")
    Budget.objects.create(tenant=acme, period="month", limit_credits=500)
    Budget.objects.create(tenant=acme, api_key=key, period="day", limit_credits=100)
    Budget.objects.create(tenant=acme, api_key=other, period="day", limit_credits=7)
    api = Api(f"Bearer {plaintext}")
    assert api.post(IMAGES, {"model": "painter", "prompt": "x"})[0] == 200
    zone = zone_of(acme.time_zone)
    today = datetime.now(zone).date()
    tomorrow, month = today + timedelta(days=1), (today.replace(day=1) + timedelta(days=32)).replace(day=1)
    ends = [int(datetime.combine(day, time(), zone).timestamp()) for day in (month, tomorrow)]
    assert api.get("/v1/balance")[1]["budgets"] == [
        {"scope": "tenant", "period": "month", "limit": 500, "used": 15, "resets_at": ends[0]},
        {"scope": "key", "period": "day", "limit": 100, "used": 15, "resets_at": ends[1]},
    ]


# --- usage ---------------------------------------------------------------------------------------------------------


def test_what_was_made_refused_and_charged_by_the_gateway(as_acme: Api, acme: Tenant, painter: AIModel, settings: Any) -> None:
    assert as_acme.post(IMAGES, {"model": "painter", "prompt": "x", "n": 2})[0] == 200
    settings.SANDBOX_FAILURE_RATE = 1
    assert as_acme.post(IMAGES, {"model": "painter", "prompt": "x"})[0] == 502
    by_gateway(acme, painter, quantity=3)
    (row,) = usage(as_acme)
    assert row == {
        "date": datetime.now(zone_of(acme.time_zone)).date().isoformat(),
        "requests": 3,
        "succeeded": 2,
        "failed": 1,
        "credits": 75,
        "refunded": 0,
    }
    assert ledger_of(acme) == (75, 0)


def test_refunds_are_told_beside_what_was_charged(as_acme: Api, acme: Tenant, painter: AIModel) -> None:
    made = by_gateway(acme, painter)
    refund(charge_id=str(made.id), credits=5, reason="late", idempotency_key="r", actor="test")
    (row,) = usage(as_acme)
    assert (row["credits"], row["refunded"], ledger_of(acme)) == (15, 5, (15, 5))


def test_by_day_model_and_key(acme: Tenant, painter: AIModel) -> None:
    image_model("dauber", base=4)
    (first, first_text), (second, second_text) = (create_api_key(tenant=acme, actor="test") for _number in range(2))
    for text, model in ((first_text, "painter"), (first_text, "dauber"), (second_text, "dauber")):
        assert Api(f"Bearer {text}").post(IMAGES, {"model": model, "prompt": "x"})[0] == 200
    by_gateway(acme, painter)
    api = Api(f"Bearer {first_text}")
    rows = usage(api, group_by="model")
    assert [(row["model"], row["credits"], row["requests"]) for row in rows] == [("dauber", 8, 2), ("painter", 30, 2)]
    assert "date" not in rows[0] and "key_id" not in rows[0]
    by_key = {row["key_id"]: row["credits"] for row in usage(api, group_by="key")}
    assert by_key == {None: 15, str(first.id): 19, str(second.id): 4}
    assert len(usage(api, group_by="day,model,key")) == 4
    assert usage(api, group_by="") == [{"requests": 4, "succeeded": 4, "failed": 0, "credits": 38, "refunded": 0}]


def test_a_free_use_is_a_request(as_acme: Api, acme: Tenant) -> None:
    model = image_model("gift")
    BillingRule.objects.filter(model=model).update(is_free=True)
    assert as_acme.post(IMAGES, {"model": "gift", "prompt": "x"})[0] == 200
    by_gateway(acme, model)
    (row,) = usage(as_acme, group_by="model")
    assert (row["requests"], row["succeeded"], row["credits"]) == (2, 2, 0)


@pytest.mark.parametrize("rolled_up", [False, True])
def test_days_are_those_of_the_tenants_zone(as_acme: Api, acme: Tenant, painter: AIModel, rolled_up: bool) -> None:
    Tenant.objects.filter(id=acme.id).update(time_zone="America/New_York")
    late = charged_at(datetime(2026, 11, 1, 3, 59, 59, tzinfo=UTC), acme, painter, 15)  # 23:59:59 in daylight time
    charged_at(datetime(2026, 11, 1, 4, 0, 0, tzinfo=UTC), acme, painter, 30)
    refunded_at(datetime(2026, 11, 2, 4, 59, 59, tzinfo=UTC), late, 15)  # 23:59:59 in standard time
    if rolled_up:
        rollup.roll_up(late.account_id, zone_name="America/New_York")
    rows = usage(as_acme, from_="2026-10-31", to="2026-11-02")
    assert [(row["date"], row["credits"], row["refunded"]) for row in rows] == [("2026-10-31", 15, 0), ("2026-11-01", 30, 15)]
    assert usage(as_acme, from_="2026-11-02", to="2026-11-03") == []
    parts = [
        usage(as_acme, from_=since, to=until, group_by="")
        for since, until in (("2026-10-31", "2026-11-01T04:00:00Z"), ("2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"))
    ]
    assert [(row["credits"], row["refunded"]) for (row,) in parts] == [(15, 0), (30, 15)]


@pytest.mark.parametrize("steps", [1, 7, 1000])
def test_the_roll_ups_and_the_tail_together_are_the_ledger(
    as_acme: Api, acme: Tenant, painter: AIModel, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """However far the roll-ups have come, every grouping says what the ledger says."""
    give(acme, 10_000)
    account = Account.objects.get(tenant=acme, mode="live")
    started = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
    charges = []
    for number in range(40):
        at = started + timedelta(hours=5 * number)
        charges.append(charged_at(at, acme, painter, 15 * (number % 3 + 1)))
        if number % 4 == 3:
            refunded_at(at, charges[number // 2], charges[number // 2].credits)
    for _number in range(3):
        for group_by in ("day", "model", "key", "day,model,key", ""):
            rows = usage(as_acme, from_="2026-11-01", to="2026-12-15", group_by=group_by)
            total = (sum(row["credits"] for row in rows), sum(row["refunded"] for row in rows))
            assert total == ledger_of(acme), group_by
            assert sum(row["requests"] for row in rows) == 40
        rollup.roll_up(account.id, zone_name=acme.time_zone, max_entries=steps)
    # A part of a day comes from the entries themselves.
    half = usage(as_acme, from_="2026-11-22T03:30:00Z", to="2026-11-25T20:00:00Z", group_by="")
    since, until = datetime(2026, 11, 22, 3, 30, tzinfo=UTC), datetime(2026, 11, 25, 20, tzinfo=UTC)
    assert half[0]["credits"] == sum(made.credits for made in charges if since <= made.created_at < until)
    monkeypatch.setattr(selectors, "MAX_TAIL", 0)
    assert usage(as_acme, from_="2026-11-01", to="2026-12-15", group_by="")[0]["requests"] == 40
    assert UsageProgress.objects.get().seq == account.entries.count()


def test_another_zone_makes_other_days(as_acme: Api, acme: Tenant, painter: AIModel) -> None:
    made = charged_at(datetime(2026, 11, 20, 17, 0, tzinfo=UTC), acme, painter, 15)
    rollup.roll_up(made.account_id, zone_name=acme.time_zone)
    assert UsageDay.objects.get().day == date(2026, 11, 21)
    Tenant.objects.filter(id=acme.id).update(time_zone="UTC")
    assert [row["date"] for row in usage(as_acme, from_="2026-11-19", to="2026-11-23")] == ["2026-11-20"]
    assert UsageDay.objects.get().day == date(2026, 11, 20)


def test_the_periodic_task_rolls_up_what_is_behind(acme: Tenant, painter: AIModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollup, "MIN_TAIL", 3)
    for _number in range(3):
        by_gateway(acme, painter)
    assert [rollup.roll_up_due(), rollup.roll_up_due()] == [1, 0]
    assert UsageDay.objects.get().requests == 3


@pytest.mark.parametrize(
    "query",
    [
        "from=yesterday",
        "from=2026-11-01T00:00:00",
        "from=2026-02-30",
        "from=2025-01-01&to=2026-11-01",
        "from=2026-11-02&to=2026-11-01",
        "group_by=week",
        "group_by=day,tenant",
        "from=0001-01-01",
        "to=0001-01-01",
        "to=9999-12-31",
        "from=9999-12-31",
        "from=2026-11-01&from=2026-11-02",
    ],
)
def test_a_question_that_cannot_be_answered(as_acme: Api, query: str) -> None:
    status, answer = as_acme.get(f"/v1/usage?{query}")
    assert (status, answer["error"]["code"]) == (400, "invalid_request")


def test_400_days_are_the_most(as_acme: Api) -> None:
    assert as_acme.get("/v1/usage?from=2025-10-26&to=2026-11-30")[0] == 200
    assert as_acme.get("/v1/usage?from=2025-10-25&to=2026-11-30")[0] == 400


def test_another_tenants_usage_is_its_own(as_acme: Api, birch: Tenant, painter: AIModel) -> None:
    give(birch, 100)
    by_gateway(birch, painter)
    assert usage(as_acme) == []
    assert [entry["type"] for entry in as_acme.get("/v1/entries")[1]["entries"]] == ["GIFT"]


# --- entries -------------------------------------------------------------------------------------------------------


def test_the_ledger_is_told_as_on_the_internal_api(as_acme: Api, acme: Tenant, painter: AIModel, internal: Internal) -> None:
    for _number in range(3):
        by_gateway(acme, painter)
    inside = internal.get(f"/internal/billing/entries?targetType=tenant&targetId={acme.id}&limit=2")
    outside = as_acme.get("/v1/entries?limit=2")
    assert outside == inside
    rest = as_acme.get(f"/v1/entries?cursor={outside[1]['nextCursor']}")[1]
    assert [entry["seq"] for entry in outside[1]["entries"] + rest["entries"]] == [4, 3, 2, 1]
    assert rest["nextCursor"] is None
    assert as_acme.get("/v1/entries?cursor=x")[0] == as_acme.get("/v1/entries?limit=501")[0] == 400


# --- prices --------------------------------------------------------------------------------------------------------

PRICED: list[tuple[str, dict[str, Any], list[dict[str, Any]], str]] = [
    ("PER_REQUEST", {"base_credits": 7}, [], "7 credits per request."),
    (
        "PER_IMAGE",
        {"base_credits": 15},
        [{"dimension": "resolution", "value": "2K", "credits": 31}],
        "31 credits per image at 2K.",
    ),
    ("PER_DURATION", {"base_credits": 3}, [], "3 credits per second."),
    ("DURATION_RESOLUTION", {}, [{"dimension": "resolution", "value": "720p", "credits": 9}], "9 credits per second at 720p."),
    (
        "DURATION_RESOLUTION",
        {},
        [{"dimension": "resolution", "value": "720p_5", "credits": 50}],
        "50 credits for up to 5 seconds at 720p.",
    ),
    (
        "PER_CHARACTER",
        {},
        [{"dimension": "character", "credits": 2, "unit_size": 100}],
        "2 credits per 100 characters, each begun unit in full.",
    ),
    ("DURATION_MODE", {}, [{"dimension": "mode", "value": "pro", "credits": 8}], "8 credits per second in mode pro."),
    (
        "DURATION_MODE",
        {"pricing_unit": "per_request"},
        [{"dimension": "mode", "value": "pro", "credits": 80}],
        "80 credits per request in mode pro.",
    ),
    (
        "OPERATION_MODE",
        {},
        [
            {"dimension": "operationType", "value": "upscale", "credits": 12},
            {"dimension": "mode", "value": "fast", "multiplier": "1.5"},
        ],
        "12 credits for the operation upscale.",
    ),
]


@pytest.mark.parametrize(("billing_type", "rule", "rows", "sentence"), PRICED)
def test_every_billing_type_tells_every_figure(
    as_acme: Api, billing_type: str, rule: dict[str, Any], rows: list[dict[str, Any]], sentence: str
) -> None:
    model = AIModel.objects.create(model_id="m", name="M", provider="sandbox", type="VIDEO_GENERATION")
    made = BillingRule.objects.create(name="m", model=model, billing_type=billing_type, **rule)
    for row in rows:
        BillingPrice.objects.create(rule=made, **row)
    (shown,) = as_acme.get("/v1/prices")[1]["data"]
    assert (shown["model"], shown["name"], shown["type"]) == ("m", "M", "VIDEO_GENERATION")
    assert shown["price"]["billingType"] == billing_type
    assert len(shown["price"]["prices"]) == len(rows)
    assert sentence in shown["explanation"]
    figures = Counter(str(value) for row in rows for name, value in row.items() if name in ("credits", "multiplier", "unit_size"))
    figures.update(str(value) for name, value in rule.items() if name == "base_credits")
    words = " ".join(shown["explanation"])
    assert all(figure in words for figure in figures), words


def test_prices_are_those_of_the_models_that_the_key_may_use(acme: Tenant, painter: AIModel, filmer: AIModel) -> None:
    _key, text = create_api_key(tenant=acme, allowed_models=["painter"], actor="test")
    data = Api(f"Bearer {text}").get("/v1/prices")[1]["data"]
    assert [model["model"] for model in data] == ["painter"]
    assert [model["id"] for model in Api(f"Bearer {text}").get("/v1/models")[1]["data"]] == ["painter"]
    Tenant.objects.filter(id=acme.id).update(enabled_models=["filmer"])
    assert Api(f"Bearer {text}").get("/v1/prices")[1]["data"] == []


def test_what_has_no_price_says_so(as_acme: Api, painter: AIModel, settings: Any) -> None:
    BillingRule.objects.all().delete()
    (shown,) = as_acme.get("/v1/prices")[1]["data"]
    assert (shown["price"], shown["explanation"]) == (None, ["This model has no price: it cannot be used."])
    settings.BILLING_DEFAULT_PRICES = True
    assert "20 credits per image" in as_acme.get("/v1/prices")[1]["data"][0]["explanation"][1]


# --- estimate ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "credits"),
    [
        ({"model": "painter", "prompt": "x", "n": 3, "size": "2048x2048"}, 90),
        ({"model": "painter", "n": 2}, 60),
        ({"model": "filmer", "prompt": "x", "seconds": "8", "size": "1280x720"}, 80),
        ({"model": "filmer", "prompt": "x"}, 40),
        ({"model": "filmer", "duration": 5, "aspect_ratio": "16:9"}, 50),
    ],
)
def test_an_estimate_is_what_the_request_takes(as_acme: Api, acme: Tenant, filmer: AIModel, body: Any, credits: int) -> None:
    image_model("painter", prices={"1K": 15, "2K": 30}, options={"defaultResolution": "2K", "resolutions": ["1K", "2K"]})
    status, answer = as_acme.post("/v1/estimate", body)
    assert (status, answer["credits"], answer["allowed"], answer["code"]) == (200, credits, True, None)
    assert answer["explanation"][-1] == f"Total: {credits} credits."
    assert Charge.objects.count() == Generation.objects.count() == 0
    assert Account.objects.get(tenant=acme, mode="live").last_seq == 1


def test_an_estimate_says_why_a_request_would_be_refused(acme: Tenant, birch: Tenant, painter: AIModel, filmer: AIModel) -> None:
    told = api_of_tenant(birch).post("/v1/estimate", {"model": "painter"})[1]
    assert (told["credits"], told["allowed"], told["code"]) == (15, False, "insufficient_credits")
    _key, text = create_api_key(tenant=acme, allowed_models=["filmer"], actor="test")
    assert Api(f"Bearer {text}").post("/v1/estimate", {"model": "painter"})[1]["code"] == "model_not_enabled"
    api = Api(f"Bearer {text}")
    assert api.post("/v1/estimate", {"model": "nobody"})[1]["error"]["code"] == "model_not_found"
    assert api.post("/v1/estimate", {"model": "painter", "n": 11})[0] == 400
    assert api.post("/v1/estimate", {})[0] == 400


# --- the forms of desktop clients ----------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["/v1", ""])
@pytest.mark.parametrize("dollars", ["0.01", "0.00075", "1.5"])
def test_limit_less_usage_is_the_balance(
    as_acme: Api, acme: Tenant, painter: AIModel, settings: Any, prefix: str, dollars: str
) -> None:
    from decimal import Decimal

    settings.CREDIT_USD = Decimal(dollars)
    made = by_gateway(acme, painter)
    for left, used in ((985, 15), (1000, 0)):
        subscription = as_acme.get(f"{prefix}/dashboard/billing/subscription")[1]
        total = as_acme.get(f"{prefix}/dashboard/billing/usage?start_date=2026-01-01&end_date=2026-01-02")[1]["total_usage"]
        grants = as_acme.get(f"{prefix}/dashboard/billing/credit_grants")[1]
        assert subscription["object"] == "billing_subscription"
        assert subscription["hard_limit_usd"] - total / 100 == pytest.approx(left * float(dollars), abs=1e-9)
        assert total == pytest.approx(used * float(dollars) * 100)
        assert grants["total_available"] == pytest.approx(left * float(dollars))
        assert grants["total_granted"] == pytest.approx(grants["total_available"] + grants["total_used"])
        if used:
            refund(charge_id=str(made.id), reason="late", actor="test")


@pytest.mark.parametrize("path", ["/api/usage/token", "/api/usage/token/"])
def test_token_usage_as_new_api_tells_it(as_acme: Api, acme: Tenant, painter: AIModel, path: str) -> None:
    by_gateway(acme, painter)
    status, answer = as_acme.get(path)
    data = answer["data"]
    assert (status, answer["code"], answer["message"], data["object"]) == (200, True, "ok", "token_usage")
    assert (data["total_available"], data["total_used"], data["total_granted"]) == (4_925_000, 75_000, 5_000_000)
    assert (data["unlimited_quota"], data["model_limits"], data["model_limits_enabled"], data["expires_at"]) == (
        False,
        {},
        False,
        0,
    )


@pytest.mark.parametrize(
    "path", ["/v1/balance", "/v1/usage", "/v1/keys", "/dashboard/billing/usage", "/api/usage/token", "/v1/generations"]
)
def test_nobody_without_a_key_is_told_anything(db: None, path: str) -> None:
    assert Api("Bearer wk_live_nonsense").get(path)[0] == 401


def test_the_key_that_a_charge_names_is_told(acme: Tenant, painter: AIModel, internal: Internal) -> None:
    key, text = create_api_key(tenant=acme, actor="test")
    body = {"targetType": "tenant", "targetId": str(acme.id), "modelId": "painter", "operation": "o", "apiKeyId": str(key.id)}
    assert internal.post("/internal/billing/charge", body, key=uuid.uuid4().hex)[0] == 200
    (row,) = usage(Api(f"Bearer {text}"), group_by="key")
    assert (row["key_id"], row["credits"]) == (str(ApiKey.objects.get().id), 15)


def test_kinds_that_are_no_use_do_not_count(as_acme: Api, acme: Tenant) -> None:
    from billing.services import adjust

    adjust(account_id=Account.objects.get(tenant=acme, mode="live").id, credits=-100, reason="x", actor="test")
    assert LedgerEntry.objects.filter(kind=Kind.ADMIN).exists()
    assert usage(as_acme) == []
    assert as_acme.get("/v1/dashboard/billing/usage")[1]["total_usage"] == 0
    video_model("unused")
