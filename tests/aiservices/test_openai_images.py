"""OpenAI's image models: which parameters each is asked with, what contradicts itself, edits with masks, and streams."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from aiservices.generations.providers.base import Output
from aiservices.generations.providers.openai.provider import OpenAI
from gateway_client import errors
from tests.aiservices.upstreams import Heard, job
from tests.gateway_client import bad_server as bad
from tests.gateway_client.bad_server import BadServer
from waule.core.errors import InvalidRequest, UnsupportedParameter

PROVIDER = OpenAI()
B64 = base64.b64encode(bad.PNG).decode()
PICTURE = f"data:image/png;base64,{B64}"
JPEG = "data:image/jpeg;base64," + base64.b64encode(b"\xff\xd8\xff\xe0" + bytes(20)).decode()
MADE = bad.answer({"data": [{"b64_json": B64}]})


@pytest.fixture
def upstream(settings: Any) -> Iterator[BadServer]:
    server = BadServer()
    settings.OPENAI_API_URL = f"{server.url}/v1"
    settings.OPENAI_API_KEY = "sk-planted-openai-key"
    settings.UPSTREAM_TOTAL_SECONDS = 60
    yield server
    server.stop()


SENT: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    # the model · what is asked for · what of it is sent
    ("gpt-image-2", {}, {}),
    ("gpt-image-2", {"quality": "high", "background": "transparent"}, {"quality": "high", "background": "transparent"}),
    ("gpt-image-2", {"quality": "standard", "style": "vivid"}, {}),
    ("gpt-image-2", {"moderation": "low", "user": "u7"}, {"moderation": "low", "user": "u7"}),
    ("gpt-image-2", {"output_format": "png", "output_compression": 100}, {"output_format": "png"}),
    (
        "gpt-image-2",
        {"output_format": "webp", "output_compression": 40},
        {"output_format": "webp", "output_compression": 40},
    ),
    ("gpt-image-2.5-flare", {"quality": "xhigh"}, {"quality": "xhigh"}),
    ("gpt-image-2.6-sunburst", {"quality": "max"}, {"quality": "max"}),
    ("somebody-elses", {"quality": "hd", "style": "natural"}, {"quality": "hd", "style": "natural"}),
]


@pytest.mark.parametrize(("model", "asked", "sent"), SENT)
def test_what_is_sent(upstream: BadServer, model: str, asked: dict[str, Any], sent: dict[str, Any]) -> None:
    upstream.will(MADE)
    PROVIDER.check(job(model_id=model, parameters=asked))
    PROVIDER.generate_image(job(model_id=model, parameters=asked), progress=Heard())
    assert upstream.seen[0].json() == {"model": model, "prompt": "a cat", "n": 1} | sent


REJECTED: list[tuple[str, dict[str, Any], type[InvalidRequest], str]] = [
    # the model · what is asked for · how it is rejected · the field that is named
    ("gpt-image-2", {"quality": "max"}, UnsupportedParameter, "quality"),
    ("gpt-image-2.6-flare", {"quality": "hd"}, UnsupportedParameter, "quality"),
    ("gpt-image-2", {"style": "natural"}, UnsupportedParameter, "style"),
    ("gpt-image-2", {"seed": 1}, UnsupportedParameter, "seed"),
    ("gpt-image-2", {"negative_prompt": "dogs"}, UnsupportedParameter, "negative_prompt"),
    ("gpt-image-2", {"output_format": "gif"}, UnsupportedParameter, "output_format"),
    ("gpt-image-2", {"output_compression": 101}, UnsupportedParameter, "output_compression"),
    ("gpt-image-2", {"output_compression": 40}, InvalidRequest, "output_compression"),
    ("gpt-image-2", {"background": "transparent", "output_format": "jpeg"}, InvalidRequest, "background"),
]


@pytest.mark.parametrize(("model", "asked", "kind", "field"), REJECTED)
def test_what_is_rejected(model: str, asked: dict[str, Any], kind: type[InvalidRequest], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        PROVIDER.check(job(model_id=model, parameters=asked))
    assert (type(caught.value), list(caught.value.details["fields"])) == (kind, [field])


def test_a_models_option_says_which_values_it_sells() -> None:
    options = {"parameters": {"quality": ["low", "medium"], "seed": None}}
    PROVIDER.check(job(model_id="gpt-image-2", parameters={"quality": "low", "seed": 7}, options=options))
    with pytest.raises(UnsupportedParameter):
        PROVIDER.check(job(model_id="gpt-image-2", parameters={"quality": "high"}, options=options))


def test_the_models_own_settings_are_sent_where_the_caller_says_nothing(upstream: BadServer) -> None:
    upstream.will(MADE)
    options = {"quality": "medium", "background": "opaque"}
    PROVIDER.generate_image(job(model_id="gpt-image-2", options=options, parameters={"quality": "low"}), progress=Heard())
    assert {name: upstream.seen[0].json()[name] for name in options} == {"quality": "low", "background": "opaque"}


@pytest.mark.parametrize("fields", [{"mask": PICTURE}, {"mask": JPEG, "reference_images": (PICTURE,)}])
def test_a_mask_that_can_be_none(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        PROVIDER.check(job(model_id="gpt-image-2", **fields))
    assert list(caught.value.details["fields"]) == ["mask"]


def test_an_edit_sends_images_mask_and_parameters(upstream: BadServer) -> None:
    upstream.will(MADE)
    edit = job(model_id="gpt-image-2", reference_images=(PICTURE,) * 3, mask=PICTURE, parameters={"quality": "low"})
    PROVIDER.check(edit)
    PROVIDER.generate_image(edit, progress=Heard())
    (seen,) = upstream.seen
    assert seen.path == "/v1/images/edits"
    assert seen.body.count(b'name="image[]"; filename=') == 3
    assert seen.body.count(b'name="mask"; filename="mask.png"\r\nContent-Type: image/png') == 1
    assert b'name="quality"\r\n\r\nlow\r\n' in seen.body


# --- streams -------------------------------------------------------------------------------------------------------


def event(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "b64_json": B64} | fields


def stream(*, edit: bool = False, n: int = 1) -> tuple[Any, list[tuple[Output, int]]]:
    drafts: list[tuple[Output, int]] = []
    images = (PICTURE,) if edit else ()
    asked = job(
        model_id="gpt-image-2",
        quantity=n,
        reference_images=images,
        partial_images=2,
        partial=lambda output, number: drafts.append((output, number)),
    )
    return PROVIDER.generate_image(asked, progress=Heard()), drafts


@pytest.mark.parametrize("edit", [False, True])
def test_drafts_come_while_it_is_made(upstream: BadServer, edit: bool) -> None:
    name = "image_edit" if edit else "image_generation"
    partials = [event(f"{name}.partial_image", partial_image_index=number) for number in range(2)]
    upstream.will(bad.server_sent(*partials, event(f"{name}.completed"), done=False))
    outcome, drafts = stream(edit=edit)
    picture = Output(data=bad.PNG, content_type="image/png")
    assert outcome.outputs == (picture,)
    assert drafts == [(picture, 0), (picture, 1)]
    (seen,) = upstream.seen
    if edit:
        assert b'name="stream"\r\n\r\ntrue\r\n' in seen.body
    else:
        assert (seen.json()["stream"], seen.json()["partial_images"]) == (True, 2)


def test_several_images_are_several_ends(upstream: BadServer) -> None:
    upstream.will(bad.server_sent(*[event("image_generation.completed")] * 2))
    assert len(stream(n=2)[0].outputs) == 2


def test_what_came_before_the_stream_was_cut_off_is_delivered(upstream: BadServer) -> None:
    upstream.will(bad.server_sent(event("image_generation.completed"), done=False))
    outcome = stream(n=2)[0]
    assert (len(outcome.outputs), outcome.flags) == (1, ("fewer_than_asked", "part_unknown"))


def test_a_picture_of_some_mebibytes_is_one_event(upstream: BadServer) -> None:
    large = bad.PNG + bytes(6 << 20)
    upstream.will(bad.server_sent(event("image_generation.completed", b64_json=base64.b64encode(large).decode())))
    assert len(stream()[0].outputs[0].data) == len(large)


def test_an_answer_that_is_no_stream_after_all(upstream: BadServer) -> None:
    upstream.will(MADE)
    assert stream()[0].outputs == (Output(data=bad.PNG, content_type="image/png"),)


ENDS: list[tuple[list[Any], type[errors.UpstreamError]]] = [
    ([{"type": "error", "error": {"code": "moderation_blocked", "message": "no"}}], errors.ContentRefused),
    ([{"type": "error", "error": {"code": "billing_hard_limit_reached", "message": "no"}}], errors.QuotaExhausted),
    ([{"type": "error", "code": "server_error", "message": "sorry"}], errors.NothingMade),
    ([event("image_generation.partial_image", partial_image_index=0)], errors.OutcomeUnknown),
    ([], errors.OutcomeUnknown),
    (["{"], errors.OutcomeUnknown),
]


@pytest.mark.parametrize(("events", "kind"), ENDS)
def test_how_a_stream_ends_without_an_image(upstream: BadServer, events: list[Any], kind: type[errors.UpstreamError]) -> None:
    upstream.will(bad.server_sent(*events))
    with pytest.raises(errors.UpstreamError) as caught:
        stream()
    assert type(caught.value) is kind
