"""OpenAI's official clients, and litellm, work with images as they are."""

import base64
import importlib.util
import io
import json
import os
import subprocess
import sys
from typing import Any

import openai
import pytest
import requests
from PIL import Image

from aiservices.generations.models import Generation
from tests import tools
from tests.clients.conftest import Shop, png

pytestmark = pytest.mark.once  # the database makes no difference

UNSEEN_USAGE = {
    "total_tokens": 0,
    "input_tokens": 0,
    "output_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
    "credits_charged": 15,
}


def refused(call: Any) -> tuple[int, str | None, str | None]:
    with pytest.raises(openai.APIStatusError) as caught:
        call()
    body: Any = caught.value.body
    return caught.value.status_code, body["code"], body["param"]


def test_the_python_client(shop: Shop) -> None:
    client = openai.OpenAI(base_url=shop.base_url, api_key=shop.api_key, max_retries=0)
    made = client.images.generate(model="painter", prompt="a fox", n=2, response_format="b64_json")
    assert made.data is not None
    pictures = [base64.b64decode(image.b64_json or "") for image in made.data]
    assert [Image.open(io.BytesIO(picture)).size for picture in pictures] == [(1024, 1024)] * 2
    assert shop.spent == 30

    edited = client.images.edit(model="painter", prompt="in snow", image=pictures[0], size="1024x1024", quality="auto")
    assert edited.data is not None
    assert requests.get(edited.data[0].url or "", timeout=60).status_code == 200
    files = [("a.png", png(), "image/png"), ("b.png", png(), "image/png")]
    both = client.images.edit(model="painter", prompt="in snow", image=files, mask=png(clear=True), n=2, user="u1")
    assert both.data is not None and len(both.data) == 2
    assert shop.spent == 75
    row = Generation.objects.order_by("-id")[0]
    assert (len(row.parameters["referenceImages"]), row.parameters["mask"][:15]) == (2, "data:image/png;")

    # --- streams ---
    for stream, name in (
        (client.images.generate(model="painter", prompt="a fox", stream=True, size="auto"), "image_generation"),
        (client.images.edit(model="painter", prompt="x", image=png(), stream=True), "image_edit"),
    ):
        (event,) = list(stream)
        assert (event.type, event.size, event.output_format) == (f"{name}.completed", "1024x1024", "png")  # type: ignore[union-attr]
        assert Image.open(io.BytesIO(base64.b64decode(event.b64_json))).size == (1024, 1024)
        assert event.usage.to_dict() == UNSEEN_USAGE  # type: ignore[union-attr]
    events = list(client.images.generate(model="painter", prompt="a fox", n=2, stream=True))
    assert sum(event.usage.to_dict()["credits_charged"] for event in events) == 30  # type: ignore[union-attr]
    assert shop.spent == 135

    # --- what is refused costs nothing ---
    generate, edit = client.images.generate, client.images.edit
    assert refused(lambda: generate(model="gemini-image", prompt="x", background="transparent")) == (
        400,
        "unsupported_parameter",
        "background",
    )
    assert refused(lambda: edit(model="gemini-image", prompt="x", image=png(), mask=png())) == (
        400,
        "unsupported_parameter",
        "mask",
    )
    assert refused(lambda: generate(model="painter", prompt="x", size="banana"))[:2] == (400, "invalid_request")  # type: ignore[call-overload]
    assert refused(lambda: edit(model="painter", prompt="x", image=b"GIF is not this"))[:2] == (400, "invalid_request")
    assert refused(lambda: client.images.create_variation(image=png()))[:2] == (404, "not_supported")
    messages: Any = [{"role": "user", "content": "hello"}]
    assert refused(lambda: client.chat.completions.create(model="painter", messages=messages))[:2] == (404, "not_supported")
    assert refused(lambda: client.embeddings.create(model="painter", input="x"))[:2] == (404, "not_supported")
    assert refused(lambda: client.responses.create(model="painter", input="x"))[:2] == (404, "not_supported")
    assert refused(lambda: client.videos.remix("video_1", prompt="x"))[:2] == (404, "not_supported")
    assert shop.spent == 135

    # --- a failure within a stream is an event ---
    shop.waule.restart(SANDBOX_FAILURE_RATE="1")
    with pytest.raises(openai.APIError) as caught:
        list(client.images.generate(model="painter", prompt="a fox", stream=True))
    assert (caught.value.code, caught.value.type) == ("upstream_error", "server_error")
    assert shop.spent == 135


def test_the_node_client(shop: Shop) -> None:
    told = shop.node("images.mjs")
    assert told["charged"] == 30
    assert all(length > 1000 for length in told["generated"])
    assert told["edited"].startswith(shop.waule.url)
    assert told["editedFromTwo"] == 1
    for events, name in ((told["streamed"], "image_generation"), (told["editStreamed"], "image_edit")):
        (event,) = events
        assert (event["type"], event["size"], event["format"]) == (f"{name}.completed", "1024x1024", "png")
        assert event["usage"] == UNSEEN_USAGE
    assert told["variation"] == {"status": 404, "code": "not_supported", "param": None}
    assert told["chat"] == {"status": 404, "code": "not_supported", "param": None}
    assert told["unsupported"] == {"status": 400, "code": "unsupported_parameter", "param": "background"}
    assert told["models"] == ["gemini-image", "painter"]
    assert shop.spent == 90


LITELLM = """
import io, json, sys, litellm
base_url, key = sys.argv[1:]
about = {"model": "openai/painter", "api_base": base_url, "api_key": key}
made = litellm.image_generation(prompt="a fox", num_retries=0, **about)
edited = litellm.image_edit(prompt="in snow", image=io.BytesIO(sys.stdin.buffer.read()), **about)
try:
    litellm.completion(messages=[{"role": "user", "content": "x"}], num_retries=0, **about)
except litellm.exceptions.NotFoundError as error:
    refused = error.status_code == 404 and "waule makes images and videos, no text" in str(error)
print(json.dumps({"made": len(made.data), "edited": len(edited.data), "refused": refused}))
"""


def test_litellm(shop: Shop) -> None:
    if importlib.util.find_spec("litellm") is None:
        tools.missing("litellm is not installed: pip install -r requirements-dev.txt")
    environ = os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, "-c", LITELLM, shop.base_url, shop.api_key], input=png(), capture_output=True, timeout=120, env=environ
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == {"made": 1, "edited": 1, "refused": True}
    assert shop.spent == 30
