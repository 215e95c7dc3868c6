"""What desktop clients send, byte for byte (desktop/README.md), to a live server: pictures, models, balance as they read them."""

import base64
import http.client
import io
import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image

from aiservices.generations.models import Generation
from tests.catalog import image_model
from tests.clients.conftest import Shop, png

DESKTOP = Path(__file__).parent / "desktop"
ORIGIN = "https://app.nextchat.dev"


class Replay:
    """Sends the recorded requests to one server with one key."""

    def __init__(self, shop: Shop) -> None:
        self.host, self.key = urlsplit(shop.base_url).netloc, shop.api_key

    def __call__(self, name: str) -> tuple[http.client.HTTPResponse, bytes]:
        head, _blank, body = (DESKTOP / f"{name}.http").read_bytes().partition(b"\r\n\r\n")
        body = body.replace(b"{png}", png())
        for mark, value in (("{host}", self.host), ("{key}", self.key), ("{length}", str(len(body)))):
            head = head.replace(mark.encode(), value.encode())
        address, _colon, port = self.host.partition(":")
        with socket.create_connection((address, int(port)), timeout=60) as connection:
            connection.sendall(head + b"\r\n\r\n" + body)
            answer = http.client.HTTPResponse(connection, method=head.split(b" ", 1)[0].decode())
            answer.begin()
            return answer, answer.read()

    def json(self, name: str) -> Any:
        answer, body = self(name)
        assert answer.status == 200, body
        return json.loads(body)


def size_of(picture: dict[str, str]) -> tuple[int, int]:
    return Image.open(io.BytesIO(base64.b64decode(picture["b64_json"]))).size


def test_cherry_studio(shop: Shop) -> None:
    replay = Replay(shop)
    assert {"painter", "gemini-image"} <= {model["id"] for model in replay.json("cherry-models")["data"]}
    (picture,) = replay.json("cherry-picture")["data"]
    assert size_of(picture) == (1024, 1024)
    (edited,) = replay.json("cherry-edit")["data"]
    assert edited.get("url") or edited.get("b64_json")
    row = Generation.objects.latest("id")
    assert (row.prompt, len(row.parameters["referenceImages"])) == ("换成夏天", 2)
    (painted,) = replay.json("cherry-paintings")["data"]
    assert painted["url"].startswith(shop.waule.url)  # the page reads nothing but the URL
    assert shop.spent == 45
    assert Generation.objects.count() == 3


@pytest.mark.parametrize("is_allowed", [True, False])
def test_nextchat(shop: Shop, is_allowed: bool) -> None:
    image_model("dall-e-3", base=15)
    shop.waule.environ["CORS_ALLOWED_ORIGINS"] = ORIGIN if is_allowed else ""
    replay = Replay(shop)
    preflight, _body = replay("nextchat-preflight")
    assert preflight.headers.get("Access-Control-Allow-Origin") == (ORIGIN if is_allowed else None)
    if not is_allowed:
        return
    allowed = preflight.headers["Access-Control-Allow-Headers"].replace(" ", "").lower().split(",")
    assert {"authorization", "content-type"} <= set(allowed)
    assert "dall-e-3" in {model["id"] for model in replay.json("nextchat-models")["data"]}
    answer, body = replay("nextchat-picture")
    assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (200, ORIGIN)
    (picture,) = json.loads(body)["data"]
    assert size_of(picture) == (1024, 1024)
    assert shop.spent == 15
    used, total = replay.json("nextchat-usage")["total_usage"], replay.json("nextchat-subscription")["hard_limit_usd"]
    assert (round(used) / 100, round(total * 100) / 100) == (0.15, 10)  # as its page of settings computes them
