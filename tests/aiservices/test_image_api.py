"""`POST /api/ai/image/generate` and `POST /v1/images/generations`, drawn by the sandbox."""

import base64
import io
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import connections
from django.utils import timezone
from PIL import Image

from aiservices.generations.leases import heartbeat
from aiservices.generations.models import Generation
from billing.catalog.models import AIModel
from billing.ledger.models import Account, Charge, Hold, LedgerEntry
from storage.models import StorageUsage
from tenants.models import Tenant, User
from tests.aiservices.conftest import PIXEL, usage
from tests.books import balance_and_held
from tests.callers import Api, api_of_tenant, api_of_user
from tests.catalog import image_model, video_model
from tests.waiting import eventually

PLATFORM = "/api/ai/image/generate"
OPENAI = "/v1/images/generations"


def opened(api: Api, url: str) -> Image.Image:
    """The picture behind a URL, as anybody without a key gets it."""
    response = api.client.get(urlsplit(url).path)
    assert response.status_code == 200
    return Image.open(io.BytesIO(b"".join(response.streaming_content)))


def test_a_user_gets_a_picture_and_pays_for_it(as_alice: Api, alice: User, painter: AIModel) -> None:
    status, answer = as_alice.post(PLATFORM, {"modelId": "painter", "prompt": "一只狐狸", "ratio": "16:9"})
    assert (status, answer["creditsCharged"], answer["isFreeUsage"]) == (200, 15, False)
    assert answer["url"].startswith(f"http://127.0.0.1:3000/media/users/{alice.pk}/")
    assert opened(as_alice, answer["url"]).size == (1365, 768)
    assert balance_and_held(alice) == (985, 0)
    row = Generation.objects.get(id=answer["taskId"])
    assert (row.state, row.charge.credits, row.hold.state) == ("succeeded", 15, Hold.State.CAPTURED)
    entry = LedgerEntry.objects.get(charge=row.charge)
    assert (entry.amount, entry.description) == (-15, "image_generation")


def test_a_tenant_gets_pictures_and_their_bytes_count(as_acme: Api, acme: Tenant, painter: AIModel, media_root: Path) -> None:
    body = {"model": "painter", "prompt": "a fox", "n": 2, "size": "512x512", "response_format": "b64_json"}
    status, answer = as_acme.post(OPENAI, body)
    assert (status, answer["usage"]) == (200, usage(60))  # 512x512 is below 2K, the lowest tier
    pictures = [base64.b64decode(item["b64_json"]) for item in answer["data"]]
    assert [Image.open(io.BytesIO(picture)).size for picture in pictures] == [(512, 512)] * 2
    assert pictures[0] != pictures[1]
    files = (media_root / "tenants" / str(acme.pk)).rglob("*.png")
    assert StorageUsage.objects.get(tenant=acme).used_bytes == sum(path.stat().st_size for path in files)
    assert balance_and_held(acme) == (940, 0)


def test_the_same_request_draws_the_same_picture(as_acme: Api, painter: AIModel) -> None:
    body = {"model": "painter", "prompt": "a fox", "response_format": "b64_json"}
    assert as_acme.post(OPENAI, body)[1]["data"] == as_acme.post(OPENAI, body)[1]["data"]


def test_a_test_key_draws_any_model_and_spends_test_credits(acme: Tenant) -> None:
    image_model("doubao-image", provider="doubao")
    api = api_of_tenant(acme, "test")
    assert api.post(OPENAI, {"model": "doubao-image", "prompt": "x"})[0] == 200
    assert balance_and_held(acme) == (1000, 0)
    assert balance_and_held(acme, "test") == (999_985, 0)


def test_a_model_that_only_a_gateway_reaches_is_not_configured_in_direct_mode(as_acme: Api, acme: Tenant, birch: Tenant) -> None:
    image_model("doubao-image", provider="doubao")
    status, answer = as_acme.post(OPENAI, {"model": "doubao-image", "prompt": "x"})
    assert (status, answer["error"]["code"]) == (503, "not_configured")
    assert "AI_SERVICE_MODE=gateway" in answer["error"]["message"]
    assert balance_and_held(acme) == (1000, 0)
    assert api_of_tenant(birch).post(OPENAI, {"model": "doubao-image", "prompt": "x"})[0] == 402  # told first
    assert not Generation.objects.exists()


def test_a_name_that_an_image_and_a_video_model_share_means_the_image_model_here(as_acme: Api) -> None:
    image_model("shared", base=3)
    video_model("shared")
    assert as_acme.post(OPENAI, {"model": "shared", "prompt": "x"})[1]["usage"]["credits_charged"] == 3


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"prompt": ""}, 400, "invalid_request"),
        ({"prompt": "x" * 20_001}, 400, "invalid_request"),
        ({"prompt": None}, 400, "invalid_request"),
        ({"quantity": 0}, 400, "invalid_request"),
        ({"quantity": 11}, 400, "invalid_request"),
        ({"quantity": True}, 400, "invalid_request"),
        ({"referenceImages": [PIXEL] * 11}, 400, "invalid_request"),
        ({"referenceImages": ["ftp://example.com/a.png"]}, 400, "invalid_request"),
        ({"referenceImages": ["http://169.254.169.254/latest"]}, 400, "invalid_request"),
        ({"referenceImages": ["data:text/html;base64,AAAA"]}, 400, "invalid_request"),
        ({"modelId": "nobody"}, 404, "model_not_found"),
        ({"modelId": "nobody", "prompt": ""}, 400, "invalid_request"),
        ({"modelId": "filmer"}, 400, "invalid_request"),
        ({"resolution": "banana"}, 400, "invalid_request"),
        ({"ratio": "wide"}, 400, "invalid_request"),
        ({"resolution": "8K"}, 422, "unknown_dimension"),
    ],
)
def test_what_is_refused_changes_nothing(
    as_alice: Api, alice: User, painter: AIModel, filmer: AIModel, change: dict[str, Any], status: int, code: str
) -> None:
    answer = as_alice.post(PLATFORM, {"modelId": "painter", "prompt": "x"} | change, key="k")
    assert (answer[0], answer[1]["code"]) == (status, code)
    assert balance_and_held(alice) == (1000, 0)
    assert not Generation.objects.exists()
    assert as_alice.post(PLATFORM, {"modelId": "painter", "prompt": "x"}, key="k")[0] == 200


def test_reference_images_travel_in_bodies_of_up_to_32_mib(as_alice: Api, painter: AIModel) -> None:
    picture = io.BytesIO()
    Image.effect_noise((1200, 1200), 100).save(picture, "PNG")
    uri = f"data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()}"
    assert len(uri) > 1 << 20
    assert as_alice.post(PLATFORM, {"modelId": "painter", "prompt": "x", "referenceImages": [uri] * 2})[0] == 200
    assert as_alice.post(PLATFORM, {"modelId": "painter", "prompt": "x" * (33 << 20)})[0] == 413


def test_who_lost_its_lease_is_told_how_it_ended(cloned_db: Any, vera: Any, settings: Any) -> None:
    """A server that stood still past its lease: nothing was made, nothing is charged, and the caller may try again."""
    image_model("one")
    settings.SANDBOX_DELAY_SECONDS = 2
    with ThreadPoolExecutor(1) as callers:
        asked = callers.submit(api_of_user(vera).post, PLATFORM, {"modelId": "one", "prompt": "x"})
        row = eventually(lambda: Generation.objects.filter(state="running").first())
        heartbeat.lose(row)
        Generation.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
        status, answer = asked.result(30)
        callers.submit(connections.close_all).result()
    assert (status, answer["code"]) == (503, "unavailable")
    account = Account.objects.get(user=vera)
    assert (Generation.objects.get().state, account.balance, account.held, Charge.objects.count()) == ("failed", 1000, 0, 0)


def test_a_model_says_how_many_reference_images_it_takes(as_alice: Api) -> None:
    image_model("one", options={"maxReferenceImages": 1})
    assert as_alice.post(PLATFORM, {"modelId": "one", "prompt": "x", "referenceImages": [PIXEL]})[0] == 200
    assert as_alice.post(PLATFORM, {"modelId": "one", "prompt": "x", "referenceImages": [PIXEL] * 2})[0] == 400


def test_a_default_of_the_models_options_is_priced_and_drawn(as_alice: Api) -> None:
    image_model("large", options={"defaultResolution": "2K", "resolutions": ["1K", "2K"]}, prices={"1K": 20, "2K": 30})
    status, answer = as_alice.post(PLATFORM, {"modelId": "large", "prompt": "x"})
    assert (status, answer["creditsCharged"]) == (200, 30)
    assert opened(as_alice, answer["url"]).size == (2048, 2048)


def test_the_replay_of_a_key_is_the_first_answer(as_alice: Api, alice: User, painter: AIModel) -> None:
    body = {"modelId": "painter", "prompt": "x"}
    first = as_alice.post(PLATFORM, body, key="once")
    assert "Idempotent-Replayed" not in as_alice.last
    again = as_alice.post(PLATFORM, body | {"modelId": str(painter.id)}, key="once")
    assert as_alice.last["Idempotent-Replayed"] == "true"
    assert again == first
    assert balance_and_held(alice) == (985, 0)
    status, answer = as_alice.post(PLATFORM, body | {"prompt": "y"}, key="once")
    assert (status, answer["code"]) == (422, "idempotency_key_reused")


def test_the_replay_of_the_picture_that_took_the_last_credit(alice: User) -> None:
    image_model("dear", base=1000)
    api = api_of_user(alice)
    body = {"modelId": "dear", "prompt": "x"}
    first = api.post(PLATFORM, body, key="last")
    assert api.post(PLATFORM, body, key="last") == first
    assert api.post(PLATFORM, body, key="more")[0] == 402


def test_a_failure_gives_everything_back_and_frees_its_key(as_alice: Api, alice: User, painter: AIModel, settings: Any) -> None:
    settings.SANDBOX_FAILURE_RATE = 1
    body = {"modelId": "painter", "prompt": "x"}
    status, answer = as_alice.post(PLATFORM, body, key="again")
    assert (status, answer["code"]) == (502, "upstream_error")
    failed = Generation.objects.get(id=answer["details"]["taskId"])
    assert (failed.state, failed.hold.state, balance_and_held(alice)) == ("failed", "released", (1000, 0))
    settings.SANDBOX_FAILURE_RATE = 0
    assert as_alice.post(PLATFORM, body, key="again")[0] == 200
    assert balance_and_held(alice) == (985, 0)


def test_without_credits_nothing_is_drawn(birch: Tenant, painter: AIModel) -> None:
    status, answer = api_of_tenant(birch).post(OPENAI, {"model": "painter", "prompt": "x"})
    assert (status, answer["error"]["code"]) == (402, "insufficient_credits")
    assert not Generation.objects.exists()
    assert not Charge.objects.exists()


def test_a_tenant_over_its_quota_is_refused_before_anything_is_drawn(as_acme: Api, acme: Tenant, painter: AIModel) -> None:
    StorageUsage.objects.create(tenant=acme, used_bytes=10, quota_bytes=10)
    assert as_acme.post(OPENAI, {"model": "painter", "prompt": "x"})[0] == 413
    assert balance_and_held(acme) == (1000, 0)


def test_a_concurrency_limit_of_one_lets_one_at_a_time_through(vera: User, painter: AIModel) -> None:
    from billing.catalog.models import LevelConfig

    LevelConfig.objects.create(level="VIP", max_concurrency=1)
    api = api_of_user(vera)
    assert [api.post(PLATFORM, {"modelId": "painter", "prompt": "x"})[0] for _ in range(2)] == [200, 200]


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer nonsense", "Basic abc"])
def test_who_is_nobody_gets_nothing(db: None, header: str) -> None:
    assert Api(header).post(PLATFORM, {"modelId": "x", "prompt": "x"})[0] == 401
    status, answer = Api(header).post(OPENAI, {"model": "x", "prompt": "x"})
    assert (status, answer["error"]["type"], answer["error"]["code"]) == (401, "authentication_error", "unauthorized")


def test_a_switched_off_tenant_gets_nothing(as_acme: Api, acme: Tenant, painter: AIModel) -> None:
    Tenant.objects.filter(pk=acme.pk).update(is_active=False)
    status, answer = as_acme.post(OPENAI, {"model": "painter", "prompt": "x"})
    assert (status, answer["error"]["code"]) == (403, "tenant_inactive")


@pytest.mark.parametrize("size", ["0x0", "banana", "1024", "1024x", "-1x5"])
def test_a_size_that_is_none_is_refused(as_acme: Api, painter: AIModel, size: str) -> None:
    status, answer = as_acme.post(OPENAI, {"model": "painter", "prompt": "x", "size": size})
    assert (status, answer["error"]["param"]) == (400, "size")
