"""`/v1/generations`: a tenant's images and videos alike; and what of OpenAI's API is not there."""

import json
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from aiservices.generations.models import Generation, GenerationInput
from billing.catalog.models import AIModel
from billing.ledger.models import Charge
from billing.services import refund
from storage.models import StoredObject
from tenants.models import Tenant
from tests.aiservices.conftest import PIXEL
from tests.callers import Api, api_of_tenant
from tests.catalog import image_model
from tests.tenantapi.conftest import code_of

IMAGES, GENERATIONS = "/v1/images/generations", "/v1/generations"
PICTURE = {"model": "painter", "prompt": "a fox"}


def test_a_generation_as_it_is_told(as_acme: Api, painter: AIModel) -> None:
    assert as_acme.post(IMAGES, PICTURE)[0] == 200
    row = Generation.objects.get()
    refund(charge_id=str(row.charge_id), credits=5, reason="late", idempotency_key="r", actor="test")
    status, told = as_acme.get(f"{GENERATIONS}/{row.id}")
    (url,) = told.pop("urls")
    assert as_acme.client.get(url.partition("3000")[2]).status_code == 200
    assert (status, told) == (
        200,
        {
            "id": str(row.id),
            "object": "generation",
            "type": "image",
            "status": "succeeded",
            "model": "painter",
            "prompt": "a fox",
            "credits_charged": 15,
            "refunded": 5,
            "flags": [],
            "error": None,
            "created_at": int(row.created_at.timestamp()),
            "completed_at": int(row.completed_at.timestamp()),  # type: ignore[union-attr]
        },
    )


def test_pages_and_filters(as_acme: Api, acme: Tenant, painter: AIModel, filmer: AIModel, settings: Any) -> None:
    for number in range(3):
        as_acme.post(IMAGES, PICTURE)
        as_acme.post("/v1/videos", {"model": "filmer", "prompt": f"{number}"})
    settings.SANDBOX_FAILURE_RATE = 1
    assert as_acme.post(IMAGES, PICTURE)[0] == 502
    api_of_tenant(acme, "test").post(IMAGES, PICTURE)  # another account's
    shown: list[Any] = []
    after = ""
    while True:
        page = as_acme.get(f"{GENERATIONS}?limit=2{after}")[1]
        shown += page["data"]
        assert (page["first_id"], page["last_id"]) == (page["data"][0]["id"], page["data"][-1]["id"])
        if not page["has_more"]:
            break
        after = f"&after={page['last_id']}"
    assert [row["id"] for row in shown] == sorted((row["id"] for row in shown), reverse=True)
    assert [row["type"] for row in shown] == ["image"] + ["video", "image"] * 3
    assert (shown[0]["status"], shown[0]["error"]["code"]) == ("failed", "upstream_error")
    for query, count in (("type=video", 3), ("status=succeeded", 3), ("status=failed", 1), ("type=video&status=queued", 3)):
        assert len(as_acme.get(f"{GENERATIONS}?{query}")[1]["data"]) == count, query
    for query in ("type=audio", "status=new", "limit=0", "limit=101", "after=x"):
        assert code_of(as_acme.get(f"{GENERATIONS}?{query}")) == (400, "invalid_request")


def test_deleting_removes_files_prompt_and_inputs(as_acme: Api, acme: Tenant, painter: AIModel) -> None:
    assert as_acme.post(IMAGES, PICTURE | {"reference_images": [PIXEL], "negative_prompt": "secret words"}, key="k")[0] == 200
    row = Generation.objects.get()
    path = as_acme.get(f"{GENERATIONS}/{row.id}")[1]["urls"][0].partition("3000")[2]
    deleted = {"id": str(row.id), "object": "generation.deleted", "deleted": True}
    assert as_acme("DELETE", f"{GENERATIONS}/{row.id}") == (200, deleted)
    for answer in (as_acme.get(f"{GENERATIONS}/{row.id}"), as_acme("DELETE", f"{GENERATIONS}/{row.id}")):
        assert code_of(answer) == (404, "not_found")
    assert as_acme.get(GENERATIONS)[1]["data"] == []
    assert as_acme.client.get(path).status_code == 404
    kept = json.dumps(list(Generation.objects.values()), default=str)
    assert "a fox" not in kept and "secret words" not in kept and "data:image" not in kept
    assert (GenerationInput.objects.count(), StoredObject.objects.filter(released_at=None).count()) == (0, 0)
    assert Charge.objects.get().credits == 15
    assert as_acme.post(IMAGES, PICTURE, key="k")[0] == 200  # its key is free again
    assert Charge.objects.count() == 2


def test_what_has_not_ended_is_not_deleted(as_acme: Api, filmer: AIModel) -> None:
    video = as_acme.post("/v1/videos", {"model": "filmer", "prompt": "x"})[1]["id"]
    assert code_of(as_acme("DELETE", f"{GENERATIONS}/{video}")) == (409, "invalid_state")


def test_anothers_generation_is_404(as_acme: Api, acme: Tenant, birch: Tenant, painter: AIModel) -> None:
    as_acme.post(IMAGES, PICTURE)
    row = Generation.objects.get()
    for api in (api_of_tenant(birch), api_of_tenant(acme, "test")):
        assert code_of(api.get(f"{GENERATIONS}/{row.id}")) == (404, "not_found")
        assert code_of(api("DELETE", f"{GENERATIONS}/{row.id}")) == (404, "not_found")
        assert api.get(GENERATIONS)[1]["data"] == []
    assert Generation.objects.get().deleted_at is None


# --- edits and parameters, in this process -------------------------------------------------------------------------


def form(api: Api, **fields: Any) -> tuple[int, Any]:
    answer = api.client.post("/v1/images/edits", fields, headers={"Authorization": api.authorization})
    return answer.status_code, answer.json()


def file(name: str = "a.png") -> SimpleUploadedFile:
    import base64

    return SimpleUploadedFile(name, base64.b64decode(PIXEL.partition(",")[2]), "image/png")


def test_an_edit_by_form_and_by_json(as_acme: Api, painter: AIModel) -> None:
    given = {"model": "painter", "prompt": "x"}
    for field in ("image", "image[]"):
        status, answer = form(as_acme, **given, **{field: [file(), file()]}, n="2", output_compression="80", seed="7")
        assert (status, len(answer["data"]), answer["usage"]["credits_charged"]) == (200, 2, 30)
    for body in ({"reference_images": [PIXEL]}, {"images": [{"image_url": PIXEL}]}, {"image": PIXEL}):
        assert as_acme.post("/v1/images/edits", given | body)[0] == 200
    row = Generation.objects.order_by("id")[0]
    assert row.parameters["parameters"] == {"output_compression": 80, "seed": 7}
    for body in ({}, {"images": [{"file_id": "f"}]}, {"reference_images": [PIXEL] * 11}, {"image": "no"}):
        assert code_of(as_acme.post("/v1/images/edits", given | body)) == (400, "invalid_request")
    for fields in ({"image": "text"}, {"image": [file()] * 11}, {"image": file(), "n": "two"}, {"image": file(), "mask": "x"}):
        assert code_of(form(as_acme, **given, **fields)) == (400, "invalid_request")


def test_a_model_that_takes_no_image(as_acme: Api) -> None:
    image_model("blind", options={"maxReferenceImages": 0})
    for answer, param in (
        (form(as_acme, model="blind", prompt="x", image=file()), "image"),
        (as_acme.post("/v1/images/edits", {"model": "blind", "prompt": "x", "reference_images": [PIXEL]}), "reference_images"),
        (as_acme.post(IMAGES, {"model": "blind", "prompt": "x", "reference_images": [PIXEL]}), "reference_images"),
    ):
        assert (*code_of(answer), answer[1]["error"]["param"]) == (400, "unsupported_parameter", param)
    assert Charge.objects.count() == Generation.objects.count() == 0


@pytest.mark.parametrize(
    "parameters",
    [
        {"background": "auto"},
        {"output_format": "png"},
        {"moderation": "auto"},
        {"quality": "standard"},
        {"style": "vivid"},
        {"user": "u1"},
        {"output_compression": 100},
        {"size": "auto"},
        {"partial_images": 2},
        {"input_fidelity": "low"},
    ],
)
def test_anybodys_default_is_accepted_everywhere(as_acme: Api, painter: AIModel, parameters: dict[str, Any]) -> None:
    assert as_acme.post(IMAGES, PICTURE | parameters)[0] == 200


@pytest.mark.parametrize(
    "parameters",
    [
        {"background": "transparent"},
        {"output_format": "webp"},
        {"moderation": "low"},
        {"quality": "hd"},
        {"style": "natural"},
        {"seed": 5},
        {"negative_prompt": "cats"},
        {"output_compression": 50},
        {"input_fidelity": "high"},
    ],
)
def test_what_cannot_be_honoured_is_refused_before_anything_is_charged(as_acme: Api, parameters: dict[str, Any]) -> None:
    image_model("gemini-image", provider="gemini")
    status, answer = as_acme.post(IMAGES, {"model": "gemini-image", "prompt": "x"} | parameters)
    assert (status, answer["error"]["code"], answer["error"]["param"]) == (400, "unsupported_parameter", next(iter(parameters)))
    assert Charge.objects.count() == Generation.objects.count() == 0


@pytest.mark.parametrize(
    "path",
    [
        "images/variations",
        "videos/some-id/remix",
        "chat/completions",
        "completions",
        "responses",
        "embeddings",
        "moderations",
        "audio/speech",
        "audio/transcriptions",
        "audio/translations",
        "files",
        "uploads",
        "batches",
    ],
)
def test_what_is_not_there_says_what_is(as_acme: Api, path: str) -> None:
    for method in ("POST", "GET"):
        status, answer = as_acme(method, f"/v1/{path}", {} if method == "POST" else None)
        assert (status, answer["error"]["code"]) == (404, "not_supported")
        assert "/v1/" in answer["error"]["message"]


# --- CORS ----------------------------------------------------------------------------------------------------------


def preflight(api: Api, path: str, origin: str) -> Any:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,x-stainless-retry-count,idempotency-key",
    }
    return api.client.options(path, headers=headers)


def test_cors_is_for_the_origins_that_are_named(as_acme: Api, settings: Any) -> None:
    assert "Access-Control-Allow-Origin" not in preflight(as_acme, IMAGES, "https://app.example.com")
    settings.CORS_ALLOWED_ORIGINS = ["https://app.example.com"]
    for path in (IMAGES, "/api/ai/tasks", "/api/usage/token", "/dashboard/billing/usage", "/v1/balance"):
        answer = preflight(as_acme, path, "https://app.example.com")
        assert (answer.status_code, answer["Access-Control-Allow-Origin"]) == (200, "https://app.example.com"), path
        assert "x-stainless-retry-count" in answer["Access-Control-Allow-Headers"]
        assert "Access-Control-Allow-Credentials" not in answer
        assert "Access-Control-Allow-Origin" not in preflight(as_acme, path, "https://evil.example.com")
    assert "Access-Control-Allow-Origin" not in preflight(as_acme, "/internal/models", "https://app.example.com")
    headers = {"Origin": "https://app.example.com", "Authorization": as_acme.authorization}
    told = as_acme.client.get("/v1/balance", headers=headers)
    assert (told.status_code, told["Access-Control-Allow-Origin"]) == (200, "https://app.example.com")
    assert "idempotent-replayed" in told["Access-Control-Expose-Headers"]
