"""What is charged is what is made: every text, shape, model of the demonstration catalog and provider."""

import base64
import re
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import product
from typing import Any
from uuid import uuid4

import pytest

from aiservices.credentials import services as credentials
from aiservices.generations.models import Generation
from aiservices.generations.providers import gateway
from aiservices.generations.providers.base import Job
from aiservices.generations.providers.gemini import provider as gemini
from aiservices.generations.providers.gemini import veo
from aiservices.generations.providers.openai import provider as openai
from aiservices.generations.requests import GenerationRequest, rule_of
from billing.catalog import pricing
from billing.catalog.current import current_catalog
from billing.catalog.models import AIModel
from billing.catalog.pricing import NO_SIZE, Size, read_size
from billing.errors import UnknownDimension
from gateway_client.transport import Deadline
from tests.callers import Api
from tests.catalog import image_model, video_model
from tests.gateway_client import bad_server as bad
from tests.gateway_client.bad_server import BadServer
from waule.core.errors import InvalidRequest

pytestmark = [pytest.mark.django_db, pytest.mark.once]

TEXTS = (
    *("", "auto", "1K", "2K", "4k ", "8K", "hd", "FHD", "uhd", "72p", "480p", "540p", "720p", "1080p", "1440p", "2160p"),
    *("512x512", "1024x1024", "1024*1024", "1536x1024", "1024x1536", "1280x720", "720x1280", "1920x1080", "1792x1024"),
    *("3840x100", "100x3840", "3840x2160", "2160x3840", "4096x4096", "128x72", "16:9", "9:16", "1:1", "21:9", "3:7"),
)
RATIOS = ("", "auto", "1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3", "5:4", "4:5", "21:9", "8:1")
SORA = re.compile(r"sora2(?:pro)?(-hd)?-(landscape|portrait)-([0-9]+)s")

Asked = tuple[Size, str, Decimal | None]  # what the provider was asked for: the size, the shape, the seconds


def by_gemini(job: Job, is_video: bool) -> Asked:
    if is_video:
        asked = veo.payload(job, Deadline())["parameters"]
        return read_size(asked.get("resolution", "")), asked["aspectRatio"], Decimal(asked["durationSeconds"])
    config = gemini._payload(job, Deadline())["generationConfig"].get("imageConfig", {})
    return read_size(config.get("imageSize", "")), config.get("aspectRatio", ""), job.duration


def by_openai(job: Job, is_video: bool) -> Asked:
    pixels = job.size.video_pixels if is_video else openai.image_size(job)
    return pixels_asked(f"{pixels[0]}x{pixels[1]}" if pixels else "", job)


def by_gateway(job: Job, is_video: bool) -> Asked:
    if is_video:
        ratio, tier = gateway.video_size(job)
    else:
        ratio, tier = gateway.image_size(job)
    return (read_size(tier), ratio, job.duration) if "x" not in ratio else pixels_asked(ratio, job)


def by_name(job: Job, _is_video: bool) -> Asked:
    """As the Sora service reads a model's name."""
    found = SORA.fullmatch(job.model_id)
    assert found, job.model_id
    return read_size("1080p" if found[1] else "720p"), {"landscape": "16:9"}.get(found[2], "9:16"), Decimal(found[3])


def by_sandbox(job: Job, is_video: bool) -> Asked:
    pixels = job.size.video_pixels if is_video else job.size.image_pixels()
    return pixels_asked(f"{pixels[0]}x{pixels[1]}" if pixels else "", job)


def pixels_asked(text: str, job: Job) -> Asked:
    size = read_size(text)
    assert size.shape is None or abs(float(size.shape / job.size.shape) - 1) < 0.05, (text, job.size)
    return size, job.size.ratio, job.duration


PROVIDERS: dict[str, Callable[[Job, bool], Asked]] = {
    "gemini": by_gemini,
    "openai": by_openai,
    "sora": by_name,
    "sandbox": by_sandbox,
    "gateway": by_gateway,
}


def routes(model: AIModel) -> list[tuple[str, Callable[[Job, bool], Asked]]]:
    """Who can be asked for this model: its provider in direct mode, and the gateway."""
    direct = [(model.provider, PROVIDERS[model.provider])] if model.provider in PROVIDERS else []
    return [*direct, ("gateway", by_name if model.gateway_endpoint == "sora-chat" else by_gateway)]


def asked_and_charged(
    model: AIModel, route: str, ask: Callable[[Job, bool], Asked], request: GenerationRequest
) -> tuple[int, int, Size, Asked] | str:
    """The credits of what was asked for, and of what is charged; or why it is rejected."""
    is_video = request.type == Generation.Type.VIDEO
    interface = pricing.interface_of(route, is_video=is_video, gateway_endpoint=model.gateway_endpoint, options=model.options)
    try:
        sold = request.with_defaults(model.options).in_sold_size(model, current_catalog(), interface)
    except UnknownDimension:
        return "unknown_dimension"
    except InvalidRequest as error:
        return next(iter(error.details["fields"]))
    rule = rule_of(model, current_catalog())
    assert rule is not None
    use = sold.use(model, uuid4()).inputs()
    job = Job(
        generation_id=str(uuid4()),
        request_id="",
        model_id=sold.variant or model.model_id,
        prompt="x",
        size=pricing.sold_size_of(sold.kept()),
        duration=sold.duration,
        gateway_endpoint=model.gateway_endpoint,
        options=model.options,
    )
    asked = ask(job, is_video)
    charged = pricing.price(rule, use)
    made = pricing.price(rule, pricing.Inputs(**use.__dict__ | {"resolution": asked[0], "duration": asked[2]}))
    return charged.credits, made.credits, use.resolution, asked


def test_what_is_asked_for_is_what_is_charged(demo: list[AIModel]) -> None:
    seen: Counter[str] = Counter()
    wrong = []
    for model in demo:
        is_video = model.type == "VIDEO_GENERATION"
        type = Generation.Type.VIDEO if is_video else Generation.Type.IMAGE
        mode, operation = (model.options.get(name, [""])[0] for name in ("modes", "operationTypes"))
        for (route, ask), text, ratio in product(routes(model), TEXTS, RATIOS):
            fallback = Decimal(4) if is_video else None
            request = GenerationRequest(
                type=type,
                model=str(model.id),
                prompt="x",
                ratio=read_size(ratio),
                resolution=read_size(text),
                mode=mode,
                generation_type=operation,
                fallback_duration=fallback,
            )
            answer = asked_and_charged(model, route, ask, request)
            if isinstance(answer, str):
                seen[answer] += 1
                continue
            charged, made, tier, asked = answer
            seen["sold"] += 1
            named = read_size(ratio).shape or read_size(text).shape if ":" in ratio + text else None
            is_of_shape = named is None or read_size(asked[1]).shape == named
            if charged != made or not is_of_shape or (tier.text and not asked[0].text):
                wrong.append((model.model_id, route, text, ratio, charged, made, tier.text, asked))
    assert wrong == []
    assert seen["sold"] > 2500 and set(seen) == {"sold", "unknown_dimension", "ratio"}


@pytest.mark.parametrize("name", ["gpt-image-2.6-flare"])
def test_openai_takes_every_size_that_it_is_asked_for(demo: list[AIModel], name: str) -> None:
    """Sides in steps of 16, at most 3840 long, no longer than 3:1, from 655,360 to 8,294,400 pixels."""
    model = next(model for model in demo if model.model_id == name)
    for tier, ratio in product(model.options["resolutions"], model.options["ratios"]):
        width, height = openai.image_size(Job("", "", name, "x", size=pricing.SoldSize(read_size(tier), ratio))) or (0, 0)
        assert not (width % 16 or height % 16) and max(width, height) <= 3840, (tier, ratio, width, height)
        assert 655_360 <= width * height <= 8_294_400 and max(width, height) <= 3 * min(width, height)


# --- over HTTP -----------------------------------------------------------------------------------------------------


@pytest.fixture
def upstream(settings: Any) -> Iterator[BadServer]:
    server = BadServer()
    settings.GEMINI_API_URL = server.url
    settings.UPSTREAM_TOTAL_SECONDS = 10
    yield server
    server.stop()


@pytest.fixture
def banana_in_sizes(any_database: None) -> AIModel:
    credentials.add(provider="gemini", secret="AIzaPlanted-key-number-one-00000001", actor="test")
    options = {"resolutions": ["1K", "2K", "4K"], "ratios": ["1:1", "16:9", "21:9", "3:2"]}
    return image_model("banana", provider="gemini", base=10, options=options, prices={"1K": 10, "2K": 30, "4K": 60})


@pytest.mark.parametrize(
    ("size", "credits", "config"),
    [
        (None, 10, {"aspectRatio": "1:1", "imageSize": "1K"}),
        ("auto", 10, {"aspectRatio": "1:1", "imageSize": "1K"}),
        ("16:9", 10, {"aspectRatio": "16:9", "imageSize": "1K"}),
        ("3840x100", 10, {"aspectRatio": "21:9", "imageSize": "1K"}),
        ("1536x1024", 30, {"aspectRatio": "3:2", "imageSize": "2K"}),
        ("2160p", 60, {"aspectRatio": "1:1", "imageSize": "4K"}),
        ("uhd", 60, {"aspectRatio": "1:1", "imageSize": "4K"}),
        ("3840x2160", 60, {"aspectRatio": "16:9", "imageSize": "4K"}),
    ],
)
def test_an_image_costs_the_tier_that_gemini_is_asked_for(
    upstream: BadServer, as_acme: Api, banana_in_sizes: AIModel, size: str | None, credits: int, config: dict[str, str]
) -> None:
    upstream.will(bad.answer(gemini_answer()))
    body = {"model": "banana", "prompt": "x"} | ({"size": size} if size else {})
    status, answer = as_acme.post("/v1/images/generations", body)
    assert (status, answer["usage"]["credits_charged"]) == (200, credits)
    assert upstream.seen[0].json()["generationConfig"]["imageConfig"] == config


@pytest.mark.parametrize(
    ("size", "status", "code", "param"),
    [
        ("8K", 422, "unknown_dimension", None),
        ("4096x4096", 422, "unknown_dimension", None),
        ("large", 400, "invalid_request", "size"),
        ("1024", 400, "invalid_request", "size"),
        ("9:16", 400, "invalid_request", "size"),
        ("8:1", 400, "invalid_request", "size"),
    ],
)
def test_what_is_not_sold_is_rejected_before_anything_is_charged_or_asked(
    upstream: BadServer, as_acme: Api, banana_in_sizes: AIModel, size: str, status: int, code: str, param: str | None
) -> None:
    answered, answer = as_acme.post("/v1/images/generations", {"model": "banana", "prompt": "x", "size": size})
    assert (answered, answer["error"]["code"], answer["error"]["param"]) == (status, code, param)
    assert not upstream.seen and not Generation.objects.exists()


@pytest.mark.parametrize("body", [{"ratio": "wide"}, {"resolution": "huge"}, {"ratio": "7:1"}])
def test_the_platform_s_callers_are_told_by_their_names(as_alice: Api, banana_in_sizes: AIModel, body: dict[str, str]) -> None:
    status, answer = as_alice.post("/api/ai/image/generate", {"modelId": "banana", "prompt": "x"} | body)
    assert (status, answer["code"], list(answer["details"]["fields"])) == (400, "invalid_request", list(body))


@pytest.mark.parametrize(
    ("body", "credits", "kept", "size"),
    [
        ({}, 20, {"ratio": "9:16", "resolution": "720p"}, "720x1280"),
        ({"size": "72p"}, 20, {"ratio": "9:16", "resolution": "720p"}, "720x1280"),
        ({"size": "128x72"}, 20, {"ratio": "16:9", "resolution": "720p"}, "1280x720"),
        ({"size": "900p"}, 40, {"ratio": "9:16", "resolution": "1080p"}, "1080x1920"),
        ({"size": "1792x1024"}, 40, {"ratio": "16:9", "resolution": "1080p", "pixels": "1792x1024"}, "1792x1024"),
        ({"size": "1:1"}, 20, {"ratio": "1:1", "resolution": "720p"}, "720x720"),
    ],
)
def test_a_video_costs_the_tier_that_is_made(
    as_acme: Api, any_database: None, body: dict[str, str], credits: int, kept: dict[str, str], size: str
) -> None:
    model = video_model(options={"ratios": ["16:9", "9:16", "1:1"]})
    rule = model.billing_rules.get()
    rule.prices.create(dimension="resolution", value="720p", credits=5)
    rule.prices.create(dimension="resolution", value="1080p", credits=10)
    rule.billing_type = "DURATION_RESOLUTION"
    rule.save()
    status, answer = as_acme.post("/v1/videos", {"model": "filmer", "prompt": "x"} | body)
    assert (status, answer["size"]) == (200, size)
    generation = Generation.objects.get()
    assert {name: value for name, value in generation.parameters.items() if name in ("ratio", "resolution", "pixels")} == kept
    assert generation.hold is not None and generation.hold.credits == credits
    for too_large in ("8k", "1K"):
        assert as_acme.post("/v1/videos", {"model": "filmer", "prompt": "x", "size": too_large})[0] == 422


def gemini_answer() -> dict[str, Any]:
    part = {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(bad.PNG).decode()}}
    return {"candidates": [{"content": {"parts": [part], "role": "model"}, "finishReason": "STOP"}]}


def test_an_empty_request_is_no_size() -> None:
    assert read_size(" Auto ").is_readable and not read_size("auto").names_tier
    assert NO_SIZE.is_readable and not read_size("0x0").is_readable
