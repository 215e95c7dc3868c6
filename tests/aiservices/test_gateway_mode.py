"""AI_SERVICE_MODE=gateway: a gateway that really answers, fails, stalls, and calls back to charge."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.conf import settings

from aiservices.errors import TaskOver
from aiservices.generations import services as generations
from aiservices.generations.models import Generation
from billing.budgets.models import Budget
from billing.catalog.models import AIModel, BillingPrice, BillingRule, LevelConfig
from billing.ledger.models import Charge, Hold
from tenants.models import Mode, Tenant, User
from tenants.services import create_api_key
from tests.aiservices.conftest import usage
from tests.books import balance_and_held
from tests.callers import api_of_user, bearer
from tests.catalog import image_model, video_model
from tests.live import LiveWaule
from tests.upstreams.gateway import Gateway, a_picture
from tests.waiting import eventually

pytestmark = pytest.mark.once  # the database makes no difference

IMAGES = "/v1/images/generations"


@pytest.fixture
def headers(acme: Tenant) -> dict[str, str]:
    return bearer(acme)


@pytest.fixture
def local(live_waule: LiveWaule, live_gateway: Gateway) -> Gateway:
    live_waule.environ["GATEWAY_BILLING"] = "local"
    return live_gateway


def calling_back(waule: LiveWaule, gateway: Gateway, then: tuple[int, Any], **use: Any) -> Any:
    """An answer that charges first, as the gateway does. The status of the charge is in `answer.charged`."""

    def answer(headers: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
        tenant = headers.get("X-Tenant-Id")
        target = {"targetType": "tenant" if tenant else "user", "targetId": tenant or headers["X-User-Id"]}
        charged = {"modelId": body["model"], "operation": "image", "quantity": body.get("n", 1)} | use
        answer.charged = waule.internal("POST", "/internal/billing/charge", target | charged, key=headers["Idempotency-Key"])  # type: ignore[attr-defined]
        return then

    return answer


# --- the gateway charges -------------------------------------------------------------------------------------------


def test_the_gateway_charges_and_its_picture_is_kept_here(
    live_waule: LiveWaule, live_gateway: Gateway, acme: Tenant, banana: AIModel, headers: dict[str, str]
) -> None:
    live_gateway.answer = calling_back(live_waule, live_gateway, live_gateway.pictures("/picture"))
    answer = live_waule.post(IMAGES, {"model": "banana", "prompt": "x", "size": "1K"}, headers=headers)
    assert (answer.status_code, answer.json()["usage"]) == (200, usage(15))
    sent_headers, sent = live_gateway.asked[0]
    row = Generation.objects.get()
    assert sent == {"model": "banana", "prompt": "x", "size": "1:1", "image_size": "1K", "n": 1}
    assert sent_headers["Idempotency-Key"] == str(row.id)
    assert sent_headers["X-Tenant-Id"] == str(acme.pk)
    assert live_waule.session.get(answer.json()["data"][0]["url"]).content == a_picture()
    assert (row.charge, row.hold, balance_and_held(acme)) == (Charge.objects.get(), None, (985, 0))


def test_the_gateway_s_charge_counts_against_the_budget_of_the_key_that_asked(
    live_waule: LiveWaule, live_gateway: Gateway, acme: Tenant, banana: AIModel
) -> None:
    key, plaintext = create_api_key(tenant=acme, mode=Mode.LIVE, actor="test")
    live_gateway.answer = calling_back(live_waule, live_gateway, live_gateway.pictures("/picture"))
    Budget.objects.create(tenant=acme, api_key=key, period="day", limit_credits=20)
    headers, picture = {"Authorization": f"Bearer {plaintext}"}, {"model": "banana", "prompt": "x"}
    assert [live_waule.post(IMAGES, picture, headers=headers).status_code for _ in range(2)] == [200, 429]
    assert Charge.objects.get().api_key == key


def test_a_charge_that_names_no_duration_costs_what_was_asked_for(
    live_waule: LiveWaule, live_gateway: Gateway, acme: Tenant, headers: dict[str, str]
) -> None:
    """A chat completion carries neither duration nor resolution: the gateway cannot name them."""
    film = AIModel.objects.create(
        model_id="film",
        name="Film",
        provider="vidu",
        type="VIDEO_GENERATION",
        options={"durations": [10], "resolutions": ["720p"]},
    )
    rule = BillingRule.objects.create(name="film", model=film, billing_type="DURATION_RESOLUTION", base_credits=0)
    BillingPrice.objects.create(rule=rule, dimension="resolution", value="720p_10", credits=100)
    live_gateway.answer = calling_back(live_waule, live_gateway, (400, {"error": "enough seen"}), operation="video")
    live_waule.post("/v1/videos", {"model": "film", "prompt": "x"}, headers=headers)
    worker = live_waule.run("worker")
    eventually(lambda: live_gateway.asked)
    worker.stop()
    status, charged = live_gateway.answer.charged  # type: ignore[attr-defined]
    assert (status, charged["creditsCharged"], charged["usageRecord"]["duration"]) == (200, 100, 10)


def test_a_user_s_own_generation_does_not_count_against_its_limit(
    live_waule: LiveWaule, live_gateway: Gateway, vera: User, banana: AIModel
) -> None:
    LevelConfig.objects.create(level="VIP", max_concurrency=1)
    live_gateway.answer = calling_back(live_waule, live_gateway, live_gateway.pictures("/picture"))
    headers = {"Authorization": api_of_user(vera).authorization}
    answer = live_waule.post("/api/ai/image/generate", {"modelId": "banana", "prompt": "x"}, headers=headers)
    assert (answer.status_code, answer.json()["creditsCharged"]) == (200, 15)


def test_what_the_gateway_charged_for_a_failure_is_refunded(
    live_waule: LiveWaule, live_gateway: Gateway, acme: Tenant, banana: AIModel, headers: dict[str, str]
) -> None:
    live_gateway.answer = calling_back(live_waule, live_gateway, (400, {"error": "no"}))
    answer = live_waule.post(IMAGES, {"model": "banana", "prompt": "x"}, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_refused")
    assert (Charge.objects.get().state, balance_and_held(acme)) == ("refunded", (1000, 0))


def test_a_charge_that_comes_after_the_failure_is_refunded_at_once(
    live_waule: LiveWaule, live_gateway: Gateway, acme: Tenant, birch: Tenant, banana: AIModel, headers: dict[str, str]
) -> None:
    live_gateway.answer = lambda headers, body: (400, {"error": "no"})
    assert live_waule.post(IMAGES, {"model": "banana", "prompt": "x"}, headers=headers).status_code == 502
    key = str(Generation.objects.get().id)
    image_model("other")
    body = {"targetType": "tenant", "targetId": str(acme.pk), "modelId": "banana"}
    for wrong in ({"modelId": "other"}, {"targetId": str(birch.pk)}):
        status, rejection = live_waule.internal("POST", "/internal/billing/charge", body | wrong, key=key)
        assert (status, rejection["code"]) == (422, "idempotency_key_reused")
    status, charged = live_waule.internal("POST", "/internal/billing/charge", body, key=key)
    assert (status, charged["creditsCharged"], charged["balance"]) == (200, 15, 1000)
    assert (Charge.objects.get().state, balance_and_held(acme)) == ("refunded", (1000, 0))
    assert live_waule.manage("reconcile").returncode == 0


def test_a_picture_that_nobody_charged_is_delivered_and_flagged(
    live_waule: LiveWaule, live_gateway: Gateway, acme: Tenant, banana: AIModel, headers: dict[str, str]
) -> None:
    live_gateway.answer = lambda headers, body: live_gateway.pictures("/picture")
    answer = live_waule.post(IMAGES, {"model": "banana", "prompt": "x"}, headers=headers)
    assert (answer.status_code, answer.json()["usage"]) == (200, usage(0))
    assert "not_charged" in Generation.objects.get().flags


def test_who_cannot_pay_does_not_reach_the_gateway(
    live_waule: LiveWaule, live_gateway: Gateway, birch: Tenant, banana: AIModel
) -> None:
    key = create_api_key(tenant=birch, mode=Mode.LIVE, actor="test")[1]
    answer = live_waule.post(IMAGES, {"model": "banana", "prompt": "x"}, headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 402
    assert not live_gateway.asked
    assert not Generation.objects.exists()


def test_a_test_key_does_not_reach_the_gateway(
    live_waule: LiveWaule, live_gateway: Gateway, acme: Tenant, banana: AIModel
) -> None:
    key = create_api_key(tenant=acme, mode=Mode.TEST, actor="test")[1]
    answer = live_waule.post(IMAGES, {"model": "banana", "prompt": "x"}, headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 200
    assert not live_gateway.asked


# --- waule holds, then captures or releases ------------------------------------------------------------------------


def test_fewer_pictures_than_asked_are_charged_as_delivered(
    live_waule: LiveWaule, local: Gateway, acme: Tenant, banana: AIModel, headers: dict[str, str]
) -> None:
    local.answer = lambda headers, body: local.pictures("/picture1", "/moved", "/picture2")
    answer = live_waule.post(IMAGES, {"model": "banana", "prompt": "x", "n": 3}, headers=headers)
    assert (answer.status_code, len(answer.json()["data"]), answer.json()["usage"]) == (200, 2, usage(30))
    row = Generation.objects.get()
    assert {"unusable_url", "fewer_than_asked"} <= set(row.flags)
    assert balance_and_held(acme) == (970, 0)


@pytest.mark.parametrize(
    ("status", "body", "answered", "code"),
    [
        (400, {"error": "no"}, 502, "upstream_refused"),
        (401, {"error": "who"}, 502, "upstream_error"),
        (429, {"error": "slow down"}, 429, "rate_limited"),
        (400, {"error": {"message": "x", "type": "content_policy_violation"}}, 502, "content_refused"),
        (200, {"created": 1, "data": []}, 502, "upstream_error"),
    ],
)
def test_a_definite_failure_gives_back_and_frees_the_key(
    live_waule: LiveWaule,
    local: Gateway,
    acme: Tenant,
    banana: AIModel,
    headers: dict[str, str],
    status: int,
    body: Any,
    answered: int,
    code: str,
) -> None:
    local.answer = lambda headers, sent: (status, body)
    sent = {"model": "banana", "prompt": "x"}
    answer = live_waule.post(IMAGES, sent, headers=headers | {"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (answered, code)
    assert (Hold.objects.get().state, balance_and_held(acme)) == ("released", (1000, 0))
    local.answer = lambda headers, sent: local.pictures("/picture")
    assert live_waule.post(IMAGES, sent, headers=headers | {"Idempotency-Key": "k"}).status_code == 200


@pytest.mark.parametrize(
    ("status", "body", "answered", "code"),
    [
        (500, {"error": "broke"}, 502, "upstream_error"),
        (0, None, 502, "upstream_error"),
        (200, ["nothing that was promised"], 502, "upstream_error"),
        (-1, None, 504, "upstream_timeout"),
        (200, {"data": [{"url": "{gateway}/not-there"}]}, 502, "upstream_error"),
    ],
)
def test_an_unknown_outcome_keeps_the_hold_and_answers_its_error_again(
    live_waule: LiveWaule, local: Gateway, alice: User, banana: AIModel, status: int, body: Any, answered: int, code: str
) -> None:
    def answer(_headers: dict[str, str], _sent: dict[str, Any]) -> tuple[int, Any]:
        if status < 0:
            time.sleep(4)
        return max(0, status), json.loads(json.dumps(body).replace("{gateway}", local.url))

    local.answer = answer
    headers = {"Authorization": api_of_user(alice).authorization, "Idempotency-Key": "k"}
    answers = [live_waule.post("/api/ai/image/generate", {"modelId": "banana", "prompt": "x"}, headers=headers) for _ in range(2)]
    for answer_ in answers:
        assert (answer_.status_code, answer_.json()["code"]) == (answered, code)
        details = answer_.json()["details"]
        assert (details["state"], details["creditsHeld"]) == ("unknown", 15)
        assert details["taskId"] == str(Generation.objects.get().id)
    assert len(local.asked) == 1
    assert (Hold.objects.get().is_unknown, balance_and_held(alice)) == (True, (1000, 15))
    task = live_waule.get(f"/api/ai/tasks/{details['taskId']}", headers=headers).json()
    assert (task["status"], task["code"], task["creditsCharged"]) == ("unknown", code, 0)


@pytest.mark.parametrize("charge", [True, False])
def test_an_operator_settles_an_unknown_outcome(
    live_waule: LiveWaule, local: Gateway, alice: User, banana: AIModel, charge: bool
) -> None:
    local.answer = lambda headers, sent: (500, {})
    headers = {"Authorization": api_of_user(alice).authorization}
    live_waule.post("/api/ai/image/generate", {"modelId": "banana", "prompt": "x"}, headers=headers)
    settled = generations.settle_unknown(
        generation=Generation.objects.get(), charge=charge, reason="asked the provider", actor="test"
    )
    assert settled.state == ("succeeded" if charge else "failed")
    assert balance_and_held(alice) == ((985, 0) if charge else (1000, 0))
    with pytest.raises(TaskOver):
        generations.settle_unknown(generation=settled, charge=not charge, reason="again", actor="test")


def test_many_wait_for_the_gateway_and_nobody_waits_for_them(
    live_waule: LiveWaule, live_gateway: Gateway, acme: Tenant, banana: AIModel, headers: dict[str, str]
) -> None:
    finish = threading.Event()
    live_gateway.answer = lambda headers, body: (finish.wait(50), live_gateway.pictures("/picture"))[1]
    live_waule.environ |= {"UPSTREAM_READ_SECONDS": "60", "UPSTREAM_TOTAL_SECONDS": "60"}
    assert live_waule.url
    with ThreadPoolExecutor(41) as threads:
        waiting = [
            threads.submit(live_waule.post, IMAGES, {"model": "banana", "prompt": "x"}, headers=headers) for _ in range(40)
        ]
        eventually(lambda: len(live_gateway.asked) >= 40)
        path = f"/internal/billing/balance?targetType=tenant&targetId={acme.pk}"
        assert threads.submit(live_waule.internal, "GET", path).result()[0] == 200
        assert not any(answer.done() for answer in waiting)
        if live_waule.database.is_postgresql:  # they share what is lent at most, and hold no transaction open
            busy = "SELECT count(*) FILTER (WHERE state LIKE 'idle in%%'), count(*) FROM pg_stat_activity"
            open_, connected = live_waule.sql(f"{busy} WHERE datname = current_database() AND application_name = 'waule'")[0]
            assert (open_, connected <= settings.DATABASE_CONNECTIONS + 1) == (0, True)
        finish.set()
        assert {answer.result().status_code for answer in waiting} == {200}


def test_a_server_that_dies_while_the_gateway_works(live_waule: LiveWaule, local: Gateway, alice: User, banana: AIModel) -> None:
    live_waule.environ["JOB_LEASE_SECONDS"] = "3"
    local.answer = lambda headers, body: (time.sleep(1), local.pictures("/picture"))[1]
    headers = {"Authorization": api_of_user(alice).authorization, "Idempotency-Key": "k"}
    body = {"modelId": "banana", "prompt": "x"}
    assert live_waule.url
    with ThreadPoolExecutor(1) as threads:
        cut_off = threads.submit(live_waule.post, "/api/ai/image/generate", body, headers=headers)
        eventually(lambda: local.asked)
        live_waule.kill()
        assert cut_off.exception() is not None
    live_waule.restart()
    answer = live_waule.post("/api/ai/image/generate", body, headers=headers)
    assert (answer.status_code, answer.json()["details"]["state"]) == (502, "unknown")
    assert (len(local.asked), balance_and_held(alice)) == (1, (1000, 15))


def test_a_worker_that_dies_while_the_gateway_works(
    live_waule: LiveWaule, local: Gateway, acme: Tenant, headers: dict[str, str]
) -> None:
    video_model("vidu", provider="vidu")
    live_waule.environ["JOB_LEASE_SECONDS"] = "3"
    local.answer = lambda headers, body: (time.sleep(1), (500, {}))[1]
    video = live_waule.post("/v1/videos", {"model": "vidu", "prompt": "x"}, headers=headers).json()["id"]
    first = live_waule.run("worker")
    eventually(lambda: local.asked)
    first.kill()
    live_waule.run("worker")
    found = eventually(
        lambda: (told := live_waule.get(f"/v1/videos/{video}", headers=headers).json())["status"] == "failed" and told
    )
    assert found["error"]["code"] == "outcome_unknown"
    assert (len(local.asked), balance_and_held(acme)) == (1, (1000, 40))
    assert live_waule.request("DELETE", f"/v1/videos/{video}", headers=headers).status_code == 409
    generations.settle_unknown(generation=Generation.objects.get(id=video), charge=True, reason="it was made", actor="test")
    assert live_waule.get(f"/v1/videos/{video}", headers=headers).json()["status"] == "completed"
    assert balance_and_held(acme) == (960, 0)


def test_a_video_by_the_gateway(live_waule: LiveWaule, local: Gateway, acme: Tenant, headers: dict[str, str]) -> None:
    video_model("vidu", provider="vidu")
    local.answer = lambda headers, body: (400, {"error": "no"})
    body = {"model": "vidu", "prompt": "x", "duration": 8, "aspect_ratio": "16:9", "resolution": "720p"}
    live_waule.restart()  # its worker knows the port then
    live_waule.run("worker")
    answer = live_waule.post("/v1/videos/generations", body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_refused")
    assert local.asked[0][1] == body
    assert balance_and_held(acme) == (1000, 0)
