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

from billing.models import Charge
from gateway_client import errors, gateway
from gateway_client.addresses import Rules, parse_allowed
from gateway_client.fetch import fetch
from gateway_client.gateway import Caller
from tests.billing.conftest import film, flash, priced_model  # noqa: F401
from tests.live import LiveWaule
from tests.settings import ENVIRONMENT, INTERNAL_SECRET, PROJECT

LOOPBACK = Rules((parse_allowed("127.0.0.1"),))


@pytest.fixture
def example(live_waule: LiveWaule, settings: Any) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "examples/gateway.py", "--port", "0", "--waule", live_waule.url],
        cwd=PROJECT,
        env=os.environ | {"INTERNAL_SECRET": INTERNAL_SECRET, "JWT_SECRET": ENVIRONMENT["JWT_SECRET"], "INTERNAL_JWT": ""},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    settings.WAULEAPI_URL = process.stdout.readline().split()[-1]
    settings.UPSTREAM_TOTAL_SECONDS = 20
    yield settings.WAULEAPI_URL
    process.terminate()
    process.wait(5)
    process.stdout.close()


def test_images_are_made_charged_and_served(acme: Any, flash: Any, example: str, tmp_path: Path) -> None:  # noqa: F811
    caller = Caller(tenant_id=str(acme.pk), idempotency_key="generation-1")
    made = gateway.generate_image(model="flash", prompt="a cat", caller=caller, ratio="16:9", quantity=2)
    assert (len(made.media), made.credits_charged, made.flags) == (2, 7, ())
    picture = fetch(made.media[0].url, rules=LOOPBACK, directory=tmp_path)
    assert picture.content_type == "image/png"
    again = gateway.generate_image(model="flash", prompt="a cat", caller=caller, ratio="16:9", quantity=2)
    assert again == made
    assert Charge.objects.count() == 1


def test_a_video_plays(alice: Any, film: Any, example: str, tmp_path: Path) -> None:  # noqa: F811
    caller = Caller(user_id=str(alice.pk), idempotency_key="generation-2")
    made = gateway.generate_video(
        model="film", prompt="a cat", caller=caller, ratio="16:9", resolution="720p", duration=Decimal(3)
    )
    assert (made.credits_charged, made.media[0].duration) == (30, Decimal(3))
    video = fetch(made.media[0].url, rules=LOOPBACK, directory=tmp_path)
    assert video.content_type == "video/mp4"
    frames, seconds = imageio_ffmpeg.count_frames_and_secs(str(video.path))
    assert (frames, round(seconds)) == (6, 3)


def test_a_chat_makes_either(alice: Any, books: None, example: str) -> None:
    priced_model("gpt-image")
    priced_model("sora2-landscape-10s")
    for model, ending in (("gpt-image", ".png"), ("sora2-landscape-10s", ".mp4")):
        made = gateway.generate_by_chat(model=model, prompt="a cat", caller=Caller(user_id=str(alice.pk), idempotency_key=model))
        assert made.media[0].url.endswith(ending)
        assert made.credits_charged == 7


def test_its_failures_are_rehearsals(birch: Any, alice: Any, flash: Any, example: str) -> None:  # noqa: F811
    failures = {
        "!refuse": errors.ContentRefused,
        "!limit": errors.UpstreamRateLimited,
        "!fail": errors.OutcomeUnknown,
        "!hang-up": errors.OutcomeUnknown,
        "!html": errors.OutcomeUnknown,
        "!empty": errors.NothingMade,
    }
    caller = Caller(user_id=str(alice.pk))
    for word, failure in failures.items():
        with pytest.raises(failure):
            gateway.generate_image(model="flash", prompt=f"a cat {word}", caller=caller)
    assert Charge.objects.count() == 0
    assert gateway.generate_image(model="flash", prompt="!odd-credits", caller=caller).flags == ("odd_credits",)
    with pytest.raises(errors.UpstreamError) as caught:  # waule's own refusal comes back through the gateway
        gateway.generate_image(model="flash", prompt="a cat", caller=Caller(tenant_id=str(birch.pk)))
    assert caught.value.upstream_status == 402
    assert json.dumps(gateway.health()["status"]) == '"ok"'


def test_a_stranger_is_not_served(example: str, settings: Any) -> None:
    settings.INTERNAL_JWT = "not.a.token"
    with pytest.raises(errors.CredentialRefused):
        gateway.generate_image(model="flash", prompt="a cat", caller=Caller(user_id="x"))
