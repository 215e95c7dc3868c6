"""The Sora token service: a streamed chat with progress, and the media URL at its end."""

from collections.abc import Iterator
from typing import Any

import pytest

from aiservices.generations.providers.base import Output
from aiservices.generations.providers.sora import Sora
from gateway_client import errors
from tests.aiservices.conftest import PIXEL
from tests.aiservices.upstreams import Heard, job
from tests.gateway_client import bad_server as bad
from tests.gateway_client.bad_server import BadServer
from waule.core.errors import NotConfigured

VIDEO = "```html\n<video src='https://cdn.test/v.mp4?a=1&amp;b=2' controls></video>\n```"


@pytest.fixture
def upstream(settings: Any) -> Iterator[BadServer]:
    server = BadServer()
    settings.SORA_API_URL = server.url
    settings.SORA_API_KEY = "sora-planted-key"
    settings.UPSTREAM_TOTAL_SECONDS = settings.VIDEO_JOB_SECONDS = 2
    yield server
    server.stop()


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


def test_a_video(upstream: BadServer) -> None:
    upstream.will(
        bad.server_sent(
            delta(role="assistant", content=None, reasoning_content="**Process**: started\n"),
            delta(reasoning_content="Progress: 12% (processing)\n"),
            delta(reasoning_content="Progress: 7%\n"),
            delta(reasoning_content="Progress: 45.5 %\n"),
            delta(reasoning_content="Progress: 100%\n"),
            delta(content=VIDEO[:30]),
            delta(content=VIDEO[30:], finish="STOP"),
        )
    )
    heard = Heard()
    outcome = Sora().generate_video(job(model_id="sora2-landscape-10s", reference_images=(PIXEL,)), progress=heard)
    assert outcome.outputs == (Output(url="https://cdn.test/v.mp4?a=1&b=2"),)
    assert heard == [12, 45, 99]
    (seen,) = upstream.seen
    assert (seen.method, seen.path) == ("POST", "/v1/chat/completions")
    assert seen.headers["authorization"] == "Bearer sora-planted-key"
    assert seen.headers["idempotency-key"] == job().generation_id
    body = seen.json()
    assert (body["model"], body["stream"]) == ("sora2-landscape-10s", True)
    assert body["messages"][0]["content"][1] == {"type": "image_url", "image_url": {"url": PIXEL}}


def test_images(upstream: BadServer) -> None:
    upstream.will(bad.server_sent(delta(content="![Generated Image](https://cdn.test/1.png)")))
    outcome = Sora().generate_image(job(model_id="gpt-image", quantity=2), progress=Heard())
    assert outcome.outputs == (Output(url="https://cdn.test/1.png"),) * 2
    assert len(upstream.seen) == 2


def test_a_plain_completion_will_do(upstream: BadServer) -> None:
    upstream.will(bad.answer({"choices": [{"message": {"content": VIDEO}}]}))
    assert len(Sora().generate_video(job(), progress=Heard()).outputs) == 1


def test_the_end_of_the_stream_is_not_waited_for(upstream: BadServer) -> None:
    """A service that says [DONE] and keeps the connection open has said all."""
    done = bad.server_sent(delta(content=VIDEO))

    def linger(stream: Any, request: Any) -> None:
        done(stream, request)
        bad.silence(5)(stream, request)

    upstream.will(linger)
    assert len(Sora().generate_video(job(), progress=Heard()).outputs) == 1


UNKNOWN = {
    "cut_off": bad.server_sent(delta(reasoning_content="5%"), done=False),
    "cut_off_after_a_url": bad.server_sent(delta(content="https://cdn.test/v.m"), done=False),
    "hang_up": bad.hang_up,
    "html": bad.answer(b"<html>Welcome</html>"),
    "garbage_event": bad.server_sent("{nonsense"),
    "no_object": bad.server_sent([1]),
    "nan": bad.server_sent('{"choices": NaN}'),
    "endless": bad.endless(b"data: {}\n"),
    "endless_line": bad.endless(b"x" * 65536),
    "status": bad.answer({}, 502),
    "empty": bad.answer(b""),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_outcome(upstream: BadServer, name: str) -> None:
    upstream.will(UNKNOWN[name])
    with pytest.raises(errors.OutcomeUnknown):
        Sora().generate_video(job(), progress=Heard())
    assert len(upstream.seen) == 1


def test_a_video_job_has_a_deadline_of_its_own(upstream: BadServer, settings: Any) -> None:
    settings.UPSTREAM_TOTAL_SECONDS, settings.VIDEO_JOB_SECONDS = 60, 0.5
    upstream.will(bad.drip(b"HTTP/1.1 200 OK\r\n\r\n" + b": ping\n\n" * 999, every_seconds=0.02))
    with pytest.raises(errors.OutcomeTimedOut):
        Sora().generate_video(job(), progress=Heard())


NOTHING = {
    "no_url": bad.server_sent(delta(content="Sorry.", finish="stop")),
    "told_error": bad.server_sent({"error": {"message": "Generation failed", "type": "server_error"}}),
    "no_choices": bad.server_sent({"choices": []}),
}


@pytest.mark.parametrize("name", NOTHING)
def test_nothing_made(upstream: BadServer, name: str) -> None:
    upstream.will(NOTHING[name])
    with pytest.raises(errors.NothingMade) as caught:
        Sora().generate_video(job(), progress=Heard())
    assert not caught.value.is_unknown


@pytest.mark.parametrize(
    "behaviour",
    [
        bad.server_sent({"error": {"message": "no", "type": "content_policy_violation"}}),
        bad.server_sent({"error": {"message": "no", "code": "moderation_blocked"}}),
        bad.server_sent(delta(finish="content_filter")),
        bad.answer({"error": {"message": "no", "code": "content_filter"}}, 400),
    ],
)
def test_the_content_filter(upstream: BadServer, behaviour: bad.Behaviour) -> None:
    upstream.will(behaviour)
    with pytest.raises(errors.ContentRefused):
        Sora().generate_video(job(), progress=Heard())


def test_progress_may_stop_the_work(upstream: BadServer) -> None:
    class Stop(Exception):
        pass

    def stop(percent: int) -> None:
        raise Stop

    upstream.will(bad.server_sent(delta(reasoning_content="50%"), delta(content=VIDEO)))
    with pytest.raises(Stop):
        Sora().generate_video(job(), progress=stop)


def test_without_its_key_it_is_not_configured(upstream: BadServer, settings: Any) -> None:
    settings.SORA_API_KEY = ""
    with pytest.raises(NotConfigured) as caught:
        Sora().generate_video(job(), progress=Heard())
    assert caught.value.details == {"reason": "SORA_API_KEY"}
    assert upstream.connections == 0


def test_it_cannot_be_asked() -> None:
    assert Sora().find(job()) is None
