"""The AI gateway `wauleapi`: what is asked of it, and what its answers mean.

The wire format is in docs/gateway.md.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import jwt
from django.conf import settings

from gateway_client import answers, http
from gateway_client.errors import ContentRefused, NothingMade, OutcomeUnknown
from gateway_client.media_links import find_media_urls
from gateway_client.transport import Clock
from waule.errors import NotConfigured

IMAGES = "v1/images/generations"
VIDEOS = "v1/videos/generations"
SORA_CHAT = "v1/sora/chat/completions"
HEALTH_SECONDS = 10
MINTED_TOKEN_SECONDS = 600  # longer than a call's total deadline by default
MAX_SANE_CREDITS = 1_000_000_000
MAX_SANE_DURATION_SECONDS = 86_400
MAX_PROMPT_LENGTH = 20_000


@dataclass(frozen=True)
class Medium:
    """One result, still to be fetched. `duration` in seconds, where the gateway told a sane one."""

    url: str
    duration: Decimal | None = None
    revised_prompt: str = ""


@dataclass(frozen=True)
class Made:
    """What the gateway made. `credits_charged` is None, and flagged, where it is no sane whole number."""

    media: tuple[Medium, ...]
    credits_charged: int | None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Caller:
    """For whom, and under which keys. Exactly one of `user_id` and `tenant_id` is set."""

    user_id: str = ""
    tenant_id: str = ""
    idempotency_key: str = ""  # the generation's id: the gateway passes it on when it charges
    request_id: str = ""

    def headers(self) -> dict[str, str]:
        named = {
            "X-User-Id": self.user_id,
            "X-Tenant-Id": self.tenant_id,
            "Idempotency-Key": self.idempotency_key,
            "X-Request-Id": self.request_id,
        }
        return {name: value for name, value in named.items() if value}


def call_gateway(
    endpoint: str,
    data: Mapping[str, Any],
    user_id: str = "",
    *,
    tenant_id: str = "",
    idempotency_key: str = "",
    request_id: str = "",
    clock: Clock | None = None,
) -> Any:
    """POSTs `data` to the gateway for a user or a tenant and returns the JSON value of its answer.

    Raises: an UpstreamError of `gateway_client.errors`; NotConfigured where WAULEAPI_URL or INTERNAL_JWT cannot work.
    """
    caller = Caller(user_id, tenant_id, idempotency_key, request_id)
    return http.call(
        "POST",
        http.join(settings.WAULEAPI_URL, *endpoint.strip("/").split("/")),
        headers=caller.headers(),
        bearer=internal_token(),
        payload={name: value for name, value in data.items() if value not in (None, "", [], ())},
        clock=clock,
    ).body


def generate_image(
    *,
    model: str,
    prompt: str,
    caller: Caller,
    ratio: str = "",
    resolution: str = "",
    quantity: int = 1,
    reference_images: Sequence[str] = (),
    clock: Clock | None = None,
) -> Made:
    """Images by `POST /v1/images/generations`. Raises what `call_gateway` raises."""
    body = _post(
        IMAGES,
        {
            "model": model,
            "prompt": prompt,
            "size": resolution or ratio,
            "n": quantity,
            "reference_images": list(reference_images),
        },
        caller,
        clock,
    )
    return read_generation(body, at_most=quantity)


def generate_video(
    *,
    model: str,
    prompt: str,
    caller: Caller,
    ratio: str = "",
    resolution: str = "",
    duration: Decimal | None = None,
    generation_type: str = "",
    reference_images: Sequence[str] = (),
    clock: Clock | None = None,
) -> Made:
    """A video by `POST /v1/videos/generations`. Raises what `call_gateway` raises."""
    body = _post(
        VIDEOS,
        {
            "model": model,
            "prompt": prompt,
            "duration": as_number(duration),
            "aspect_ratio": ratio,
            "resolution": resolution,
            "reference_images": list(reference_images),
            "generation_type": generation_type,
        },
        caller,
        clock,
    )
    return read_generation(body, at_most=1)


def generate_by_chat(
    *,
    model: str,
    prompt: str,
    caller: Caller,
    quantity: int = 1,
    reference_images: Sequence[str] = (),
    clock: Clock | None = None,
) -> Made:
    """An image or a video by `POST /v1/sora/chat/completions`. Raises what `call_gateway` raises."""
    payload = {"model": model, "messages": chat_messages(prompt, reference_images), "stream": False}
    body = _post(SORA_CHAT, payload, caller, clock)
    urls = find_media_urls(read_chat_text(body))
    if not urls:
        raise NothingMade(reason="no_media_url")
    credits, flags = read_credits(body)
    return Made(tuple(Medium(url) for url in urls[:quantity]), credits, flags)


def health() -> Mapping[str, Any]:
    """What `GET /health` says. Raises an UpstreamError where it does not say `status: ok`."""
    clock = Clock(read_seconds=HEALTH_SECONDS, total_seconds=HEALTH_SECONDS)
    body = http.call("GET", http.join(settings.WAULEAPI_URL, "health"), clock=clock, max_tries=1).body
    if not isinstance(body, dict) or body.get("status") != "ok":
        raise OutcomeUnknown(reason="not_ok")
    return body


def internal_token() -> str:
    """INTERNAL_JWT, or a token minted from JWT_SECRET for this call. It names no user, so it logs nobody in here."""
    if settings.INTERNAL_JWT:
        if not http.SECRET_VALUE.fullmatch(settings.INTERNAL_JWT):
            raise NotConfigured(reason="INTERNAL_JWT")
        return settings.INTERNAL_JWT
    now = int(time.time())
    lifetime = max(MINTED_TOKEN_SECONDS, int(settings.UPSTREAM_TOTAL_SECONDS) + 60)
    claims = {"iss": "waule", "sub": "internal", "role": "internal", "iat": now, "exp": now + lifetime}
    return jwt.encode(claims, settings.JWT_SECRET, algorithm="HS256")


def _post(endpoint: str, data: Mapping[str, Any], caller: Caller, clock: Clock | None) -> Any:
    return call_gateway(
        endpoint,
        data,
        caller.user_id,
        tenant_id=caller.tenant_id,
        idempotency_key=caller.idempotency_key,
        request_id=caller.request_id,
        clock=clock,
    )


def as_number(value: Decimal | None) -> int | float | None:
    """A Decimal as JSON carries it: whole seconds without a point."""
    if value is None:
        return None
    return int(value) if value == value.to_integral_value() else float(value)


def chat_messages(prompt: str, reference_images: Sequence[str]) -> list[dict[str, Any]]:
    """One user message, with the images as parts where there are any."""
    if not reference_images:
        return [{"role": "user", "content": prompt}]
    images = [{"type": "image_url", "image_url": {"url": url}} for url in reference_images]
    return [{"role": "user", "content": [{"type": "text", "text": prompt}, *images]}]


def read_generation(body: Any, *, at_most: int) -> Made:
    """The media in an answer's `data`.

    Raises: NothingMade for an empty list or an error told with a 200; OutcomeUnknown for anything of another shape.
    """
    refuse_told_error(body)
    data = body.get("data")
    if not isinstance(data, list):
        raise OutcomeUnknown(reason="no_data")
    if not data:
        raise NothingMade(reason="no_result")
    media = tuple(
        Medium(
            item["url"], read_duration(item.get("duration")), answers.clean_text(item.get("revised_prompt"), MAX_PROMPT_LENGTH)
        )
        for item in data
        if isinstance(item, dict) and isinstance(item.get("url"), str)
    )
    if not media:
        raise OutcomeUnknown(reason="no_url")
    credits, flags = read_credits(body)
    if len(media) < len(data):
        flags += ("odd_result",)
    if len(media) > at_most:
        flags += ("more_than_asked",)
    return Made(media[:at_most], credits, flags)


def refuse_told_error(body: Any) -> None:
    """Raises the error that a 200 tells in its body; OutcomeUnknown for what is no object."""
    if not isinstance(body, dict):
        raise OutcomeUnknown(reason="not_an_object")
    if body.get("error") and not body.get("data"):
        reason = answers.reason_of(body)
        if answers.words_of(body) & answers.CONTENT_WORDS:
            raise ContentRefused(reason=reason or "content_refused")
        raise NothingMade(reason=reason or "error")


def read_chat_text(body: Any) -> str:
    """The text of a chat completion's first choice. Raises as `read_generation` does, and ContentRefused."""
    refuse_told_error(body)
    choices = body.get("choices")
    if not isinstance(choices, list):
        raise OutcomeUnknown(reason="no_choices")
    if not choices:
        raise NothingMade(reason="no_result")
    choice = choices[0]
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        raise OutcomeUnknown(reason="no_message")
    if choice.get("finish_reason") == "content_filter":
        raise ContentRefused(reason="content_filter")
    content = message.get("content")
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        content = "\n".join(part for part in parts if isinstance(part, str))
    if content is None:
        raise NothingMade(reason="no_result")
    if not isinstance(content, str):
        raise OutcomeUnknown(reason="no_text")
    return content


def read_credits(body: Mapping[str, Any]) -> tuple[int | None, tuple[str, ...]]:
    """`usage.credits_charged` where it is a sane whole number; else None and a flag."""
    usage = body.get("usage")
    credits = usage.get("credits_charged") if isinstance(usage, dict) else None
    if type(credits) is int and 0 <= credits <= MAX_SANE_CREDITS:
        return credits, ()
    return None, ("odd_credits",)


def read_duration(value: Any) -> Decimal | None:
    """Seconds as a Decimal, where `value` is a sane number."""
    if type(value) in {int, Decimal} and 0 < value <= MAX_SANE_DURATION_SECONDS:
        return Decimal(value)
    return None
