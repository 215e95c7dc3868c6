"""`/api/ai/video/generate`, `/api/ai/tasks` and `/api/ai/models`."""

from typing import Any

import pytest
from django.utils import timezone

from aiservices.generations.models import Generation
from aiservices.generations.queue import jobs
from billing.catalog.models import AIModel, BillingRule
from billing.ledger.models import Hold
from tenants.models import User
from tests.aiservices.conftest import PIXEL
from tests.aiservices.jobs import work_off
from tests.books import balance_and_held
from tests.callers import Api, api_of_user
from tests.catalog import image_model, video_model

VIDEO = "/api/ai/video/generate"


def test_a_video_is_queued_held_for_and_made(as_alice: Api, alice: User, filmer: AIModel) -> None:
    body = {"modelId": "filmer", "prompt": "x", "duration": 1.5, "ratio": "9:16", "referenceImages": [PIXEL]}
    status, answer = as_alice.post(VIDEO, body, key="k")
    assert (status, answer["status"], answer["creditsHeld"], balance_and_held(alice)) == (202, "queued", 15, (1000, 15))
    task = as_alice.get(f"/api/ai/tasks/{answer['taskId']}")[1]
    assert (task["status"], task["progress"], task["url"], task["creditsHeld"]) == ("queued", 0, None, 15)
    work_off()
    task = as_alice.get(f"/api/ai/tasks/{answer['taskId']}")[1]
    assert (task["status"], task["progress"], task["creditsCharged"]) == ("succeeded", 100, 15)
    assert task["urls"] == [task["url"]]
    assert as_alice.client.get(task["url"].removeprefix("http://127.0.0.1:3000"))["Content-Type"] == "video/mp4"
    assert Generation.objects.get(input__isnull=True).outputs != []
    assert as_alice.post(VIDEO, body, key="k") == (202, answer)
    assert as_alice.last["Idempotent-Replayed"] == "true"
    assert balance_and_held(alice) == (985, 0)


def test_a_task_shows_its_flags(as_alice: Api, filmer: AIModel) -> None:
    task = as_alice.post(VIDEO, {"modelId": "filmer", "prompt": "x", "duration": 1})[1]["taskId"]
    assert as_alice.get(f"/api/ai/tasks/{task}")[1]["flags"] == []
    Generation.objects.update(flags=["fewer_than_asked"])
    assert as_alice.get(f"/api/ai/tasks/{task}")[1]["flags"] == ["fewer_than_asked"]
    assert as_alice.get("/api/ai/tasks")[1]["tasks"][0]["flags"] == ["fewer_than_asked"]


def test_a_video_that_failed_says_why_and_frees_its_key(as_alice: Api, alice: User, filmer: AIModel, settings: Any) -> None:
    settings.SANDBOX_FAILURE_RATE = 1
    body = {"modelId": "filmer", "prompt": "x", "duration": 1}
    first = as_alice.post(VIDEO, body, key="k")[1]["taskId"]
    work_off()
    task = as_alice.get(f"/api/ai/tasks/{first}")[1]
    assert (task["status"], task["code"], task["creditsCharged"]) == ("failed", "upstream_error", 0)
    assert "SANDBOX_FAILURE_RATE" in task["error"]
    assert balance_and_held(alice) == (1000, 0)
    assert as_alice.post(VIDEO, body, key="k")[1]["taskId"] != first


def test_without_a_duration_a_price_by_the_second_cannot_be_told(as_alice: Api, filmer: AIModel) -> None:
    status, answer = as_alice.post(VIDEO, {"modelId": "filmer", "prompt": "x"})
    assert (status, answer["code"]) == (422, "missing_dimension")
    assert not Generation.objects.exists()


@pytest.mark.parametrize("options", [{"durations": [6, 12]}, {"defaultDuration": 6, "durations": [3]}, {"durations": ["6"]}])
def test_the_models_options_say_the_duration(as_alice: Api, options: dict[str, Any]) -> None:
    video_model("optional", options=options)
    assert as_alice.post(VIDEO, {"modelId": "optional", "prompt": "x"})[1]["creditsHeld"] == 60
    assert Generation.objects.get().parameters["duration"] == "6"


def test_a_queued_video_can_be_canceled_once(as_alice: Api, alice: User, filmer: AIModel) -> None:
    task_id = as_alice.post(VIDEO, {"modelId": "filmer", "prompt": "x", "duration": 5})[1]["taskId"]
    status, answer = as_alice.post(f"/api/ai/tasks/{task_id}/cancel")
    assert (status, answer["status"], balance_and_held(alice), Hold.objects.get().state) == (
        200,
        "canceled",
        (1000, 0),
        "released",
    )
    status, answer = as_alice.post(f"/api/ai/tasks/{task_id}/cancel")
    assert (status, answer["code"], answer["details"]["state"]) == (409, "invalid_state", "canceled")
    work_off()
    assert as_alice.get(f"/api/ai/tasks/{task_id}")[1]["status"] == "canceled"


def test_a_task_is_its_owners_alone(as_alice: Api, vera: User, filmer: AIModel) -> None:
    task_id = as_alice.post(VIDEO, {"modelId": "filmer", "prompt": "x", "duration": 5})[1]["taskId"]
    other = api_of_user(vera)
    for method, path in (("GET", f"/api/ai/tasks/{task_id}"), ("POST", f"/api/ai/tasks/{task_id}/cancel")):
        assert other(method, path)[0] == 404
    assert other.get("/api/ai/tasks")[1] == {"tasks": [], "nextCursor": None}
    for nobody in ("nonsense", "0198c0de-0000-7000-8000-000000000001"):
        assert as_alice.get(f"/api/ai/tasks/{nobody}")[0] == 404


def test_tasks_are_listed_newest_first_page_by_page(as_alice: Api, filmer: AIModel) -> None:
    def make() -> str:
        return str(as_alice.post(VIDEO, {"modelId": "filmer", "prompt": "x", "duration": 1})[1]["taskId"])

    ids = [make() for _ in range(5)]
    status, page = as_alice.get("/api/ai/tasks?limit=2")
    assert (status, [task["id"] for task in page["tasks"]]) == (200, ids[:-3:-1])
    make()  # what comes later moves no page
    page = as_alice.get(f"/api/ai/tasks?limit=3&cursor={page['nextCursor']}")[1]
    assert ([task["id"] for task in page["tasks"]], page["nextCursor"]) == (ids[2::-1], None)
    for bad in ("cursor=nonsense", "limit=0", "limit=101", "limit=x", "type=poem"):
        assert as_alice.get(f"/api/ai/tasks?{bad}")[0] == 400


def test_models_are_shown_with_their_price_and_without_any_secret(as_alice: Api) -> None:
    options = {"ratios": ["1:1"], "apiKey": "sk-1", "base": "https://upstream.example.com", "defaultResolution": "2K"}
    shown = image_model("shown", options=options, prices={"2K": 30})
    image_model("off", is_active=False)
    status, answer = as_alice.get("/api/ai/models")
    assert status == 200
    (model,) = answer["models"]
    assert (model["id"], model["modelId"], model["options"]) == (
        str(shown.id),
        "shown",
        {"ratios": ["1:1"], "defaultResolution": "2K"},
    )
    assert (model["price"]["billingType"], model["credits"]) == ("PER_IMAGE", 30)
    assert model["explanation"]
    assert "sk-1" not in as_alice.last.content.decode()
    assert as_alice.get("/api/ai/models/shown")[1] == model
    assert as_alice.get("/api/ai/models/off")[0] == 404
    BillingRule.objects.get(model=shown).delete()
    assert as_alice.get("/api/ai/models/shown")[1]["price"] is None


def test_a_job_past_its_deadline_was_not_made(as_alice: Api, alice: User, filmer: AIModel, settings: Any) -> None:
    settings.SANDBOX_DELAY_SECONDS, settings.VIDEO_JOB_SECONDS = 30, 1
    task_id = as_alice.post(VIDEO, {"modelId": "filmer", "prompt": "x", "duration": 5})[1]["taskId"]
    work_off()
    task = as_alice.get(f"/api/ai/tasks/{task_id}")[1]
    assert (task["status"], task["code"], balance_and_held(alice)) == ("failed", "upstream_timeout", (1000, 0))


def test_what_is_handed_over_while_it_is_made_goes_on_elsewhere(
    as_alice: Api, alice: User, filmer: AIModel, settings: Any
) -> None:
    task_id = as_alice.post(VIDEO, {"modelId": "filmer", "prompt": "x", "duration": 5})[1]["taskId"]
    job = jobs.Queue().claim()
    assert job is not None
    jobs.under_way.begin(job)
    assert not jobs.under_way.drain()
    assert as_alice.get(f"/api/ai/tasks/{task_id}")[1]["status"] == "queued"
    jobs.run(job)  # its thread finds out
    assert as_alice.get(f"/api/ai/tasks/{task_id}")[1]["status"] == "queued"
    work_off()
    assert as_alice.get(f"/api/ai/tasks/{task_id}")[1]["status"] == "succeeded"
    assert (Generation.objects.get().crash_count, balance_and_held(alice)) == (0, (950, 0))


def test_what_cannot_be_resumed_is_waited_for_and_then_let_go(as_alice: Api, filmer: AIModel) -> None:
    as_alice.post(VIDEO, {"modelId": "filmer", "prompt": "x", "duration": 5})
    job = jobs.Queue().claim()
    assert job is not None
    Generation.objects.update(route="sora", called_at=timezone.now())
    job.refresh_from_db()
    jobs.under_way.begin(job)
    assert jobs.under_way.drain()
    jobs.under_way.let_go()
    jobs.under_way.end(job)
    work_off()
    assert Generation.objects.get().state == "unknown"
