"""One charge, whoever bills: the gateway that calls back, the one that does not, and the one that does so late or twice."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection

from aiservices.generations.models import Generation
from aiservices.generations.services import cancel, settle_unknown
from aiservices.generations.settlement import double_charges
from billing import services as ledger
from billing.catalog.models import AIModel, LevelConfig
from billing.ledger.models import Charge, Hold, LedgerEntry, Refund
from billing.monitoring import alerts
from billing.reconciliation.checks import reconcile
from tenants.models import Tenant, User
from tenants.webhooks.models import OutboxMessage
from tests.aiservices.conftest import usage
from tests.at_once import at_once
from tests.books import balance_and_held
from tests.callers import Api, Internal, api_of_user
from tests.catalog import image_model
from tests.live import Database
from tests.upstreams.gateway import Gateway

IMAGES = "/v1/images/generations"
CHARGE, BATCH = "/internal/billing/charge", "/internal/billing/charges/batch"
REFUSED = (400, {"error": {"message": "no", "type": "invalid_request"}})
Answer = tuple[int, Any]


@pytest.fixture
def banana_by_size(any_database: None) -> AIModel:
    """Images at 15 credits, 30 in 2K."""
    return image_model("banana", provider="gemini", prices={"2K": 30})


@pytest.fixture
def gateway(cloned_db: Database, settings: Any, banana_by_size: AIModel) -> Iterator[Gateway]:
    """A gateway of the test's own, to which this process sends."""
    made = Gateway()
    settings.AI_SERVICE_MODE, settings.WAULEAPI_URL, settings.GATEWAY_BILLING = "gateway", made.url, "auto"
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    settings.ALERT_WEBHOOK_URL = "http://127.0.0.1:9/hook"
    yield made
    made.stop()


def in_a_thread(call: Callable[[], Any]) -> Any:
    """In a thread of its own, as the gateway's callback comes: with a database connection of its own."""

    def run() -> Any:
        try:
            return call()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as threads:
        return threads.submit(run).result()


def charge(target: Tenant | User, key: str | None, **use: Any) -> Answer:
    """What the gateway's callback is answered."""
    kind = "tenant" if isinstance(target, Tenant) else "user"
    body = {"targetType": kind, "targetId": str(target.pk), "modelId": "banana", "operation": "image"} | use
    return in_a_thread(lambda: Internal().post(CHARGE, body, key=key))


class Callbacks(list[Answer]):
    """A gateway's answer that charges first; what the charges were answered."""

    def __init__(self, target: Tenant | User, then: Answer, *, times: int = 1, key: str | None = "ours", **use: Any) -> None:
        self.target, self.then, self.times, self.key, self.use = target, then, times, key, use

    def __call__(self, headers: dict[str, str], body: dict[str, Any]) -> Answer:
        key = headers["Idempotency-Key"] if self.key == "ours" else self.key
        self.extend(charge(self.target, key, **self.use) for _number in range(self.times))
        return self.then


def picture(api: Api, **more: Any) -> Answer:
    return api.post(IMAGES, {"model": "banana", "prompt": "x"} | more)


def raised(kind: str) -> list[dict[str, Any]]:
    return [message.payload for message in OutboxMessage.objects.filter(kind=f"alert.{kind}").order_by("created_at")]


def books_are_right() -> None:
    assert reconcile().problems == []


# --- auto ----------------------------------------------------------------------------------------------------------


def test_without_a_callback_waule_charges(gateway: Gateway, acme: Tenant, as_acme: Api) -> None:
    gateway.answer = lambda headers, body: gateway.pictures("/picture")
    status, answer = picture(as_acme)
    assert (status, answer["usage"]["credits_charged"], balance_and_held(acme)) == (200, 15, (985, 0))
    books_are_right()


def test_a_callback_captures_the_hold(gateway: Gateway, acme: Tenant, as_acme: Api) -> None:
    gateway.answer = calls = Callbacks(acme, gateway.pictures("/picture"), times=2, quantity=5, resolution="2K")
    status, answer = picture(as_acme)
    assert (status, answer["usage"]["credits_charged"], balance_and_held(acme)) == (200, 15, (985, 0))
    (first, made), (second, again) = calls
    assert (first, made["creditsCharged"], made["balance"], made["usageRecord"]["quantity"]) == (200, 15, 985, 1)
    assert (second, again["chargeId"]) == (200, made["chargeId"])
    assert (Charge.objects.count(), LedgerEntry.objects.filter(kind="CONSUME").count()) == (1, 1)
    assert str(Generation.objects.get().charge_id) == made["chargeId"]
    books_are_right()


def test_a_callback_after_our_capture_answers_that_charge(gateway: Gateway, acme: Tenant, as_acme: Api) -> None:
    gateway.answer = lambda headers, body: gateway.pictures("/picture")
    picture(as_acme)
    made = Generation.objects.get()
    status, answer = charge(acme, str(made.id), quantity=3)
    assert (status, answer["chargeId"], answer["creditsCharged"]) == (200, str(made.charge_id), 15)
    assert (balance_and_held(acme), Charge.objects.count()) == ((985, 0), 1)
    books_are_right()


def test_items_of_a_batch_capture_it_once(gateway: Gateway, acme: Tenant, as_acme: Api) -> None:
    results: list[Any] = []

    def answer(headers: dict[str, str], body: dict[str, Any]) -> Answer:
        item = {"targetType": "tenant", "targetId": str(acme.pk), "modelId": "banana"}
        items = [item | {"idempotencyKey": headers["Idempotency-Key"], "quantity": number} for number in (1, 2)]
        results.extend(in_a_thread(lambda: Internal().post(BATCH, {"charges": items}))[1]["results"])
        return gateway.pictures("/picture")

    gateway.answer = answer
    picture(as_acme)
    assert [(each["status"], each["creditsCharged"], each.get("replayed")) for each in results] == [
        (200, 15, None),
        (200, 15, True),
    ]
    assert (balance_and_held(acme), Charge.objects.count()) == ((985, 0), 1)
    books_are_right()


@pytest.mark.parametrize("calls_back", [True, False])
def test_a_failure_costs_nothing(gateway: Gateway, acme: Tenant, as_acme: Api, calls_back: bool) -> None:
    gateway.answer = Callbacks(acme, REFUSED, times=int(calls_back))
    assert picture(as_acme)[0] == 502
    assert (balance_and_held(acme), Refund.objects.count()) == ((1000, 0), int(calls_back))
    assert Hold.objects.get().state == ("captured" if calls_back else "released")
    books_are_right()


@pytest.mark.parametrize("left", [1000, 5, 0])
def test_a_callback_for_a_failure_is_recorded_and_refunded(gateway: Gateway, acme: Tenant, as_acme: Api, left: int) -> None:
    gateway.answer = lambda headers, body: REFUSED
    picture(as_acme)
    if spent := 1000 - left:
        image_model("dear", base=spent)
        charge(acme, None, modelId="dear")
    failed = Generation.objects.get()
    answers = [charge(acme, str(failed.id)) for _ in range(2)]
    assert [(status, answer["creditsCharged"], answer["balance"]) for status, answer in answers] == [
        (200, min(15, left), left)
    ] * 2
    assert answers[0][1]["chargeId"] == answers[1][1]["chargeId"]
    assert (balance_and_held(acme), Refund.objects.count()) == ((left, 0), 1)
    assert Charge.objects.get(id=answers[0][1]["chargeId"]).state == "refunded"
    books_are_right()


@pytest.mark.parametrize("state", ["running", "failed", "succeeded"])
def test_our_key_binds_the_charge_to_model_and_target(
    gateway: Gateway, acme: Tenant, birch: Tenant, alice: User, as_acme: Api, state: str
) -> None:
    image_model("other")
    mismatched = [(birch, "banana"), (alice, "banana"), (acme, "other")]
    seen: list[Answer] = []

    def try_all(key: str) -> None:
        seen.extend(charge(target, key, modelId=model) for target, model in mismatched)

    def answer(headers: dict[str, str], body: dict[str, Any]) -> Answer:
        if state == "running":
            try_all(headers["Idempotency-Key"])
        return REFUSED if state == "failed" else gateway.pictures("/picture")

    gateway.answer = answer
    picture(as_acme)
    if state != "running":
        try_all(str(Generation.objects.get().id))
    assert [(status, answer["code"]) for status, answer in seen] == [(422, "idempotency_key_reused")] * 3
    assert balance_and_held(acme) == ((1000, 0) if state == "failed" else (985, 0))
    books_are_right()


def test_a_charge_without_our_key_is_made_and_suspected(gateway: Gateway, acme: Tenant, as_acme: Api) -> None:
    gateway.answer = calls = Callbacks(acme, gateway.pictures("/picture"), key=None)
    assert picture(as_acme)[0] == 200
    assert balance_and_held(acme) == (970, 0)
    (alert,) = raised("double_charge_suspected")
    assert (alert["chargeId"], alert["generationId"]) == (calls[0][1]["chargeId"], str(Generation.objects.get().id))
    alerts.check()
    assert len(raised("double_charge_suspected")) == 1
    books_are_right()


def test_it_is_suspected_while_the_gateway_still_works(gateway: Gateway, acme: Tenant, as_acme: Api) -> None:
    found: list[int] = []

    def answer(headers: dict[str, str], body: dict[str, Any]) -> Answer:
        charge(acme, "a-key-of-the-gateway-s-own")
        found.extend(in_a_thread(double_charges.look_for_all) for _number in range(2))
        return gateway.pictures("/picture")

    gateway.answer = answer
    picture(as_acme)
    assert (found, len(raised("double_charge_suspected"))) == ([1, 0], 1)


@pytest.mark.parametrize("other", ["model", "target", "before", "generation"])
def test_other_charges_are_not_suspected(gateway: Gateway, acme: Tenant, birch: Tenant, as_acme: Api, other: str) -> None:
    image_model("other")
    use = {"model": (acme, {"modelId": "other"}), "target": (birch, {}), "before": (acme, {})}
    if other == "before":
        charge(acme, None)
    gateway.answer = lambda headers, body: (
        charge(use[other][0], None, **use[other][1]) if other in ("model", "target") else None,
        charge(acme, headers["Idempotency-Key"]) if other == "generation" else None,
        gateway.pictures("/picture"),
    )[-1]
    assert picture(as_acme)[0] == 200
    assert raised("double_charge_suspected") == []


def test_fewer_results_than_were_charged_are_refunded(gateway: Gateway, acme: Tenant, as_acme: Api) -> None:
    gateway.answer = Callbacks(acme, gateway.pictures("/picture1", "/picture2"))
    status, answer = picture(as_acme, n=3)
    assert (status, len(answer["data"]), answer["usage"]["credits_charged"], balance_and_held(acme)) == (200, 2, 30, (970, 0))
    assert "fewer_than_asked" in Generation.objects.get().flags
    books_are_right()


def test_an_unknown_outcome_that_was_charged_is_given_back_when_it_is_settled_so(
    gateway: Gateway, acme: Tenant, as_acme: Api
) -> None:
    gateway.answer = Callbacks(acme, (0, None))
    assert picture(as_acme)[0] == 502
    row = Generation.objects.get()
    assert (row.state, row.credits_charged, balance_and_held(acme)) == ("unknown", 15, (985, 0))
    settle_unknown(generation=row, charge=False, reason="asked them", actor="test")
    row.refresh_from_db()
    assert (row.state, row.credits_charged, balance_and_held(acme)) == ("failed", 0, (1000, 0))
    books_are_right()


def test_a_user_s_own_generation_does_not_count_against_its_limit(gateway: Gateway, vera: User, banana_by_size: AIModel) -> None:
    LevelConfig.objects.create(level="VIP", max_concurrency=1)
    gateway.answer = calls = Callbacks(vera, gateway.pictures("/picture"))
    status, answer = api_of_user(vera).post("/api/ai/image/generate", {"modelId": "banana", "prompt": "x"})
    assert (status, answer["creditsCharged"], calls[0][0], balance_and_held(vera)) == (200, 15, 200, (985, 0))


# --- local and callback --------------------------------------------------------------------------------------------


def test_local_answers_nothing_yet_and_then_its_own_charge(gateway: Gateway, acme: Tenant, as_acme: Api, settings: Any) -> None:
    settings.GATEWAY_BILLING = "local"
    gateway.answer = calls = Callbacks(acme, gateway.pictures("/picture"))
    assert picture(as_acme)[0] == 200
    status, answer = calls[0]
    assert (status, answer["creditsCharged"], answer["chargeId"], answer["balance"]) == (200, 0, None, 985)
    row = Generation.objects.get()
    status, answer = charge(acme, str(row.id))
    assert (status, answer["creditsCharged"], answer["chargeId"]) == (200, 15, str(row.charge_id))
    assert (balance_and_held(acme), Charge.objects.count()) == ((985, 0), 1)
    books_are_right()


def test_local_says_nothing_of_a_failure(gateway: Gateway, acme: Tenant, as_acme: Api, settings: Any) -> None:
    settings.GATEWAY_BILLING = "local"
    gateway.answer = lambda headers, body: REFUSED
    picture(as_acme)
    status, answer = charge(acme, str(Generation.objects.get().id))
    assert (status, answer["creditsCharged"], Charge.objects.count(), balance_and_held(acme)) == (200, 0, 0, (1000, 0))


def test_callback_alone_charges_and_the_first_gift_is_told(gateway: Gateway, acme: Tenant, as_acme: Api, settings: Any) -> None:
    settings.GATEWAY_BILLING = "callback"
    gateway.answer = Callbacks(acme, gateway.pictures("/picture"), quantity=2)
    assert (picture(as_acme)[1]["usage"]["credits_charged"], balance_and_held(acme)) == (30, (970, 0))
    assert raised("not_charged") == []
    gateway.answer = lambda headers, body: gateway.pictures("/picture")
    for _number in range(2):
        status, answer = picture(as_acme)
        assert (status, answer["usage"]["credits_charged"]) == (200, 0)
    rows = Generation.objects.filter(flags__icontains="not_charged").order_by("id")
    assert [alert["generationId"] for alert in raised("not_charged")] == [str(rows[0].id)]
    assert (rows.count(), balance_and_held(acme)) == (2, (970, 0))
    books_are_right()


# --- races ---------------------------------------------------------------------------------------------------------


def asked_and_held(acme: Tenant, gateway: Gateway, api: Api) -> Generation:
    """A generation whose outcome is unknown, its hold open: as one that is with the gateway is for the ledger."""
    gateway.answer = lambda headers, body: (0, None)
    picture(api)
    return Generation.objects.get()


def post_charge(acme: Tenant, key: str) -> Answer:
    body = {"targetType": "tenant", "targetId": str(acme.pk), "modelId": "banana"}
    return Internal().post(CHARGE, body, key=key)


def test_20_callbacks_at_once_charge_once(gateway: Gateway, acme: Tenant, as_acme: Api) -> None:
    held = asked_and_held(acme, gateway, as_acme)
    answers = at_once(20, lambda _n: post_charge(acme, str(held.id)))
    assert Counter((status, answer["creditsCharged"], answer["balance"]) for status, answer in answers) == {(200, 15, 985): 20}
    assert (Charge.objects.count(), balance_and_held(acme)) == (1, (985, 0))
    books_are_right()


@pytest.mark.parametrize("charge_it", [True, False])
@pytest.mark.parametrize("mode", ["auto", "local"])
def test_callbacks_against_our_own_end(
    gateway: Gateway, acme: Tenant, as_acme: Api, settings: Any, charge_it: bool, mode: str
) -> None:
    settings.GATEWAY_BILLING = mode
    held = asked_and_held(acme, gateway, as_acme)

    def call(number: int) -> Any:
        if number == 3:
            return settle_unknown(generation=held, charge=charge_it, reason="seen", actor="test")
        return post_charge(acme, str(held.id))

    answers = at_once(8, call)
    assert {answer[0] for number, answer in enumerate(answers) if number != 3} == {200}
    assert balance_and_held(acme) == ((985, 0) if charge_it else (1000, 0))
    assert Charge.objects.count() <= 1
    books_are_right()


def test_callbacks_against_a_cancellation(gateway: Gateway, acme: Tenant, as_acme: Api) -> None:
    """Whichever comes first: the charge is there and refunded, or the hold was released."""
    seen: list[Any] = []

    def answer(headers: dict[str, str], body: dict[str, Any]) -> Answer:
        row = Generation.objects.get()
        calls = [lambda: cancel(generation=row), *[lambda: post_charge(acme, headers["Idempotency-Key"])] * 5]
        seen.extend(at_once(6, lambda number: calls[number]()))
        return gateway.pictures("/picture")

    gateway.answer = lambda headers, body: in_a_thread(lambda: answer(headers, body))
    picture(as_acme)
    assert [given[0] for given in seen[1:]] == [200] * 5
    assert (Generation.objects.get().state, balance_and_held(acme), Charge.objects.count()) == ("canceled", (1000, 0), 1)
    books_are_right()


def test_a_hold_that_was_released_by_hand_is_charged_as_asked(gateway: Gateway, acme: Tenant, as_acme: Api) -> None:
    def answer(headers: dict[str, str], body: dict[str, Any]) -> Answer:
        in_a_thread(lambda: ledger.release(hold_id=str(Hold.objects.get().id), actor="operator"))
        charge(acme, headers["Idempotency-Key"])
        return gateway.pictures("/picture")

    gateway.answer = answer
    assert picture(as_acme)[1]["usage"] == usage(15)
    assert (balance_and_held(acme), Charge.objects.count()) == ((985, 0), 1)
    books_are_right()
