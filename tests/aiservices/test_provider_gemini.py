"""Gemini: its wire format, its rejections, and which key is tried next."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from aiservices.credentials import pool
from aiservices.credentials import services as credentials
from aiservices.credentials.models import CredentialLease, GeminiKey
from aiservices.errors import CredentialsExhausted
from aiservices.generations.providers.base import Output
from aiservices.generations.providers.gemini.provider import Gemini
from gateway_client import errors
from tests.aiservices.credential_rows import KEYS
from tests.aiservices.upstreams import Heard, job, pictures
from tests.gateway_client import bad_server as bad
from tests.gateway_client.bad_server import BadServer
from waule.core.errors import NotConfigured

pytestmark = [pytest.mark.django_db, pytest.mark.once]  # the database makes no difference


@pytest.fixture
def upstream(settings: Any) -> Iterator[BadServer]:
    server = BadServer()
    settings.GEMINI_API_URL = f"{server.url}/v1beta"
    settings.UPSTREAM_TOTAL_SECONDS = 4
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    yield server
    server.stop()


def error(status: int, **fields: Any) -> bad.Behaviour:
    return bad.answer({"error": {"code": status, "message": "no", "status": "X"} | fields}, status)


def ask(**fields: Any) -> Any:
    return Gemini(pool).generate_image(job(model_id="gemini-2.5-flash-image", **fields), progress=Heard())


def outcomes() -> list[str]:
    return list(CredentialLease.objects.order_by("created_at", "id").values_list("outcome", flat=True))


def test_an_image(upstream: BadServer, keys: list[GeminiKey]) -> None:
    upstream.will(bad.answer(pictures(bad.PNG)))
    assert ask(ratio="16:9", resolution="2K").outputs == (Output(data=bad.PNG, content_type="image/png"),)
    (seen,) = upstream.seen
    assert (seen.method, seen.path) == ("POST", "/v1beta/models/gemini-2.5-flash-image:generateContent")
    assert seen.headers["x-goog-api-key"] == KEYS[0]
    assert "authorization" not in seen.headers
    assert seen.json() == {
        "contents": [{"role": "user", "parts": [{"text": "a cat"}]}],
        "generationConfig": {
            "responseModalities": ["TEXT", "IMAGE"],
            "imageConfig": {"aspectRatio": "16:9", "imageSize": "2K"},
        },
    }
    assert outcomes() == ["ok"]


@pytest.mark.parametrize(
    ("ratio", "resolution", "config"),
    [
        ("", "", None),
        ("1:1", "", {"aspectRatio": "1:1"}),
        ("", "4k", {"imageSize": "4K"}),
        ("21:9", "1024x1024", {"aspectRatio": "21:9", "imageSize": "1K"}),
        ("8:1", "512x512", {"aspectRatio": "8:1", "imageSize": "512"}),
        ("4:3", "3840x2160", {"aspectRatio": "4:3", "imageSize": "4K"}),
    ],
)
def test_shape_and_size(
    upstream: BadServer, keys: list[GeminiKey], ratio: str, resolution: str, config: dict[str, str] | None
) -> None:
    upstream.will(bad.answer(pictures(bad.PNG)))
    ask(ratio=ratio, resolution=resolution)
    assert upstream.seen[0].json()["generationConfig"].get("imageConfig") == config


def test_reference_images_are_sent_inline(upstream: BadServer, keys: list[GeminiKey]) -> None:
    data = base64.b64encode(bad.PNG).decode()
    upstream.will(bad.media(bad.PNG), bad.answer(pictures(bad.PNG)))
    ask(reference_images=(f"{upstream.url}/r.png", f"data:image/png;base64,{data}"))
    assert upstream.seen[0].path == "/r.png"
    parts = upstream.seen[1].json()["contents"][0]["parts"]
    assert parts[1:] == [{"inlineData": {"mimeType": "image/png", "data": data}}] * 2


def test_a_bad_reference_image_needs_no_key(upstream: BadServer, keys: list[GeminiKey], settings: Any) -> None:
    settings.OUTBOUND_ALLOW = []
    with pytest.raises(errors.ReferenceImageUnusable):
        ask(reference_images=(f"{upstream.url}/r.png",))
    assert upstream.connections == 0
    assert outcomes() == []


def test_several_images_are_several_requests(upstream: BadServer, keys: list[GeminiKey]) -> None:
    upstream.will(bad.answer(pictures(bad.PNG)))
    outcome = ask(quantity=3)
    assert len(outcome.outputs) == 3
    assert outcome.flags == ()
    assert len(upstream.seen) == 3


@pytest.mark.parametrize(
    ("then", "flags"),
    [(bad.hang_up, ("fewer_than_asked", "part_unknown")), (error(400), ("fewer_than_asked",))],
)
def test_what_was_made_is_delivered(
    upstream: BadServer, keys: list[GeminiKey], then: bad.Behaviour, flags: tuple[str, ...]
) -> None:
    upstream.will(bad.answer(pictures(bad.PNG)), then)
    outcome = ask(quantity=3)
    assert len(outcome.outputs) == 1
    assert outcome.flags == flags


def test_drafts_are_no_results(upstream: BadServer, keys: list[GeminiKey]) -> None:
    body = pictures(bad.PNG, bad.PNG)
    body["candidates"][0]["content"]["parts"][1]["thought"] = True
    upstream.will(bad.answer(body))
    assert len(ask().outputs) == 1


REJECTIONS = {
    "prompt": {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}},
    "prompt_and_empty": {"promptFeedback": {"blockReason": "SAFETY"}, "candidates": []},
    "safety": pictures(finishReason="IMAGE_SAFETY"),
    "no_content": {"candidates": [{"finishReason": "RECITATION"}]},
}


@pytest.mark.parametrize("name", REJECTIONS)
def test_a_refusal_blames_nobodys_key(upstream: BadServer, keys: list[GeminiKey], name: str) -> None:
    upstream.will(bad.answer(REJECTIONS[name]))
    with pytest.raises(errors.ContentRefused):
        ask()
    assert outcomes() == ["content_refused"]
    assert len(upstream.seen) == 1


@pytest.mark.parametrize("body", [{"candidates": []}, pictures(), {"candidates": [{"finishReason": "STOP"}]}])
def test_nothing_made(upstream: BadServer, keys: list[GeminiKey], body: Any) -> None:
    upstream.will(bad.answer(body))
    with pytest.raises(errors.NothingMade) as caught:
        ask()
    assert not caught.value.is_unknown


def inline(data: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": [{"inlineData": {"data": data}}]}}]}


@pytest.mark.parametrize(
    "body",
    [
        *([], None, {"candidates": 1}, {"candidates": [1]}, {"candidates": [{"content": {"parts": 1}}]}, b"<html>"),
        *(inline(5), inline("%%%"), inline("AAAA")),
    ],
)
def test_what_was_not_promised_is_unknown(upstream: BadServer, keys: list[GeminiKey], body: Any) -> None:
    upstream.will(bad.answer(body))
    with pytest.raises(errors.OutcomeUnknown):
        ask()
    assert outcomes() == ["error"]
    assert len(upstream.seen) == 1


def test_a_picture_of_20_mebibytes_arrives(upstream: BadServer, keys: list[GeminiKey]) -> None:
    """A 4K picture in base64 is longer than JSON is otherwise allowed to be."""
    upstream.will(bad.answer(pictures(bad.PNG + bytes(20 << 20))))
    assert len(ask().outputs[0].data) == len(bad.PNG) + (20 << 20)


INVALID = {"details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]}


@pytest.mark.parametrize(
    "rejection", [error(400, **INVALID), error(400, message="API key not valid. Pass one."), error(401), error(403)]
)
def test_the_next_key_is_tried_when_one_is_refused(upstream: BadServer, keys: list[GeminiKey], rejection: bad.Behaviour) -> None:
    upstream.will(rejection, bad.answer(pictures(bad.PNG)))
    assert len(ask().outputs) == 1
    assert [seen.headers["x-goog-api-key"] for seen in upstream.seen] == KEYS
    assert outcomes() == ["invalid", "ok"]


def test_when_every_key_is_refused_it_is_a_502(upstream: BadServer, keys: list[GeminiKey]) -> None:
    upstream.will(error(403))
    with pytest.raises(errors.CredentialRefused) as caught:
        ask()
    assert (caught.value.http_status, caught.value.code, caught.value.is_unknown) == (502, "upstream_error", False)
    assert len(upstream.seen) == 2
    assert not any(key in f"{caught.value!r}{caught.value.details}" for key in KEYS)


def retry(delay: str) -> dict[str, Any]:
    return {"details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}]}


def test_the_next_key_is_tried_at_a_limit(upstream: BadServer, keys: list[GeminiKey]) -> None:
    upstream.will(error(429, **retry("33.5s")), bad.answer(pictures(bad.PNG)))
    assert len(ask().outputs) == 1
    assert outcomes() == ["rate_limited", "ok"]
    assert len(upstream.seen) == 2


@pytest.mark.parametrize(("delay", "seconds"), [("33s", 33), ("33.2s", 34), ("x", None), ("", None), ("9" * 20 + "s", None)])
def test_when_every_key_is_at_its_limit_it_is_a_429(
    upstream: BadServer, keys: list[GeminiKey], delay: str, seconds: int | None
) -> None:
    upstream.will(error(429, **retry(delay)))
    with pytest.raises(errors.UpstreamRateLimited) as caught:
        ask()
    assert caught.value.retry_after_seconds == seconds
    assert (caught.value.http_status, caught.value.is_unknown) == (429, False)
    assert len(upstream.seen) == 2


def test_a_limit_of_the_last_key_that_passes_soon_is_waited_for(upstream: BadServer, keys: list[GeminiKey]) -> None:
    credentials.disable(credential=keys[1], actor="test")
    upstream.will(error(429, **retry("1s")), bad.answer(pictures(bad.PNG)))
    assert len(ask().outputs) == 1
    assert outcomes() == ["rate_limited", "ok"]


def test_a_daily_quota_is_a_quota(upstream: BadServer, keys: list[GeminiKey]) -> None:
    violation = {"violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel"}]}
    upstream.will(error(429, details=[violation]), bad.answer(pictures(bad.PNG)))
    ask()
    assert outcomes() == ["quota_exhausted", "ok"]


def test_each_attempt_is_noted_with_its_generation_and_the_providers_words(upstream: BadServer, keys: list[GeminiKey]) -> None:
    upstream.will(error(429, message="You exceeded your current quota"), bad.answer(pictures(bad.PNG)))
    ask(generation_id="0198c0de-0000-7000-8000-0000000000aa")
    leases = CredentialLease.objects.filter(generation_id="0198c0de-0000-7000-8000-0000000000aa").order_by("id")
    assert [lease.credential_id for lease in leases] == [key.pk for key in keys]
    assert "You exceeded your current quota" in leases[0].message
    pool.report(pool.lease(provider="gemini").lease_id, "ok")  # by somebody else's program
    assert CredentialLease.objects.filter(generation_id=None).count() == 1


@pytest.mark.parametrize(
    ("behaviour", "outcome"),
    [
        *((bad.answer({}, 503), "overloaded"), (bad.answer(b"<html>", 500), "overloaded")),
        *((bad.hang_up, "error"), (bad.answer(b"<html>"), "error")),
    ],
)
def test_an_unknown_outcome_is_never_tried_with_another_key(
    upstream: BadServer, keys: list[GeminiKey], behaviour: bad.Behaviour, outcome: str
) -> None:
    upstream.will(behaviour)
    with pytest.raises(errors.OutcomeUnknown):
        ask()
    assert outcomes() == [outcome]
    assert len(upstream.seen) == 1


def test_a_refused_request_is_not_the_keys_fault(upstream: BadServer, keys: list[GeminiKey]) -> None:
    upstream.will(error(400, message="Invalid aspect ratio"))
    with pytest.raises(errors.UpstreamRefused) as caught:
        ask()
    assert caught.value.details["reason"] == "Invalid aspect ratio"
    assert outcomes() == ["ok"]
    assert GeminiKey.objects.filter(state="ready").count() == 2


def test_without_any_key_it_is_not_configured(upstream: BadServer) -> None:
    with pytest.raises(NotConfigured):
        ask()


def test_with_no_key_ready_it_is_exhausted(upstream: BadServer, keys: list[GeminiKey]) -> None:
    for key in keys:
        credentials.disable(credential=key, actor="test")
    with pytest.raises(CredentialsExhausted):
        ask()


def test_what_became_of_an_image_cannot_be_asked(upstream: BadServer) -> None:
    assert Gemini(pool).find(job()) is None
