"""Parameters beside prompt and size: every provider takes what is anybody's default, and rejects what it cannot honour."""

from dataclasses import replace
from typing import Any

import pytest

from aiservices.generations import providers
from aiservices.generations import services as generations
from aiservices.generations.models import Generation
from aiservices.generations.providers.parameters import NAMES
from aiservices.generations.requests import GenerationRequest
from billing.catalog.models import AIModel
from billing.ledger.models import Hold
from gateway_client.fetch import sniff
from tenants.principal import Principal
from tests.aiservices.upstreams import Heard, job
from tests.callers import Api
from tests.catalog import image_model
from waule.core.errors import UnsupportedParameter

PROVIDERS = ["sandbox", "gateway", "gemini", "sora", "openai"]
DEFAULTS = {
    "background": ["auto", "opaque", ""],
    "moderation": ["auto"],
    "negative_prompt": [""],
    "output_compression": [100],
    "output_format": ["png", "PNG", "auto"],
    "quality": ["auto", "standard"],
    "style": ["vivid", "auto"],
    "user": ["customer-7"],
}
DEMANDS = {
    "background": "transparent",
    "moderation": "low",
    "negative_prompt": "dogs",
    "output_compression": 40,
    "output_format": "webp",
    "quality": "max",
    "seed": 7,
    "style": "natural",
}
HONOURED = {
    "sandbox": set(DEMANDS),
    "gateway": set(),
    "gemini": set(),
    "sora": set(),
    "openai": set(DEMANDS) - {"seed", "negative_prompt"},
}


def test_every_name_is_in_these_tables() -> None:
    assert sorted(DEFAULTS | DEMANDS) == sorted(NAMES)


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in DEFAULTS.items() for value in values])
def test_a_default_is_accepted_everywhere(provider: str, name: str, value: Any) -> None:
    providers.get(provider).check(job(parameters={name: value}))


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("name", DEMANDS)
def test_what_cannot_be_honoured_is_named(provider: str, name: str) -> None:
    check = providers.get(provider).check
    if name in HONOURED[provider]:
        check(job(parameters={"output_format": "webp", name: DEMANDS[name]}))
        return
    with pytest.raises(UnsupportedParameter) as caught:
        check(job(parameters={"user": "x", name: DEMANDS[name]}))
    assert (caught.value.http_status, caught.value.code) == (400, "unsupported_parameter")
    assert caught.value.details["param"] == name
    assert list(caught.value.details["fields"]) == [name]


@pytest.mark.django_db
def test_it_is_a_400_that_costs_nothing(as_acme: Api, acme: Any, any_database: None) -> None:
    image_model("gemini-3.1-flash-image", provider="gemini")
    request = GenerationRequest(
        type=Generation.Type.IMAGE, model="gemini-3.1-flash-image", prompt="a cat", parameters={"seed": 7}
    )
    for mode in ("live", "test"):
        with pytest.raises(UnsupportedParameter):
            generations.make_image(caller=Principal("tenant", str(acme.pk), mode), request=request, idempotency_key="k")
    assert (Generation.objects.count(), Hold.objects.count()) == (0, 0)


def test_the_fingerprints_of_older_rows_still_fit() -> None:
    """An Idempotency-Key that was used before parameters existed is a replay, not another body."""
    model = AIModel(id="0198c0de-0000-7000-8000-000000000001")
    request = GenerationRequest(type=Generation.Type.IMAGE, model="m", prompt="a cat", quantity=2)
    assert request.fingerprint(model) == "77615eab615d481fa60dd1702247879636f654eb803d45288182afe8493aca31"
    assert replace(request, parameters={"seed": 1}).fingerprint(model) != replace(request, parameters={"seed": 2}).fingerprint(
        model
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [("background", "plaid"), ("moderation", "none"), ("output_compression", 101), ("output_format", "bmp"), ("style", "odd")],
)
def test_a_rehearsal_knows_the_words_that_some_provider_knows(name: str, value: Any) -> None:
    with pytest.raises(UnsupportedParameter):
        providers.get("sandbox").check(job(parameters={name: value}))


@pytest.mark.parametrize("file_format", ["png", "jpeg", "webp", ""])
def test_the_sandbox_makes_the_format_that_was_asked_for(file_format: str) -> None:
    sandbox = providers.get("sandbox")
    (output,) = sandbox.generate_image(job(parameters={"output_format": file_format}), progress=Heard()).outputs
    assert output.content_type == sniff(output.data[:32]) == f"image/{file_format or 'png'}"


def test_another_seed_is_another_picture_and_drafts_come_first() -> None:
    drafts: list[int] = []
    sandbox = providers.get("sandbox")
    one, same, other = (
        sandbox.generate_image(
            job(parameters={"seed": seed}, partial_images=2, partial=lambda _draft, number: drafts.append(number)),
            progress=Heard(),
        )
        .outputs[0]
        .data
        for seed in (1, 1, 2)
    )
    assert one == same != other
    assert drafts == [0, 1] * 3
