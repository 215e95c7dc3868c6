"""What is sent to the gateway, and what its answers mean."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import jwt
import pytest

from gateway_client import errors
from gateway_client.media_links import find_media_urls
from gateway_client.results import Found
from gateway_client.upstreams import gateway
from gateway_client.upstreams.gateway import call_gateway, generate_by_chat, generate_image, generate_video, headers_for
from tests.gateway_client import bad_server as bad
from tests.gateway_client.bad_server import BadServer
from waule.core.errors import NotConfigured

ALICE = headers_for(user_id="alice-id", idempotency_key="generation-1", request_id="request-1")
ACME = headers_for(tenant_id="acme-id", idempotency_key="generation-2")
PICTURE = {"data": [{"url": "https://cdn.test/1.png"}], "usage": {"credits_charged": 15}}


@pytest.fixture(autouse=True)
def _settings(settings: Any, upstream: BadServer) -> None:
    settings.WAULEAPI_URL = upstream.url
    settings.INTERNAL_JWT = "internal.jwt.planted"
    settings.UPSTREAM_TOTAL_SECONDS = 3


def image(headers: dict[str, str] = ALICE, **options: Any) -> gateway.Made:
    return generate_image(model="doubao-1", prompt="a cat", headers=headers, **options)


def test_an_image(upstream: BadServer) -> None:
    upstream.will(bad.answer(PICTURE))
    made = image(size="16:9", image_size="2K", quantity=2, reference_images=["https://cdn.test/r.png"])
    assert made == gateway.Made((Found("https://cdn.test/1.png"),), 15)
    (seen,) = upstream.seen
    assert (seen.method, seen.path) == ("POST", "/v1/images/generations")
    assert seen.json() == {
        "model": "doubao-1",
        "prompt": "a cat",
        "size": "16:9",
        "image_size": "2K",
        "n": 2,
        "reference_images": ["https://cdn.test/r.png"],
    }
    assert seen.headers["authorization"] == "Bearer internal.jwt.planted"
    assert seen.headers["x-user-id"] == "alice-id"
    assert seen.headers["idempotency-key"] == "generation-1"
    assert seen.headers["x-request-id"] == "request-1"
    assert "x-tenant-id" not in seen.headers


def test_a_tenant_is_named_and_empty_fields_are_left_out(upstream: BadServer) -> None:
    upstream.will(bad.answer(PICTURE))
    image(ACME)
    (seen,) = upstream.seen
    assert seen.headers["x-tenant-id"] == "acme-id"
    assert "x-user-id" not in seen.headers and "x-request-id" not in seen.headers
    assert seen.json() == {"model": "doubao-1", "prompt": "a cat", "n": 1}


def test_a_relative_address_is_the_gateway_s_own(upstream: BadServer) -> None:
    upstream.will(bad.answer({"data": [{"url": "/uploads/1.png"}]}), bad.answer(completion("<img src='/uploads/2.png'>")))
    assert image().media == (Found(f"{upstream.url}/uploads/1.png", is_from_own_address=True),)
    made = generate_by_chat(model="gpt-image", prompt="a cat", headers=ALICE)
    assert made.media == (Found(f"{upstream.url}/uploads/2.png", is_from_own_address=True),)


@pytest.mark.parametrize(("duration", "sent"), [("8", 8), ("7.5", 7.5), ("10.0", 10), (None, None)])
def test_a_video(upstream: BadServer, duration: str | None, sent: float | None) -> None:
    upstream.will(bad.answer({"data": [{"url": "https://cdn.test/v.mp4", "duration": 7.9}], "usage": {"credits_charged": 0}}))
    made = generate_video(
        model="vidu-2",
        prompt="a cat runs",
        headers=ALICE,
        aspect_ratio="9:16",
        resolution="720p",
        duration=Decimal(duration) if duration else None,
        generation_type="text2video",
    )
    assert made == gateway.Made((Found("https://cdn.test/v.mp4", duration=Decimal("7.9")),), 0)
    (seen,) = upstream.seen
    assert seen.path == "/v1/videos/generations"
    expected = {"model": "vidu-2", "prompt": "a cat runs", "aspect_ratio": "9:16", "resolution": "720p"}
    expected |= {"generation_type": "text2video"} | ({"duration": sent} if sent else {})
    assert seen.json() == expected


def completion(content: Any, **choice: Any) -> dict[str, Any]:
    return {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"} | choice],
        "usage": {"credits_charged": 7},
    }


def test_a_chat(upstream: BadServer) -> None:
    upstream.will(bad.answer(completion("Done: <video src='https://cdn.test/v.mp4' controls></video>")))
    made = generate_by_chat(model="sora2", prompt="a cat", headers=ALICE, reference_images=["https://cdn.test/r.png"])
    assert made == gateway.Made((Found("https://cdn.test/v.mp4"),), 7)
    (seen,) = upstream.seen
    assert seen.path == "/v1/sora/chat/completions"
    assert seen.json() == {
        "model": "sora2",
        "stream": True,
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "a cat"},
                    {"type": "image_url", "image_url": {"url": "https://cdn.test/r.png"}},
                ],
            }
        ],
    }


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ('<video src="https://a.test/v.mp4?x=1&amp;y=2" controls>', ["https://a.test/v.mp4?x=1&y=2"]),
        ("```html\n<video controls src='https://a.test/v.mp4'></video>\n```", ["https://a.test/v.mp4"]),
        ("<video><source type='video/mp4' src=https://a.test/v.mp4></video>", ["https://a.test/v.mp4"]),
        (
            '<img alt="x" src="https://a.test/1.png"><img src="https://a.test/2.png">',
            ["https://a.test/1.png", "https://a.test/2.png"],
        ),
        ("![a cat](https://a.test/1.png)", ["https://a.test/1.png"]),
        ('[watch](https://a.test/v.mp4 "title")', ["https://a.test/v.mp4"]),
        ("Here it is: https://a.test/v.mp4.", ["https://a.test/v.mp4"]),
        ("好了：https://a.test/v.mp4。", ["https://a.test/v.mp4"]),
        ("see https://help.test and <video src='https://a.test/v.mp4'>", ["https://a.test/v.mp4"]),
        ("![1](https://a.test/1.png) ![1](https://a.test/1.png)", ["https://a.test/1.png"]),
        ("<video src='javascript:alert(1)'>", []),
        ("<img src='data:image/png;base64,AAAA'>", []),
        ("I cannot do that.", []),
        ("<video " * 30_000 + "[" * 100_000 + "[x](" * 30_000, []),
    ],
)
def test_the_media_url_in_a_text(text: str, urls: list[str]) -> None:
    assert find_media_urls(text) == urls


@pytest.mark.parametrize("content", [None, "I cannot do that.", ""])
def test_a_chat_without_media_made_nothing(upstream: BadServer, content: str | None) -> None:
    upstream.will(bad.answer(completion(content)))
    with pytest.raises(errors.NothingMade) as caught:
        generate_by_chat(model="sora2", prompt="a cat", headers=ALICE)
    assert not caught.value.is_unknown


def test_a_chat_stopped_by_the_content_filter(upstream: BadServer) -> None:
    upstream.will(bad.answer(completion("", finish_reason="content_filter")))
    with pytest.raises(errors.ContentRefused):
        generate_by_chat(model="sora2", prompt="a cat", headers=ALICE)


@pytest.mark.parametrize("body", [{"choices": 1}, {"choices": [1]}, {"choices": [{"message": "x"}]}, completion(5), [], None, 7])
def test_a_chat_of_another_shape_is_unknown(upstream: BadServer, body: Any) -> None:
    upstream.will(bad.answer(body))
    with pytest.raises(errors.OutcomeUnknown):
        generate_by_chat(model="sora2", prompt="a cat", headers=ALICE)


@pytest.mark.parametrize(
    "body",
    [
        *({"data": {"task_id": "1"}}, {"data": "x"}, {"data": [1]}, {"data": [{"url": 5}]}),
        *([], "x", None, 5, b"", b"<html>", b'{"data": [], "data": []}'),
    ],
)
def test_a_200_that_is_not_what_was_promised_is_unknown(upstream: BadServer, body: Any) -> None:
    upstream.will(bad.answer(body))
    with pytest.raises(errors.OutcomeUnknown) as caught:
        image()
    assert caught.value.is_unknown
    assert len(upstream.seen) == 1


@pytest.mark.parametrize(
    "body",
    [
        *({}, {"data": None}, {"data": []}, {"data": {}}, {"data": [{}]}, {"images": None}, {"data": [{"revised_prompt": "x"}]}),
        *({"success": False, "error": "out of cats"}, {"error": {"message": "no"}, "data": []}),
    ],
)
def test_a_200_without_a_result_made_nothing(upstream: BadServer, body: Any) -> None:
    upstream.will(bad.answer(body))
    with pytest.raises(errors.NothingMade) as caught:
        image()
    assert not caught.value.is_unknown


def test_a_200_may_tell_of_the_content_filter(upstream: BadServer) -> None:
    upstream.will(bad.answer({"error": {"message": "no", "type": "content_policy_violation"}}))
    with pytest.raises(errors.ContentRefused):
        image()


@pytest.mark.parametrize("credits", [-1, 1.5, 5.0, "5", True, None, [], 10**30, 2**63, 1e308, "absent"])
def test_absurd_credits_do_not_spoil_the_result(upstream: BadServer, credits: Any) -> None:
    usage = {} if credits == "absent" else {"credits_charged": credits}
    upstream.will(bad.answer(PICTURE | {"usage": usage}))
    made = image()
    assert made.media == (Found("https://cdn.test/1.png"),)
    assert (made.credits_charged, made.flags) == (None, ("odd_credits",))


@pytest.mark.parametrize("usage", [None, 5, [], "x"])
def test_an_absurd_usage_neither(upstream: BadServer, usage: Any) -> None:
    upstream.will(bad.answer(PICTURE | {"usage": usage}))
    assert image().flags == ("odd_credits",)


def test_odd_items_are_left_out_and_flagged(upstream: BadServer) -> None:
    upstream.will(bad.answer(PICTURE | {"data": [{"url": "https://cdn.test/1.png", "revised_prompt": "ein\0e Katze"}, 5]}))
    made = image(quantity=2)
    assert made.media == (Found("https://cdn.test/1.png", revised_prompt="eine Katze"),)
    assert made.flags == ("odd_result",)


def test_more_than_asked_is_left_out_and_flagged(upstream: BadServer) -> None:
    upstream.will(bad.answer(PICTURE | {"data": [{"url": f"https://cdn.test/{i}.png"} for i in range(50)]}))
    made = image(quantity=2)
    assert len(made.media) == 2
    assert made.flags == ("more_than_asked",)


@pytest.mark.parametrize("duration", [-1, 0, "5", 10**12, True, None, 1e300])
def test_an_absurd_duration_is_none(upstream: BadServer, duration: Any) -> None:
    upstream.will(bad.answer({"data": [{"url": "https://cdn.test/v.mp4", "duration": duration}]}))
    assert generate_video(model="m", prompt="p", headers=ALICE).media == (Found("https://cdn.test/v.mp4"),)


def test_the_total_deadline_is_a_setting(upstream: BadServer, settings: Any) -> None:
    settings.UPSTREAM_TOTAL_SECONDS = 0.4
    upstream.will(bad.drip(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 500))
    with pytest.raises(errors.OutcomeTimedOut):
        image()


def test_the_read_timeout_is_a_setting(upstream: BadServer, settings: Any) -> None:
    settings.UPSTREAM_READ_SECONDS = 0.2
    upstream.will(bad.silence(3))
    with pytest.raises(errors.OutcomeTimedOut):
        image()


def test_any_endpoint_for_a_user(upstream: BadServer) -> None:
    upstream.will(bad.answer({"ok": True}))
    assert call_gateway("/v1/other", {"a": 1, "b": None}, "alice-id") == {"ok": True}
    assert (upstream.seen[0].path, upstream.seen[0].json()) == ("/v1/other", {"a": 1})


def test_a_minted_token_logs_nobody_in(upstream: BadServer, settings: Any) -> None:
    settings.INTERNAL_JWT = ""
    upstream.will(bad.answer(PICTURE))
    image()
    token = upstream.seen[0].headers["authorization"].removeprefix("Bearer ")
    claims = jwt.decode(token, settings.JWT_SECRET, algorithms=["HS256"])
    assert claims["iss"] == "waule" and claims["exp"] - claims["iat"] == 600
    assert "userId" not in claims and "user_id" not in claims


@pytest.mark.parametrize("value", ["a b", "ключ", "a\nb"])
def test_a_token_that_cannot_be_sent_is_a_missing_setting(upstream: BadServer, settings: Any, value: str) -> None:
    settings.INTERNAL_JWT = value
    with pytest.raises(NotConfigured) as caught:
        image()
    assert caught.value.details == {"reason": "INTERNAL_JWT"}
    assert upstream.connections == 0


def test_a_gateway_url_that_is_none(settings: Any) -> None:
    settings.WAULEAPI_URL = "localhost:9000"
    with pytest.raises(NotConfigured):
        image()


def test_health(upstream: BadServer, start_server: Callable[..., BadServer]) -> None:
    upstream.will(bad.answer({"status": "ok", "version": "2"}))
    assert gateway.health() == {"status": "ok", "version": "2"}
    assert (upstream.seen[0].method, upstream.seen[0].path) == ("GET", "/health")
    for behaviour in (bad.answer({"status": "sick"}), bad.answer([]), bad.answer({}, 500), bad.hang_up, bad.answer(b"ok")):
        upstream.will(behaviour)
        with pytest.raises(errors.UpstreamError):
            gateway.health()
