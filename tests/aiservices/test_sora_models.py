"""The shipped Sora models against the service as it really answers, asked directly and through a gateway."""

import base64
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from aiservices.generations.models import Generation
from aiservices.generations.providers.media import inlined
from billing.catalog import file as catalog_file
from billing.catalog.models import AIModel
from gateway_client.transport import Deadline
from tenants.models import Tenant
from tests.aiservices.conftest import PIXEL
from tests.aiservices.jobs import work_off
from tests.books import balance_and_held
from tests.callers import Api
from tests.gateway_client import bad_server as bad
from tests.settings import ENVIRONMENT, PROJECT
from tests.upstreams.sora_chat import KEY, VIDEO_MODELS, SoraChat

VIDEO = b"\x00\x00\x00\x18ftypmp42" + b"\x00" * 64
PIXEL_BYTES = base64.b64decode(PIXEL.partition(",")[2])


@pytest.fixture
def service(settings: Any, demo: None) -> Iterator[SoraChat]:
    started = SoraChat(video=VIDEO, image=bad.PNG)
    settings.SORA_API_URL, settings.SORA_API_KEY = started.url, KEY
    settings.UPSTREAM_TOTAL_SECONDS = settings.VIDEO_JOB_SECONDS = 20
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    yield started
    started.stop()


@pytest.mark.parametrize(
    ("model", "body", "variant", "credits"),
    [
        ("sora2", {}, "sora2-portrait-10s", 100),
        ("sora2", {"seconds": "15", "size": "1280x720"}, "sora2-landscape-15s", 150),
        ("sora2", {"seconds": "25", "size": "16:9"}, "sora2-landscape-25s", 250),
        ("sora2-pro", {"seconds": "10", "size": "1080x1920"}, "sora2pro-hd-portrait-10s", 500),
        ("sora2-pro", {"seconds": "25"}, "sora2pro-portrait-25s", 750),
    ],
)
def test_a_video_is_made_by_the_variant_that_is_charged(
    as_acme: Api, acme: Tenant, service: SoraChat, model: str, body: dict[str, str], variant: str, credits: int
) -> None:
    status, answer = as_acme.post("/v1/videos", {"model": model, "prompt": "a cat", "reference_images": [PIXEL]} | body)
    assert (status, answer["model"]) == (200, model)
    assert balance_and_held(acme) == (1000, credits)
    work_off()
    (made,) = service.made
    assert (made.model, made.prompt, made.image) == (variant, "a cat", PIXEL_BYTES)
    assert as_acme.get(f"/v1/videos/{answer['id']}")[1]["status"] == "completed"
    assert balance_and_held(acme) == (1000 - credits, 0)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"seconds": "7"}, "seconds"),
        ({"seconds": "4"}, "seconds"),
        ({"size": "1:1"}, "size"),
        ({"seconds": "25", "size": "1920x1080"}, "seconds"),
    ],
)
def test_what_no_variant_makes_is_rejected_before_anything_is_charged(
    as_acme: Api, acme: Tenant, service: SoraChat, body: dict[str, str], field: str
) -> None:
    status, answer = as_acme.post("/v1/videos", {"model": "sora2-pro", "prompt": "a cat"} | body)
    assert (status, answer["error"]["code"], answer["error"]["param"]) == (400, "invalid_request", field)
    assert not service.asked and not Generation.objects.exists() and balance_and_held(acme) == (1000, 0)


def test_an_endpoint_names_its_own_fields(as_acme: Api, service: SoraChat) -> None:
    for body, field in (
        ({"duration": 7}, "duration"),
        ({"aspect_ratio": "1:1"}, "aspect_ratio"),
        ({"resolution": "x"}, "resolution"),
    ):
        status, answer = as_acme.post("/v1/videos/generations", {"model": "sora2", "prompt": "a cat"} | body)
        assert (status, answer["error"]["param"]) == (400, field)


def test_the_gateway_may_charge_by_the_variant_s_name(internal: Any, acme: Tenant, demo: None) -> None:
    body = {"targetType": "tenant", "targetId": str(acme.pk), "modelId": "sora2-landscape-15s"}
    status, answer = internal.post("/internal/billing/charge", body | {"duration": 15, "resolution": "720p"})
    assert (status, answer["creditsCharged"]) == (200, 150)
    assert answer["usageRecord"]["modelId"] == str(AIModel.objects.get(model_id="sora2").id)


def test_every_variant_that_is_sold_is_a_model_of_the_service(demo: None) -> None:
    path = Path(catalog_file.__file__).parents[1] / "demo_catalog.yaml"
    models = [entry for entry in catalog_file.parse(path.read_bytes()).models if entry.provider == "sora"]
    assert {variant["modelId"] for entry in models for variant in entry.options["variants"]} <= set(VIDEO_MODELS)
    assert len(models) == 2


def test_an_error_in_the_stream_costs_nothing(as_acme: Api, acme: Tenant, service: SoraChat) -> None:
    service.fails_with = "Sora is at capacity"
    answer = as_acme.post("/v1/videos", {"model": "sora2", "prompt": "a cat"})[1]
    work_off()
    assert as_acme.get(f"/v1/videos/{answer['id']}")[1]["status"] == "failed"
    assert balance_and_held(acme) == (1000, 0)


def test_an_image_from_elsewhere_is_inlined(settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    server = bad.BadServer()
    server.will(bad.media(bad.PNG))
    try:
        (uri,) = inlined([f"{server.url}/r.png"], Deadline())
    finally:
        server.stop()
    assert uri == f"data:image/png;base64,{base64.b64encode(bad.PNG).decode()}"


# --- through the example gateway -----------------------------------------------------------------------------------


@pytest.fixture
def example_gateway(settings: Any, demo: None) -> Iterator[str]:
    """It charges nobody, its addresses are relative, and it is not public: no entry in OUTBOUND_ALLOW is needed."""
    process = subprocess.Popen(
        [sys.executable, "examples/gateway.py", "--port", "0"],
        cwd=PROJECT,
        env={"PATH": "", "JWT_SECRET": ENVIRONMENT["JWT_SECRET"]},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    settings.WAULEAPI_URL = process.stdout.readline().split()[-1]
    settings.AI_SERVICE_MODE, settings.GATEWAY_BILLING = "gateway", "local"
    settings.UPSTREAM_TOTAL_SECONDS = 20
    yield settings.WAULEAPI_URL
    process.terminate()
    process.wait(5)
    process.stdout.close()


def test_the_shipped_models_work_through_a_gateway(as_acme: Api, acme: Tenant, example_gateway: str) -> None:
    body = {"model": "gemini-3.1-flash-image", "prompt": "a cat", "size": "1536x1024"}
    status, answer = as_acme.post("/v1/images/generations", body)
    assert (status, answer["usage"]["credits_charged"]) == (200, 30)
    video = as_acme.post("/v1/videos", {"model": "sora2", "prompt": "a cat", "seconds": "10", "size": "1280x720"})[1]
    work_off()
    assert as_acme.get(f"/v1/videos/{video['id']}")[1]["status"] == "completed"
    assert balance_and_held(acme) == (1000 - 30 - 100, 0)
    assert Generation.objects.get(type="video").parameters["duration"] == str(Decimal(10))
