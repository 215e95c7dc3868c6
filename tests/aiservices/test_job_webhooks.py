"""Webhooks of jobs: a real receiver is told once of each ending, signed, and nothing is called that may not be."""

import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone
from pytest_httpserver import HTTPServer

from aiservices.generations import services as generations
from aiservices.generations.models import Generation, GenerationInput
from aiservices.generations.queue import jobs
from aiservices.generations.settlement.outcomes import apply_outcome
from aiservices.generations.webhooks import set_webhook
from billing.catalog.models import AIModel
from tenants.models import ApiKey, AuditEntry, Tenant, User
from tenants.services import create_api_key
from tenants.webhooks.delivery import deliver_due
from tenants.webhooks.models import OutboxAttempt, OutboxMessage
from tests.aiservices.jobs import work_off
from tests.callers import Api
from tests.live import LiveWaule
from tests.waiting import eventually

SECRET = "a-secret-of-the-receiver"
VIDEO = {"model": "filmer", "prompt": "a fox", "seconds": "1", "size": "128x128"}


@pytest.fixture
def thankful_receiver(httpserver: HTTPServer, settings: Any) -> Iterator[HTTPServer]:
    """A receiver on loopback, which an operator has allowed."""
    settings.OUTBOUND_ALLOW = ["127.0.0.0/8", "localhost"]
    httpserver.expect_request("/hook", method="POST").respond_with_data("thanks")
    return httpserver


def told(thankful_receiver: HTTPServer) -> list[dict[str, Any]]:
    return [json.loads(request.data) for request, _answer in thankful_receiver.log]


def is_signed(request: Any, secret: str) -> bool:
    timestamp, _comma, given = request.headers["X-Waule-Signature"].partition(",")
    signed = f"{timestamp.removeprefix('t=')}.".encode() + request.data
    return bool(given == "v1=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest())


def test_a_keys_webhook_is_told_once_of_a_video(as_acme: Api, filmer: AIModel, thankful_receiver: HTTPServer) -> None:
    status, hook = as_acme("PUT", "/v1/webhook", {"url": thankful_receiver.url_for("/hook")})
    assert (status, hook["url"], len(hook["secret"]) > 40) == (200, thankful_receiver.url_for("/hook"), True)
    assert as_acme.last["Cache-Control"] == "no-store"
    video = as_acme.post("/v1/videos", VIDEO)[1]["id"]
    assert deliver_due() == 0
    work_off()
    assert (deliver_due(), deliver_due()) == (1, 0)
    (event,) = told(thankful_receiver)
    assert (event["id"], event["type"]) == (video, "video.completed")
    assert event["data"] | {"createdAt": 0, "completedAt": 0, "requestId": ""} == {
        "id": video, "object": "video", "status": "completed", "model": "filmer", "creditsCharged": 10, "isFreeUsage": False,
        "error": None, "createdAt": 0, "completedAt": 0, "requestId": "",
    }  # fmt: skip
    request = thankful_receiver.log[0][0]
    assert request.headers["X-Waule-Message-Id"] == video
    assert is_signed(request, hook["secret"])
    shown = as_acme.get("/v1/webhook")[1]["secret"]
    assert shown == "…" + hook["secret"][-4:]
    assert hook["secret"] not in request.data.decode()


def test_an_ending_that_is_repeated_is_told_once(as_acme: Api, filmer: AIModel, thankful_receiver: HTTPServer) -> None:
    as_acme("PUT", "/v1/webhook", {"url": thankful_receiver.url_for("/hook")})
    video = as_acme.post("/v1/videos", VIDEO)[1]["id"]
    work_off()
    apply_outcome(Generation.objects.get(id=video))  # as who did not hear that it was committed
    deliver_due()
    assert len(told(thankful_receiver)) == 1


def test_a_webhook_named_with_a_job_goes_before_the_keys(as_acme: Api, filmer: AIModel, thankful_receiver: HTTPServer) -> None:
    key_secret = as_acme("PUT", "/v1/webhook", {"url": thankful_receiver.url_for("/other")})[1]["secret"]
    for more in ({}, {"webhook_secret": SECRET}):
        status, _video = as_acme.post("/v1/videos", VIDEO | {"webhook_url": thankful_receiver.url_for("/hook")} | more)
        assert status == 200
    work_off()
    assert GenerationInput.objects.count() == 0
    assert deliver_due() == 2
    first, second = sorted(
        (request for request, _answer in thankful_receiver.log), key=lambda request: not is_signed(request, key_secret)
    )
    assert is_signed(first, key_secret)
    assert is_signed(second, SECRET)


def test_a_users_job_is_told_too(as_alice: Api, filmer: AIModel, thankful_receiver: HTTPServer) -> None:
    body = {
        "modelId": "filmer",
        "prompt": "x",
        "duration": 1,
        "resolution": "128x128",
        "webhookUrl": thankful_receiver.url_for("/hook"),
    }
    status, refused = as_alice.post("/api/ai/video/generate", body)
    assert (status, list(refused["details"]["fields"])) == (400, ["webhookSecret"])
    _status, answer = as_alice.post("/api/ai/video/generate", body | {"webhookSecret": SECRET})
    as_alice.post(f"/api/ai/tasks/{answer['taskId']}/cancel")
    deliver_due()
    (event,) = told(thankful_receiver)
    assert (event["type"], event["data"]["id"], event["data"]["creditsCharged"]) == ("video.canceled", answer["taskId"], 0)
    assert event["data"]["error"]["code"] == "canceled"
    assert is_signed(thankful_receiver.log[0][0], SECRET)


def test_a_failure_is_told(as_acme: Api, filmer: AIModel, thankful_receiver: HTTPServer, settings: Any) -> None:
    settings.SANDBOX_FAILURE_RATE = 1.0
    as_acme("PUT", "/v1/webhook", {"url": thankful_receiver.url_for("/hook"), "secret": SECRET})
    as_acme.post("/v1/videos", VIDEO)
    work_off()
    deliver_due()
    (event,) = told(thankful_receiver)
    assert (event["type"], event["data"]["error"]["code"]) == ("video.failed", "upstream_error")


def test_what_nobody_knows_is_told_when_it_is_settled(as_acme: Api, filmer: AIModel, thankful_receiver: HTTPServer) -> None:
    as_acme.post("/v1/videos", VIDEO | {"webhook_url": thankful_receiver.url_for("/hook"), "webhook_secret": SECRET})
    job = jobs.Queue().claim()
    assert job is not None
    Generation.objects.update(route="sora", called_at=timezone.now())
    job.refresh_from_db()
    jobs.run(job)
    job.refresh_from_db()
    assert (job.state, OutboxMessage.objects.count()) == ("unknown", 0)
    generations.settle_unknown(generation=job, charge=True, reason="seen there", actor="test")
    deliver_due()
    assert [event["type"] for event in told(thankful_receiver)] == ["video.completed"]


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/",
        "http://127.0.0.1/hook",
        "http://2130706433/",
        "http://[::ffff:10.0.0.1]/",
        "http://100.100.100.200/latest",
        "http://user@example.com/",
        "nonsense",
        "http://example.com/" + "x" * 500,
    ],
)
def test_an_address_that_may_not_be_called_is_refused_at_once(url: str, as_acme: Api, as_alice: Api, filmer: AIModel) -> None:
    status, answer = as_acme("PUT", "/v1/webhook", {"url": url})
    assert (status, answer["error"]["param"]) == (400, "url")
    status, answer = as_acme.post("/v1/videos", VIDEO | {"webhook_url": url, "webhook_secret": SECRET})
    assert (status, answer["error"]["param"]) == (400, "webhook_url")
    body = {"modelId": "filmer", "prompt": "x", "duration": 1, "webhookUrl": url, "webhookSecret": SECRET}
    status, answer = as_alice.post("/api/ai/video/generate", body)
    assert (status, list(answer["details"]["fields"])) == (400, ["webhookUrl"])
    assert not Generation.objects.exists()
    assert not ApiKey.objects.exclude(webhook_url="").exists()


def test_an_address_is_judged_again_when_it_is_called(
    as_acme: Api, filmer: AIModel, thankful_receiver: HTTPServer, settings: Any
) -> None:
    as_acme("PUT", "/v1/webhook", {"url": thankful_receiver.url_for("/hook")})
    as_acme.post("/v1/videos", VIDEO)
    work_off()
    settings.OUTBOUND_ALLOW = []
    deliver_due()
    assert (told(thankful_receiver), OutboxAttempt.objects.get().problem) == ([], "not_reached")


def test_a_webhook_that_was_taken_away_is_not_called(as_acme: Api, filmer: AIModel, thankful_receiver: HTTPServer) -> None:
    as_acme("PUT", "/v1/webhook", {"url": thankful_receiver.url_for("/hook")})
    as_acme.post("/v1/videos", VIDEO)
    work_off()
    assert as_acme("DELETE", "/v1/webhook")[1] == {"object": "webhook", "url": None, "secret": None}
    deliver_due()
    assert (told(thankful_receiver), OutboxAttempt.objects.get().problem) == ([], "no_webhook")


def test_a_replay_names_the_same_webhook(as_acme: Api, filmer: AIModel, thankful_receiver: HTTPServer) -> None:
    body = VIDEO | {"webhook_url": thankful_receiver.url_for("/hook"), "webhook_secret": SECRET}
    first = as_acme.post("/v1/videos", body, key="once")[1]["id"]
    assert as_acme.post("/v1/videos", body, key="once")[1]["id"] == first
    assert as_acme.post("/v1/videos", body | {"webhook_url": thankful_receiver.url_for("/else")}, key="once")[0] == 422


def test_one_tenants_dead_receiver_holds_up_no_others(acme: Tenant, birch: Tenant, thankful_receiver: HTTPServer) -> None:
    for tenant, count, path in ((acme, 40, "/gone"), (birch, 1, "/hook")):
        key = create_api_key(tenant=tenant, actor="test")[0]
        set_webhook(key_id=str(key.id), url=thankful_receiver.url_for(path), actor="test")
        for _number in range(count):
            OutboxMessage.objects.create(tenant=tenant, api_key=key, kind="video.completed", payload={})
    from tenants.webhooks import outbox

    first = outbox.claim(limit=32, limit_each=8)
    assert [message.tenant_id for message in first].count(acme.id) == 8
    assert first[-1].tenant_id == birch.id


def test_staff_set_a_webhook(client: Any, root: User, acme: Tenant, thankful_receiver: HTTPServer) -> None:
    key = create_api_key(tenant=acme, actor="test")[0]
    client.force_login(root)
    address = reverse("admin:tenants_apikey_webhook", args=[key.id])
    assert address in client.get(reverse("admin:tenants_apikey_change", args=[key.id])).text
    refused = client.post(address, {"url": "http://10.0.0.1/"})
    assert "not public" in refused.text
    shown = client.post(address, {"url": thankful_receiver.url_for("/hook")})
    key.refresh_from_db()
    assert key.webhook_url == thankful_receiver.url_for("/hook")
    assert key.webhook_secret.reveal() in shown.text
    assert key.webhook_secret.reveal() not in client.get(address).text
    before = key.webhook_secret
    assert client.post(address, {"url": thankful_receiver.url_for("/elsewhere")}).status_code == 302
    key.refresh_from_db()
    assert (key.webhook_url, key.webhook_secret) == (thankful_receiver.url_for("/elsewhere"), before)
    assert AuditEntry.objects.filter(action="key.webhook").count() == 2


def test_a_key_that_succeeds_another_keeps_its_webhook(acme: Tenant, thankful_receiver: HTTPServer) -> None:
    old = create_api_key(tenant=acme, actor="test")[0]
    old, secret = set_webhook(key_id=str(old.id), url=thankful_receiver.url_for("/hook"), actor="test")
    new = create_api_key(tenant=acme, successor_of=old, actor="test")[0]
    new.refresh_from_db()
    assert (new.webhook_url, new.webhook_secret) == (old.webhook_url, secret)


def test_a_worker_tells_of_it(live_waule: LiveWaule, acme: Tenant, filmer: AIModel, thankful_receiver: HTTPServer) -> None:
    """The command sets it, a worker makes the video and sends the message."""

    live_waule.environ["OUTBOUND_ALLOW"] = "127.0.0.0/8"
    key, plaintext = create_api_key(tenant=acme, actor="test")
    url = f"http://127.0.0.1:{thankful_receiver.port}/hook"
    hook = live_waule.manage_json("set_webhook", str(key.id), url)
    assert (hook["url"], hook["secret"].startswith("whsec_")) == (url, True)
    answer = live_waule.post("/v1/videos", VIDEO, headers={"Authorization": f"Bearer {plaintext}"})
    live_waule.run("worker")
    eventually(lambda: thankful_receiver.log)
    assert told(thankful_receiver)[0]["id"] == answer.json()["id"]
    assert is_signed(thankful_receiver.log[0][0], hook["secret"])
