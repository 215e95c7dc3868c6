"""Gateway mode, through the interface that every provider has."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from aiservices.generations.providers.base import Output
from aiservices.generations.providers.gateway import Gateway
from gateway_client import errors
from tests.aiservices.upstreams import Heard, job
from tests.gateway_client import bad_server as bad
from tests.gateway_client.bad_server import BadServer


@pytest.fixture
def upstream(settings: Any) -> Iterator[BadServer]:
    server = BadServer()
    settings.WAULEAPI_URL = server.url
    settings.UPSTREAM_TOTAL_SECONDS = 3
    yield server
    server.stop()


def test_an_image_for_a_tenant(upstream: BadServer) -> None:
    upstream.will(
        bad.answer({"data": [{"url": "https://cdn.test/1.png", "revised_prompt": "cat"}], "usage": {"credits_charged": 3}})
    )
    outcome = Gateway().generate_image(job(tenant_id="acme", resolution="2K", ratio="1:1"), progress=Heard())
    assert outcome.outputs == (Output(url="https://cdn.test/1.png", revised_prompt="cat"),)
    assert (outcome.credits_charged, outcome.flags) == (3, ())
    (seen,) = upstream.seen
    assert seen.path == "/v1/images/generations"
    assert seen.json() == {"model": "model-1", "prompt": "a cat", "size": "1:1", "image_size": "2K", "n": 1}
    assert seen.headers["x-tenant-id"] == "acme"
    assert seen.headers["idempotency-key"] == "0198c0de-0000-7000-8000-000000000001"
    assert seen.headers["x-request-id"] == "request-1"


def test_a_video_for_a_user(upstream: BadServer) -> None:
    upstream.will(bad.answer({"data": [{"url": "https://cdn.test/v.mp4", "duration": 8}]}))
    outcome = Gateway().generate_video(job(user_id="alice", duration=Decimal(8), ratio="16:9"), progress=Heard())
    assert outcome.outputs == (Output(url="https://cdn.test/v.mp4", duration=Decimal(8)),)
    assert (outcome.credits_charged, outcome.flags) == (None, ("odd_credits",))
    (seen,) = upstream.seen
    assert seen.path == "/v1/videos/generations"
    assert seen.json() == {"model": "model-1", "prompt": "a cat", "duration": 8, "aspect_ratio": "16:9"}
    assert seen.headers["x-user-id"] == "alice"


@pytest.mark.parametrize("verb", ["generate_image", "generate_video"])
def test_a_model_of_the_chat_endpoint(upstream: BadServer, verb: str) -> None:
    text = "<video src='https://cdn.test/v.mp4'></video>"
    upstream.will(bad.answer({"choices": [{"message": {"content": text}}], "usage": {"credits_charged": 9}}))
    outcome = getattr(Gateway(), verb)(job(user_id="alice", gateway_endpoint="sora-chat"), progress=Heard())
    assert outcome.outputs == (Output(url="https://cdn.test/v.mp4"),)
    assert outcome.credits_charged == 9
    assert upstream.seen[0].path == "/v1/sora/chat/completions"


def test_a_failure_passes_through_and_nothing_can_be_asked(upstream: BadServer) -> None:
    upstream.will(bad.hang_up)
    with pytest.raises(errors.OutcomeUnknown):
        Gateway().generate_image(job(user_id="alice"), progress=Heard())
    assert len(upstream.seen) == 1
    assert Gateway().find(job(user_id="alice")) is None
