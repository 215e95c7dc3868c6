"""Anyone who speaks OpenAI's API: images by URL or base64, videos as jobs that can be asked for."""

import base64
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from aiservices.generations.providers.base import Output
from aiservices.generations.providers.openai.provider import OpenAI
from gateway_client import errors
from tests.aiservices.upstreams import Heard, job
from tests.gateway_client import bad_server as bad
from tests.gateway_client.bad_server import BadServer
from waule.core.errors import NotConfigured

PROVIDER = OpenAI(poll_seconds=(0.01, 0.01))
B64 = base64.b64encode(bad.PNG).decode()


@pytest.fixture
def upstream(settings: Any) -> Iterator[BadServer]:
    server = BadServer()
    settings.OPENAI_API_URL = f"{server.url}/v1"
    settings.OPENAI_API_KEY = "sk-planted-openai-key"
    settings.UPSTREAM_TOTAL_SECONDS = settings.VIDEO_JOB_SECONDS = 3
    yield server
    server.stop()


def video(status: str, **fields: Any) -> bad.Behaviour:
    return bad.answer({"id": "video_1", "object": "video", "status": status} | fields)


def test_images(upstream: BadServer) -> None:
    upstream.will(bad.answer({"data": [{"url": "https://cdn.test/1.png", "revised_prompt": "cat"}, {"b64_json": B64}]}))
    outcome = PROVIDER.generate_image(
        job(quantity=2, resolution="1024x1024", ratio="1:1", options={"quality": "high", "secret": "x"}), progress=Heard()
    )
    assert outcome.outputs == (
        Output(url="https://cdn.test/1.png", revised_prompt="cat"),
        Output(data=bad.PNG, content_type="image/png"),
    )
    (seen,) = upstream.seen
    assert (seen.method, seen.path) == ("POST", "/v1/images/generations")
    assert seen.headers["authorization"] == "Bearer sk-planted-openai-key"
    assert seen.headers["idempotency-key"] == job().generation_id
    assert seen.json() == {"model": "model-1", "prompt": "a cat", "n": 2, "size": "1024x1024", "quality": "high"}


def test_reference_images_make_it_an_edit(upstream: BadServer) -> None:
    upstream.will(bad.answer({"data": [{"b64_json": B64}]}))
    PROVIDER.generate_image(job(reference_images=(f"data:image/png;base64,{B64}",) * 2), progress=Heard())
    (seen,) = upstream.seen
    assert seen.path == "/v1/images/edits"
    assert seen.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert seen.body.count(b'name="image[]"; filename=') == 2
    assert seen.body.count(bad.PNG) == 2
    assert b'name="prompt"\r\n\r\na cat\r\n' in seen.body


@pytest.mark.parametrize("body", [{"data": 1}, {"data": [1]}, {"data": [{"b64_json": "AAAA"}]}, [], b"x"])
def test_images_of_another_shape_are_unknown(upstream: BadServer, body: Any) -> None:
    upstream.will(bad.answer(body))
    with pytest.raises(errors.OutcomeUnknown):
        PROVIDER.generate_image(job(), progress=Heard())


@pytest.mark.parametrize("body", [{}, {"data": None}, {"data": []}, {"data": [{}]}, {"data": [{"b64_json": None, "url": ""}]}])
def test_no_image_is_nothing_made(upstream: BadServer, body: Any) -> None:
    upstream.will(bad.answer(body))
    with pytest.raises(errors.NothingMade):
        PROVIDER.generate_image(job(), progress=Heard())


def test_odd_and_surplus_images_are_flagged(upstream: BadServer) -> None:
    upstream.will(bad.answer({"data": [{"b64_json": "%"}, {"b64_json": B64}, {"b64_json": B64}]}))
    outcome = PROVIDER.generate_image(job(quantity=2), progress=Heard())
    assert len(outcome.outputs) == 2
    assert outcome.flags == ("odd_result",)


def test_a_video(upstream: BadServer) -> None:
    upstream.will(video("queued"), video("queued"), video("in_progress", progress=40), video("completed"), bad.media(bad.MP4))
    heard, ids = Heard(), []
    outcome = PROVIDER.generate_video(
        job(duration=Decimal(8), resolution="720p", ratio="9:16", accepted=ids.append), progress=heard
    )
    (output,) = outcome.outputs
    assert output.path is not None and output.path.read_bytes() == bad.MP4
    output.path.unlink()
    assert (output.content_type, output.duration, outcome.upstream_id) == ("video/mp4", 8, "video_1")
    assert (heard, ids) == ([40], ["video_1"])
    assert [f"{seen.method} {seen.path}" for seen in upstream.seen] == [
        "POST /v1/videos",
        *["GET /v1/videos/video_1"] * 3,
        "GET /v1/videos/video_1/content",
    ]
    assert upstream.seen[0].json() == {"model": "model-1", "prompt": "a cat", "seconds": "8", "size": "720x1280"}


def test_a_video_from_an_image(upstream: BadServer) -> None:
    upstream.will(video("queued"), video("completed"), bad.media(bad.MP4))
    outcome = PROVIDER.generate_video(job(reference_images=(f"data:image/png;base64,{B64}",)), progress=Heard())
    assert b'name="input_reference"; filename="1.png"' in upstream.seen[0].body
    outcome.outputs[0].path.unlink()


def test_a_job_taken_up_again_is_not_created_again(upstream: BadServer) -> None:
    upstream.will(video("completed"), bad.media(bad.MP4))
    outcome = PROVIDER.generate_video(job(upstream_id="video_1"), progress=Heard())
    assert [seen.method for seen in upstream.seen] == ["GET", "GET"]
    outcome.outputs[0].path.unlink()


@pytest.mark.parametrize("behaviour", [bad.answer({}, 500), bad.answer({}, 429), bad.hang_up, bad.answer({}, length=50)])
def test_a_question_that_fails_is_asked_again(upstream: BadServer, behaviour: bad.Behaviour) -> None:
    upstream.will(video("queued"), behaviour, video("completed"), bad.media(bad.MP4))
    outcome = PROVIDER.generate_video(job(), progress=Heard())
    outcome.outputs[0].path.unlink()


@pytest.mark.parametrize("behaviour", [bad.answer({}, 404), bad.answer({}, 401), bad.answer({}), bad.answer(b"<html>")])
def test_an_accepted_video_is_never_given_up_as_failed(upstream: BadServer, behaviour: bad.Behaviour) -> None:
    upstream.will(video("queued"), behaviour)
    with pytest.raises(errors.OutcomeUnknown):
        PROVIDER.generate_video(job(), progress=Heard())


def test_a_video_that_takes_too_long_is_unknown(upstream: BadServer, settings: Any) -> None:
    settings.VIDEO_JOB_SECONDS = 0.2
    upstream.will(video("queued"))
    with pytest.raises(errors.OutcomeTimedOut):
        PROVIDER.generate_video(job(), progress=Heard())


def test_a_failed_video_is_nothing_made(upstream: BadServer) -> None:
    upstream.will(video("queued"), video("failed", error={"code": "server_error", "message": "sorry"}))
    with pytest.raises(errors.NothingMade) as caught:
        PROVIDER.generate_video(job(), progress=Heard())
    assert caught.value.details["reason"] == "sorry"


def test_a_video_of_refused_content(upstream: BadServer) -> None:
    upstream.will(video("queued"), video("failed", error={"code": "moderation_blocked", "message": "no"}))
    with pytest.raises(errors.ContentRefused):
        PROVIDER.generate_video(job(), progress=Heard())


@pytest.mark.parametrize("body", [{}, {"id": 5}, {"id": ""}, {"id": "a b"}, {"id": ".."}, {"id": "x" * 200}, []])
def test_a_video_without_an_id_is_unknown(upstream: BadServer, body: Any) -> None:
    upstream.will(bad.answer(body))
    with pytest.raises(errors.OutcomeUnknown):
        PROVIDER.generate_video(job(), progress=Heard())


def test_an_id_cannot_lead_elsewhere(upstream: BadServer) -> None:
    upstream.will(bad.answer({"id": "../../v1/models?x=1#y", "status": "queued"}), bad.answer({}, 404))
    with pytest.raises(errors.OutcomeUnknown):
        PROVIDER.generate_video(job(), progress=Heard())
    assert upstream.seen[1].path == "/v1/videos/..%2F..%2Fv1%2Fmodels%3Fx%3D1%23y"


@pytest.mark.parametrize("behaviour", [bad.answer({}, 404), bad.media(b"<html>"), bad.answer(bad.MP4, length=9999)])
def test_a_finished_video_that_cannot_be_had_is_unknown(upstream: BadServer, behaviour: bad.Behaviour) -> None:
    upstream.will(video("completed"), video("completed"), behaviour)
    with pytest.raises(errors.NotFetched):
        PROVIDER.generate_video(job(), progress=Heard())


def test_a_job_is_found_by_its_id(upstream: BadServer) -> None:
    assert PROVIDER.find(job()) is None
    upstream.will(video("in_progress"))
    assert PROVIDER.find(job(upstream_id="video_1")) is None
    upstream.will(video("completed"), bad.media(bad.MP4))
    outcome = PROVIDER.find(job(upstream_id="video_1"))
    assert outcome is not None
    outcome.outputs[0].path.unlink()
    upstream.will(video("failed"))
    with pytest.raises(errors.NothingMade):
        PROVIDER.find(job(upstream_id="video_1"))


def test_without_its_key_it_is_not_configured(upstream: BadServer, settings: Any) -> None:
    settings.OPENAI_API_KEY = ""
    for verb in (PROVIDER.generate_image, PROVIDER.generate_video):
        with pytest.raises(NotConfigured):
            verb(job(), progress=Heard())


@pytest.mark.parametrize(
    ("answers", "failure"),
    [
        ([{"status": "QUEUED"}, {"status": "COMPLETED"}], None),
        ([{"data": {"status": "IN_PROGRESS"}}, {"data": {"status": "SUCCESS"}}], None),
        ([{"status": "unknown"}, {"status": "succeeded"}], None),
        ([{}, {"status": "a_new_word"}, {"status": "Success"}], None),
        ([{"status": "FAILED", "error": {"message": "no"}}], errors.NothingMade),
        ([{"code": "success", "data": {"status": "FAILURE", "error": {"message": "no"}}}], errors.NothingMade),
        ([{"status": "failed", "error": {"message": "no", "code": "moderation_blocked"}}], errors.ContentRefused),
        ([{"status": "Terminated"}], errors.NothingMade),
        ([{"status": "cancelled"}], errors.NothingMade),
        ([{"status": "expired"}], errors.NothingMade),
    ],
)
def test_states_in_other_spellings(upstream: BadServer, answers: list[Any], failure: Any) -> None:
    film = [] if failure else [bad.media(bad.MP4)]
    upstream.will(bad.answer({"task_id": "video_1"}), *(bad.answer(each) for each in answers), *film)
    if failure:
        with pytest.raises(failure) as caught:
            PROVIDER.generate_video(job(), progress=Heard())
        assert not caught.value.is_unknown
        return
    (output,) = PROVIDER.generate_video(job(), progress=Heard()).outputs
    assert output.path is not None
    output.path.unlink()


def test_a_state_that_nobody_understands_is_asked_until_the_deadline(upstream: BadServer) -> None:
    upstream.will(video("queued"), video("perhaps"))
    with pytest.raises(errors.OutcomeTimedOut):
        PROVIDER.generate_video(job(), progress=Heard())


@pytest.mark.parametrize("status", [404, 501])
def test_a_relay_that_serves_no_content_names_the_video_itself(upstream: BadServer, status: int) -> None:
    done = {"id": "video_1", "status": "completed", "metadata": {"url": "https://cdn.test/v.mp4"}}
    upstream.will(video("queued"), bad.answer(done), bad.answer({}, status))
    (output,) = PROVIDER.generate_video(job(), progress=Heard()).outputs
    assert output.url == "https://cdn.test/v.mp4"


def test_a_broken_answer_while_it_is_asked_is_no_end(upstream: BadServer) -> None:
    broken = bad.answer({"error": {"message": "busy", "type": "server_error"}}, 503)
    upstream.will(video("queued"), broken, video("completed"), bad.media(bad.MP4))
    (output,) = PROVIDER.generate_video(job(), progress=Heard()).outputs
    assert output.path is not None
    output.path.unlink()
