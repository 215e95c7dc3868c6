"""The example gateway, against a real waule: it draws, charges by our key, and serves what it made."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import pytest
from PIL import Image

from billing.ledger.models import Charge
from gateway_client import errors
from gateway_client.fetch import fetch
from gateway_client.upstreams import gateway
from gateway_client.upstreams.gateway import headers_for
from tests.live import LiveWaule
from tests.settings import ENVIRONMENT, INTERNAL_SECRET, PROJECT

ALICE = headers_for(user_id="alice", idempotency_key="generation-1")


class Example:
    """The example gateway as a process; `waule` is who it calls back, where it does."""

    def __init__(self, *arguments: str) -> None:
        secrets = {"INTERNAL_SECRET": INTERNAL_SECRET, "JWT_SECRET": ENVIRONMENT["JWT_SECRET"], "INTERNAL_JWT": ""}
        self.process = subprocess.Popen(
            [sys.executable, "examples/gateway.py", "--port", "0", *arguments],
            cwd=PROJECT,
            env=os.environ | secrets,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[-1]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(5)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def example(settings: Any) -> Iterator[str]:
    """As the gateways that exist: it calls nobody back."""
    started = Example()
    settings.WAULEAPI_URL, settings.UPSTREAM_TOTAL_SECONDS = started.url, 20
    yield started.url
    started.stop()


@pytest.fixture
def charging(live_waule: LiveWaule, settings: Any) -> Iterator[str]:
    """One that charges by calling back."""
    started = Example("--callback", "--waule", live_waule.url)
    settings.WAULEAPI_URL, settings.UPSTREAM_TOTAL_SECONDS = started.url, 20
    yield started.url
    started.stop()


def test_images_are_made_and_served_and_nobody_is_charged(example: str, tmp_path: Path) -> None:
    headers = headers_for(tenant_id="acme", idempotency_key="generation-1")
    made = gateway.generate_image(model="flash", prompt="a cat", headers=headers, size="16:9", image_size="2K", quantity=2)
    assert (len(made.media), made.credits_charged) == (2, None)
    assert all(medium.is_from_own_address and medium.url.startswith(f"{example}/uploads/") for medium in made.media)
    fetched = fetch(made.media[0].url, is_own_address=True, directory=tmp_path)
    assert Image.open(fetched.path).size == (2048, 1152)


@pytest.mark.parametrize(
    ("size", "image_size", "pixels"),
    [("9:16", "1K", (576, 1024)), ("1024x1024", "4K", (3840, 3840)), ("7:3", "8K", (1024, 1024)), ("", "", (1024, 1024))],
)
def test_what_it_cannot_read_is_square_and_small(
    example: str, tmp_path: Path, size: str, image_size: str, pixels: tuple[int, int]
) -> None:
    made = gateway.generate_image(model="flash", prompt="a cat", headers=ALICE, size=size, image_size=image_size)
    assert Image.open(fetch(made.media[0].url, is_own_address=True, directory=tmp_path).path).size == pixels


def test_a_video_plays(example: str, tmp_path: Path) -> None:
    made = gateway.generate_video(
        model="film", prompt="a cat", headers=ALICE, aspect_ratio="16:9", resolution="720p", duration=Decimal(3)
    )
    assert made.media[0].duration == Decimal(3)
    video = fetch(made.media[0].url, is_own_address=True, directory=tmp_path)
    assert video.content_type == "video/mp4"
    frames, seconds = imageio_ffmpeg.count_frames_and_secs(str(video.path))
    assert (frames, round(seconds)) == (6, 3)


def test_a_chat_makes_either_and_knows_no_other_model(example: str) -> None:
    for model, ending in (("gpt-image", ".png"), ("sora2-landscape-10s", ".mp4")):
        assert gateway.generate_by_chat(model=model, prompt="a cat", headers=ALICE).media[0].url.endswith(ending)
    with pytest.raises(errors.UpstreamError) as caught:
        gateway.generate_by_chat(model="sora2", prompt="a cat", headers=ALICE)
    assert caught.value.upstream_status == 500


def test_a_chat_without_a_stream_makes_nothing(example: str) -> None:
    body = {"model": "sora2-landscape-10s", "messages": [{"role": "user", "content": "a cat"}]}
    answered = gateway.call_gateway("/v1/sora/chat/completions", body, "alice")
    assert "enable streaming" in answered["choices"][0]["message"]["content"]


def test_whatever_goes_wrong_is_a_500(example: str) -> None:
    for word in ("!refuse", "!limit", "!fail"):
        with pytest.raises(errors.UpstreamError) as caught:
            gateway.generate_image(model="flash", prompt=f"a cat {word}", headers=ALICE)
        assert caught.value.upstream_status == 500
        assert caught.value.upstream_body["error"]["type"] == "generation_error"
    for word, failure in (("!hang-up", errors.OutcomeUnknown), ("!html", errors.OutcomeUnknown), ("!empty", errors.NothingMade)):
        with pytest.raises(failure):
            gateway.generate_image(model="flash", prompt=f"a cat {word}", headers=ALICE)
    assert json.dumps(gateway.health()["status"]) == '"healthy"'


def test_it_charges_by_our_key_where_it_is_told_to(acme: Any, flash: Any, charging: str) -> None:
    headers = headers_for(tenant_id=str(acme.pk), idempotency_key="generation-1")
    for _try in range(2):
        made = gateway.generate_image(model="flash", prompt="a cat", headers=headers, size="16:9", quantity=2)
        assert (len(made.media), made.credits_charged, made.flags) == (2, 7, ())
    assert Charge.objects.count() == 1
    assert gateway.generate_image(model="flash", prompt="!odd-credits", headers=headers_for(tenant_id=str(acme.pk))).flags == (
        "odd_credits",
    )


def test_waule_s_own_refusal_comes_back_as_a_500(birch: Any, flash: Any, charging: str) -> None:
    with pytest.raises(errors.UpstreamError) as caught:
        gateway.generate_image(model="flash", prompt="a cat", headers=headers_for(tenant_id=str(birch.pk)))
    assert caught.value.upstream_status == 500
    assert Charge.objects.count() == 0


def test_a_stranger_is_not_served(example: str, settings: Any) -> None:
    settings.INTERNAL_JWT = "not.a.token"
    with pytest.raises(errors.CredentialRefused):
        gateway.generate_image(model="flash", prompt="a cat", headers=ALICE)
