"""Veo from a tenant's request to its video: what is rejected before anything is held, what is charged, and restarts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aiservices.credentials.models import CredentialLease
from aiservices.generations.leases import change
from aiservices.generations.models import Generation
from billing.catalog import file as catalog_file
from tenants.models import Tenant
from tests.aiservices.conftest import PIXEL
from tests.aiservices.credential_rows import key
from tests.aiservices.jobs import work_off
from tests.books import balance_and_held
from tests.callers import Api
from tests.gateway_client import bad_server as bad
from tests.gateway_client.bad_server import BadServer

pytestmark = pytest.mark.django_db
MODEL, LITE = "veo-3.1-fast-generate-preview", "veo-3.1-lite-generate-preview"
NAME = f"models/{MODEL}/operations/abc123"


@pytest.fixture
def upstream(settings: Any, any_database: None) -> Iterator[BadServer]:
    path = Path(catalog_file.__file__).parents[1] / "demo_catalog.yaml"
    catalog_file.apply(catalog_file.parse(path.read_bytes()), actor="test")
    server = BadServer()
    settings.GEMINI_API_URL = f"{server.url}/v1beta"
    settings.UPSTREAM_TOTAL_SECONDS = settings.VIDEO_JOB_SECONDS = 60
    yield server
    server.stop()


def over(server: BadServer, **fields: Any) -> bad.Behaviour:
    uri = f"{server.url}/v1beta/files/f1:download?alt=media"
    made = {"generateVideoResponse": {"generatedSamples": [{"video": {"uri": uri}}]}}
    return bad.answer({"name": NAME, "done": True} | ({"response": made} | fields))


def test_a_video_is_charged_by_second_and_resolution(as_acme: Api, acme: Tenant, upstream: BadServer) -> None:
    key("one")
    upstream.will(bad.answer({"name": NAME}), over(upstream), bad.media(bad.MP4))
    status, video = as_acme.post("/v1/videos", {"model": MODEL, "prompt": "a cat", "seconds": "4", "size": "1280x720"})
    assert (status, balance_and_held(acme)) == (200, (1000, 60))
    work_off()
    shown = as_acme.get(f"/v1/videos/{video['id']}")[1]
    assert (shown["status"], shown["error"], balance_and_held(acme)) == ("completed", None, (940, 0))
    assert upstream.seen[0].json()["parameters"] == {
        "aspectRatio": "16:9",
        "resolution": "720p",
        "durationSeconds": 4,
        "sampleCount": 1,
    }
    assert (
        as_acme.client.get(f"/v1/videos/{video['id']}/content", headers={"Authorization": as_acme.authorization}).status_code
        == 200
    )
    assert upstream.url not in str(as_acme.get(f"/v1/generations/{video['id']}")[1])


REJECTED: list[tuple[str, dict[str, Any], str]] = [
    # the model · what is asked for · the field that is named
    (MODEL, {"seconds": "4", "size": "1920x1080"}, "seconds"),
    (MODEL, {"seconds": "6", "size": "4K"}, "seconds"),
    (MODEL, {"seconds": "5"}, "seconds"),
    (MODEL, {"size": "1:1"}, "size"),
    (MODEL, {"reference_images": [PIXEL] * 3, "seconds": "4"}, "seconds"),
    (LITE, {"reference_images": [PIXEL] * 2}, "reference_images"),
]


@pytest.mark.parametrize(("model", "body", "field"), REJECTED)
def test_what_it_does_not_make_is_rejected_before_anything_is_held(
    as_acme: Api, acme: Tenant, upstream: BadServer, model: str, body: dict[str, Any], field: str
) -> None:
    key("one")
    status, answer = as_acme.post("/v1/videos", {"model": model, "prompt": "a cat"} | body)
    assert (status, answer["error"]["code"], answer["error"]["param"]) == (400, "invalid_request", field)
    assert not upstream.seen and not Generation.objects.exists() and balance_and_held(acme) == (1000, 0)


@pytest.mark.parametrize("mode", ["direct", "gateway"])
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"seconds": "4", "size": "1920x1080"}, "seconds"),
        ({"seconds": "5"}, "seconds"),
        ({"duration": 5}, "duration"),
        ({"size": "1:1"}, "size"),
        ({"aspect_ratio": "1:1"}, "aspect_ratio"),
    ],
)
def test_whoever_makes_it_and_an_estimate_says_the_same(
    as_acme: Api, acme: Tenant, upstream: BadServer, settings: Any, mode: str, body: dict[str, Any], field: str
) -> None:
    key("one")
    settings.AI_SERVICE_MODE, settings.WAULEAPI_URL = mode, upstream.url
    path = "/v1/videos/generations" if {"duration", "aspect_ratio"} & set(body) else "/v1/videos"
    for asked in (path, "/v1/estimate"):
        status, answer = as_acme.post(asked, {"model": MODEL, "prompt": "a cat"} | body)
        assert (status, answer["error"]["code"], answer["error"]["param"]) == (400, "invalid_request", field), answer
    assert not upstream.seen and not Generation.objects.exists() and balance_and_held(acme) == (1000, 0)


def test_what_the_gateway_has_no_word_for_is_not_said_to_be_for_sale(as_acme: Api, upstream: BadServer, settings: Any) -> None:
    settings.AI_SERVICE_MODE = "gateway"
    status, answer = as_acme.post("/v1/videos", {"model": MODEL, "prompt": "a cat", "size": "2160p"})
    assert (status, answer["error"]["code"]) == (422, "unknown_dimension")
    assert answer["error"]["message"] == "“2160p” is not for sale. Sizes for sale: 720p, 1080p."


def test_filtered_content_costs_nothing(as_acme: Api, acme: Tenant, upstream: BadServer) -> None:
    key("one")
    rai = {"raiMediaFilteredCount": 1, "raiMediaFilteredReasons": ["You will not be charged for this request."]}
    upstream.will(bad.answer({"name": NAME}), over(upstream, response={"generateVideoResponse": rai}))
    video = as_acme.post("/v1/videos", {"model": MODEL, "prompt": "a cat"})[1]
    work_off()
    shown = as_acme.get(f"/v1/videos/{video['id']}")[1]
    assert (shown["status"], shown["error"]["code"], balance_and_held(acme)) == ("failed", "content_refused", (1000, 0))


def test_a_worker_that_takes_it_up_asks_and_creates_nothing(as_acme: Api, acme: Tenant, upstream: BadServer) -> None:
    """What a worker that died left behind: the job was created, and its name was written down."""
    one = key("one")
    upstream.will(over(upstream), bad.media(bad.MP4))
    video = as_acme.post("/v1/videos", {"model": MODEL, "prompt": "a cat", "seconds": "8", "size": "1280x720"})[1]
    left = Generation.objects.get(id=video["id"])
    change(left, upstream_id=f"{one.pk}:{NAME}", called_at=left.created_at)
    work_off()
    assert [seen.method for seen in upstream.seen] == ["GET", "GET"]
    assert as_acme.get(f"/v1/videos/{video['id']}")[1]["status"] == "completed"
    assert (balance_and_held(acme), CredentialLease.objects.count()) == ((880, 0), 0)
