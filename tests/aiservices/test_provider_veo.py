"""Veo: the requests that create a video, the answers that its operation gives, and whose key asks for it. Tables."""

import base64
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from aiservices.credentials import pool
from aiservices.credentials import services as credentials
from aiservices.credentials.models import CredentialLease, GeminiKey
from aiservices.generations.providers.base import Job
from aiservices.generations.providers.gemini.provider import Gemini
from aiservices.generations.providers.gemini.veo import Operation, operation_of
from gateway_client import errors
from tests.aiservices.credential_rows import KEYS
from tests.aiservices.upstreams import Heard, job
from tests.gateway_client import bad_server as bad
from tests.gateway_client.bad_server import BadServer
from waule.core.errors import InvalidRequest, UnsupportedParameter

pytestmark = [pytest.mark.django_db, pytest.mark.once]  # the database makes no difference
MODEL = "veo-3.1-generate-preview"
NAME = f"models/{MODEL}/operations/abc123"
PICTURE = f"data:image/png;base64,{base64.b64encode(bad.PNG).decode()}"
SENT = {"bytesBase64Encoded": base64.b64encode(bad.PNG).decode(), "mimeType": "image/png"}


@pytest.fixture
def upstream(settings: Any) -> Iterator[BadServer]:
    server = BadServer()
    settings.GEMINI_API_URL = f"{server.url}/v1beta"
    settings.UPSTREAM_TOTAL_SECONDS = settings.VIDEO_JOB_SECONDS = 60
    yield server
    server.stop()


def film(**fields: Any) -> Job:
    return job(**{"model_id": MODEL, "is_video": True, "duration": Decimal(8), "resolution": "720p", "ratio": "16:9"} | fields)


def make(**fields: Any) -> Any:
    return Gemini(pool, poll_seconds=(0.01, 0.01)).generate_video(film(**fields), progress=Heard())


def created() -> bad.Behaviour:
    return bad.answer({"name": NAME})


def over(**fields: Any) -> bad.Behaviour:
    return bad.answer({"name": NAME, "done": True} | fields)


def samples(upstream: BadServer, count: int = 1, **more: Any) -> dict[str, Any]:
    uri = f"{upstream.url}/v1beta/files/f1:download?alt=media"
    return {"generateVideoResponse": {"generatedSamples": [{"video": {"uri": uri}}] * count} | more}


# --- what is sent --------------------------------------------------------------------------------------------------

REQUESTS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    # what is asked for · what of it goes into `instances[0]` beside the prompt · into `parameters`
    "text": ({}, {}, {}),
    "portrait": ({"ratio": "9:16"}, {}, {"aspectRatio": "9:16"}),
    "short": ({"duration": Decimal(4)}, {}, {"durationSeconds": 4}),
    "1080p": ({"resolution": "1080p"}, {}, {"resolution": "1080p"}),
    "4k": ({"resolution": "4K"}, {}, {"resolution": "4k"}),
    "from an image": ({"reference_images": (PICTURE,)}, {"image": SENT}, {}),
    "first and last frame": ({"reference_images": (PICTURE,) * 2}, {"image": SENT, "lastFrame": SENT}, {}),
    "the same by name": (
        {"reference_images": (PICTURE,) * 2, "generation_type": "FIRST_AND_LAST_FRAMES_2_VIDEO"},
        {"image": SENT, "lastFrame": SENT},
        {},
    ),
    "frames, with one": ({"reference_images": (PICTURE,), "generation_type": "frames"}, {"image": SENT}, {}),
    "references": (
        {"reference_images": (PICTURE,) * 2, "generation_type": "reference"},
        {"referenceImages": [{"image": SENT, "referenceType": "asset"}] * 2},
        {},
    ),
    "three images": (
        {"reference_images": (PICTURE,) * 3},
        {"referenceImages": [{"image": SENT, "referenceType": "asset"}] * 3},
        {},
    ),
    "negative prompt": ({"parameters": {"negative_prompt": "dogs", "user": "u"}}, {}, {"negativePrompt": "dogs"}),
    "person generation": ({"options": {"personGeneration": "allow_adult"}}, {}, {"personGeneration": "allow_adult"}),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_what_is_sent(upstream: BadServer, keys: list[GeminiKey], name: str) -> None:
    asked, instance, wanted = REQUESTS[name]
    upstream.will(created(), over(response=samples(upstream)), bad.media(bad.MP4))
    Gemini(pool).check(film(**asked))
    make(**asked).outputs[0].path.unlink()
    seen = upstream.seen[0]
    assert (seen.method, seen.path) == ("POST", f"/v1beta/models/{MODEL}:predictLongRunning")
    assert seen.headers["x-goog-api-key"] == KEYS[0]
    usual = {"aspectRatio": "16:9", "durationSeconds": 8, "resolution": "720p", "sampleCount": 1}
    assert seen.json() == {"instances": [{"prompt": "a cat"} | instance], "parameters": usual | wanted}


REJECTED: dict[str, tuple[dict[str, Any], str]] = {
    # what is asked for · the field that is named
    "1080p in 4 seconds": ({"resolution": "1080p", "duration": Decimal(4)}, "duration"),
    "4k in 6 seconds": ({"resolution": "4k", "duration": Decimal(6)}, "duration"),
    "references in 6 seconds": ({"reference_images": (PICTURE,) * 3, "duration": Decimal(6)}, "duration"),
    "portrait references": ({"reference_images": (PICTURE,) * 3, "ratio": "9:16"}, "ratio"),
    "5 seconds": ({"duration": Decimal(5)}, "duration"),
    "half a second": ({"duration": Decimal("4.5")}, "duration"),
    "a square": ({"ratio": "1:1"}, "ratio"),
    "360p": ({"resolution": "360p"}, "resolution"),
    "an unknown type": ({"generation_type": "dance"}, "generationType"),
    "text with an image": ({"generation_type": "text", "reference_images": (PICTURE,)}, "referenceImages"),
    "frames without any": ({"generation_type": "frames"}, "referenceImages"),
    "references without any": ({"generation_type": "reference"}, "referenceImages"),
    "four references": ({"reference_images": (PICTURE,) * 4}, "referenceImages"),
    "a type the model has not": (
        {"reference_images": (PICTURE,) * 2, "options": {"generationTypes": ["text", "image"]}},
        "generationType",
    ),
    "a duration the model has not": ({"options": {"durations": [4, 6]}}, "duration"),
    "the model's own combinations": (
        {"options": {"combinations": [{"when": {"ratio": "16:9"}, "only": {"resolution": ["1080p"]}}]}},
        "resolution",
    ),
}


@pytest.mark.parametrize("name", REJECTED)
def test_what_it_does_not_make_is_told_before(name: str) -> None:
    asked, field = REJECTED[name]
    with pytest.raises(InvalidRequest) as caught:
        Gemini(pool).check(film(**asked))
    assert (caught.value.http_status, list(caught.value.details["fields"])) == (400, [field])


@pytest.mark.parametrize("name", ["seed", "quality", "style", "background"])
def test_parameters_it_cannot_honour(name: str) -> None:
    with pytest.raises(UnsupportedParameter):
        Gemini(pool).check(film(parameters={name: 7 if name == "seed" else "odd"}))
    with pytest.raises(UnsupportedParameter):
        Gemini(pool).check(film(mask=PICTURE))


# --- what is answered ----------------------------------------------------------------------------------------------


def form(name: str, upstream: BadServer) -> dict[str, Any]:
    """The three forms of an answer, and their relatives."""
    uri = f"{upstream.url}/v1beta/files/f1:download?alt=media"
    encoded = base64.b64encode(bad.MP4).decode()
    return {
        "samples": samples(upstream),
        "samples without the wrapper": {"generatedSamples": [{"video": {"uri": uri}}]},
        "videos by address": {"videos": [{"uri": uri, "mimeType": "video/mp4"}]},
        "videos as bytes": {"videos": [{"bytesBase64Encoded": encoded, "mimeType": "video/mp4"}]},
        "generated videos": {"generatedVideos": [{"video": {"uri": uri}}]},
        "encoded": {"generateVideoResponse": {"generatedSamples": [{"video": {"encodedVideo": encoded}}]}},
        "more than asked": samples(upstream, 2),
        "in part refused": samples(upstream, raiMediaFilteredCount=1, raiMediaFilteredReasons=["audio"]),
    }[name]


FORMS = (
    *("samples", "samples without the wrapper", "videos by address", "videos as bytes", "generated videos", "encoded"),
    *("more than asked", "in part refused"),
)


@pytest.mark.parametrize("name", FORMS)
def test_a_video(upstream: BadServer, keys: list[GeminiKey], name: str) -> None:
    upstream.will(created(), bad.answer({"name": NAME}), over(response=form(name, upstream)), bad.media(bad.MP4))
    ids: list[str] = []
    outcome = make(accepted=ids.append)
    (output,) = outcome.outputs
    assert (output.path.read_bytes() if output.path else output.data) == bad.MP4
    assert (output.url, output.content_type, output.duration) == ("", "video/mp4", 8)
    assert ids == [outcome.upstream_id] == [f"{keys[0].pk}:{NAME}"]
    assert outcome.flags == (("part_refused",) if name == "in part refused" else ())
    assert [f"{seen.method} {seen.path}" for seen in upstream.seen[:3]] == [
        f"POST /v1beta/models/{MODEL}:predictLongRunning",
        *[f"GET /v1beta/{NAME}"] * 2,
    ]
    assert {seen.headers["x-goog-api-key"] for seen in upstream.seen} == {KEYS[0]}
    assert not any(key in seen.path for key in KEYS for seen in upstream.seen)
    assert list(CredentialLease.objects.values_list("outcome", "model")) == [("ok", MODEL)]


RAI = {"raiMediaFilteredCount": 1, "raiMediaFilteredReasons": ["You will not be charged for this request. Support codes: 1"]}
ENDS: dict[str, tuple[dict[str, Any], type[errors.UpstreamError], str]] = {
    # how the operation ends · what that means · the reason that is given
    "filtered": ({"response": {"generateVideoResponse": RAI}}, errors.ContentRefused, "You will not be charged"),
    "filtered, directly": ({"response": RAI}, errors.ContentRefused, "You will not be charged"),
    "filtered, as text": ({"response": {"raiMediaFilteredCount": "2"}}, errors.ContentRefused, "filtered"),
    "nothing": ({"response": {"generateVideoResponse": {}}}, errors.NothingMade, "no_video"),
    "an empty list": ({"response": {"videos": []}}, errors.NothingMade, "no_video"),
    "no response": ({}, errors.NothingMade, "no_video"),
    "an empty twin": ({"response": {"videos": [{"uri": ""}]}}, errors.NothingMade, "no_video"),
    "sensitive words": (
        {"error": {"code": 3, "message": "This prompt contains sensitive words that violate our practices."}},
        errors.ContentRefused,
        "This prompt",
    ),
    "a bad argument": ({"error": {"code": 3, "message": "Unsupported aspect ratio"}}, errors.UpstreamRefused, "Unsupported"),
    "a code as text": ({"error": {"code": "3", "message": "Bad frame"}}, errors.UpstreamRefused, "Bad frame"),
    "a limit": ({"error": {"code": 8, "message": "Quota exceeded"}}, errors.UpstreamRateLimited, "Quota exceeded"),
    "their fault": ({"error": {"code": 13, "message": "Internal error"}}, errors.NothingMade, "Internal error"),
    "an error as text": ({"error": "it broke"}, errors.NothingMade, "it broke"),
}


@pytest.mark.parametrize("name", ENDS)
def test_how_it_ends_without_a_video(upstream: BadServer, keys: list[GeminiKey], name: str) -> None:
    body, kind, reason = ENDS[name]
    upstream.will(created(), over(**body))
    with pytest.raises(errors.UpstreamError) as caught:
        make()
    assert (type(caught.value), caught.value.is_unknown) == (kind, False)
    assert caught.value.details["reason"].startswith(reason)
    assert list(CredentialLease.objects.values_list("outcome", flat=True)) == ["ok"]


# --- asking --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "behaviour",
    [bad.answer({}, 500), bad.answer({}, 429), bad.hang_up, bad.answer(b"<html>"), bad.answer([]), bad.answer({"done": "yes"})],
)
def test_a_question_that_fails_is_asked_again(upstream: BadServer, keys: list[GeminiKey], behaviour: bad.Behaviour) -> None:
    upstream.will(created(), behaviour, over(response=samples(upstream)), bad.media(bad.MP4))
    make().outputs[0].path.unlink()


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_another_key_may_be_of_the_same_project(upstream: BadServer, keys: list[GeminiKey], status: int) -> None:
    upstream.will(created(), bad.answer({}, status), over(response=samples(upstream)), bad.media(bad.MP4))
    make().outputs[0].path.unlink()
    assert [seen.headers["x-goog-api-key"] for seen in upstream.seen] == [KEYS[0], KEYS[0], KEYS[1], KEYS[1]]


def test_a_job_taken_up_again_is_not_created_again(upstream: BadServer, keys: list[GeminiKey]) -> None:
    credentials.disable(credential=keys[1], actor="test")
    upstream_id = f"{keys[1].pk}:{NAME}"
    upstream.will(over(response=samples(upstream)), bad.media(bad.MP4))
    make(upstream_id=upstream_id).outputs[0].path.unlink()
    assert [seen.method for seen in upstream.seen] == ["GET", "GET"]
    assert {seen.headers["x-goog-api-key"] for seen in upstream.seen} == {KEYS[1]}  # that made it, though it is off now


def test_the_key_that_made_it_may_be_gone(upstream: BadServer, keys: list[GeminiKey]) -> None:
    credentials.delete(credential=keys[0], actor="test")
    upstream.will(over(response=samples(upstream)), bad.media(bad.MP4))
    make(upstream_id=f"{keys[0].pk}:{NAME}").outputs[0].path.unlink()
    assert {seen.headers["x-goog-api-key"] for seen in upstream.seen} == {KEYS[1]}


def test_it_can_be_asked_later(upstream: BadServer, keys: list[GeminiKey]) -> None:
    provider, upstream_id = Gemini(pool), f"{keys[0].pk}:{NAME}"
    assert provider.find(film()) is None
    upstream.will(bad.answer({"name": NAME}))
    assert provider.find(film(upstream_id=upstream_id)) is None
    upstream.will(over(response=samples(upstream)), bad.media(bad.MP4))
    found = provider.find(film(upstream_id=upstream_id))
    assert found is not None
    found.outputs[0].path.unlink()
    upstream.will(over(response=RAI))
    with pytest.raises(errors.ContentRefused):
        provider.find(film(upstream_id=upstream_id))


def test_one_that_takes_too_long_may_still_come(upstream: BadServer, keys: list[GeminiKey], settings: Any) -> None:
    settings.VIDEO_JOB_SECONDS = 0.2
    upstream.will(created(), bad.answer({"name": NAME}))
    with pytest.raises(errors.OutcomeTimedOut):
        make()


@pytest.mark.parametrize("body", [{}, {"name": 5}, {"name": ""}, {"name": "../x"}, {"name": "a"}, {"name": "x/" * 150}, []])
def test_a_creation_without_a_name_is_unknown(upstream: BadServer, keys: list[GeminiKey], body: Any) -> None:
    upstream.will(bad.answer(body))
    with pytest.raises(errors.OutcomeUnknown):
        make()
    assert len(upstream.seen) == 1


@pytest.mark.parametrize("text", ["", "video_1", f"x:{NAME}", "0198c0de-0000-7000-8000-000000000001:../../x"])
def test_ids_that_are_none_of_ours(text: str) -> None:
    assert operation_of(text) is None


def test_an_id_is_read_as_it_was_written(keys: list[GeminiKey]) -> None:
    operation = Operation(keys[0].pk, NAME)
    assert operation_of(str(operation)) == operation


# --- the file ------------------------------------------------------------------------------------------------------


def test_the_key_goes_to_no_other_server(upstream: BadServer, keys: list[GeminiKey], settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    elsewhere = BadServer().will(bad.media(bad.MP4))
    upstream.will(created(), over(response={"videos": [{"uri": f"{elsewhere.url}/f1"}]}))
    make().outputs[0].path.unlink()
    assert "x-goog-api-key" not in elsewhere.seen[0].headers
    elsewhere.stop()


def test_redirects_are_followed_and_the_key_stays_behind(upstream: BadServer, keys: list[GeminiKey], settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    elsewhere = BadServer().will(bad.media(bad.MP4))
    here, there = (bad.answer({}, 302, {"Location": to}) for to in ("/v1beta/files/f2", f"{elsewhere.url}/signed?x=1"))
    upstream.will(created(), over(response=samples(upstream)), here, there)
    make().outputs[0].path.unlink()
    assert upstream.seen[-1].path == "/v1beta/files/f2"
    assert upstream.seen[-1].headers["x-goog-api-key"] == KEYS[0]
    assert (elsewhere.seen[0].path, "x-goog-api-key" in elsewhere.seen[0].headers) == ("/signed?x=1", False)
    elsewhere.stop()


def test_a_forbidden_address_is_not_fetched(upstream: BadServer, keys: list[GeminiKey], settings: Any) -> None:
    settings.OUTBOUND_ALLOW = []
    for uri in ("http://169.254.169.254/latest", "gs://bucket/video.mp4", f"{upstream.url.replace('//', '//u@')}/x"):
        upstream.will(created(), over(response={"videos": [{"uri": uri}]}))
        with pytest.raises(errors.Unusable):
            make()


@pytest.mark.parametrize("behaviour", [bad.answer({}, 404), bad.media(b"<html>"), bad.answer(bad.MP4, length=9999)])
def test_a_file_that_cannot_be_had_is_asked_for_again_later(
    upstream: BadServer, keys: list[GeminiKey], behaviour: bad.Behaviour
) -> None:
    upstream.will(created(), over(response=samples(upstream)), behaviour)
    with pytest.raises(errors.NotFetched):
        make()


# --- the key -------------------------------------------------------------------------------------------------------


def test_the_next_key_makes_it_where_one_is_refused(upstream: BadServer, keys: list[GeminiKey]) -> None:
    refused = {"error": {"code": 400, "status": "FAILED_PRECONDITION", "message": "Billing is not enabled."}}
    upstream.will(bad.answer(refused, 400), created(), over(response=samples(upstream)), bad.media(bad.MP4))
    outcome = make()
    outcome.outputs[0].path.unlink()
    assert outcome.upstream_id.startswith(str(keys[1].pk))
    assert re.findall(r"[a-z_]+", " ".join(CredentialLease.objects.order_by("id").values_list("outcome", flat=True))) == [
        "invalid",
        "ok",
    ]
