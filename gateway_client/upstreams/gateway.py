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

from gateway_client import http
from gateway_client.answers import raise_reported_error
from gateway_client.errors import ContentRefused, NothingMade, OutcomeUnknown
from gateway_client.request import SECRET_VALUE
from gateway_client.results import Found, absolute, in_text, read_results
from gateway_client.transport import Deadline
from waule.core.errors import NotConfigured

IMAGES = "v1/images/generations"
VIDEOS = "v1/videos/generations"
SORA_CHAT = "v1/sora/chat/completions"
HEALTH_SECONDS = 10
HEALTHY = ("ok", "healthy")
MINTED_TOKEN_SECONDS = 600  # longer than a call's total deadline by default
MAX_SANE_CREDITS = 1_000_000_000


@dataclass(frozen=True)
class Made:
    """What the gateway made. `credits_charged` is None, and flagged, where it is no sane whole number."""

    media: tuple[Found, ...]
    credits_charged: int | None
    flags: tuple[str, ...] = ()


def headers_for(*, user_id: str = "", tenant_id: str = "", idempotency_key: str = "", request_id: str = "") -> dict[str, str]:
    """Return headers that say for whom a call is: a user or a tenant. The gateway passes the idempotency key on when it
    charges.
    """
    named = {
        "X-User-Id": user_id,
        "X-Tenant-Id": tenant_id,
        "Idempotency-Key": idempotency_key,
        "X-Request-Id": request_id,
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
    deadline: Deadline | None = None,
) -> Any:
    """POST `data` to the gateway for a user or a tenant and return the JSON value of its answer.

    Raises: an UpstreamError of `gateway_client.errors`; NotConfigured where WAULEAPI_URL or INTERNAL_JWT cannot work.
    """
    headers = headers_for(user_id=user_id, tenant_id=tenant_id, idempotency_key=idempotency_key, request_id=request_id)
    return _post(endpoint, data, headers, deadline)


def generate_image(
    *,
    model: str,
    prompt: str,
    headers: Mapping[str, str],
    size: str = "",
    image_size: str = "",
    quantity: int = 1,
    reference_images: Sequence[str] = (),
    deadline: Deadline | None = None,
) -> Made:
    """Images by `POST /v1/images/generations`. Raises what `call_gateway` raises.

    `size` is the shape (`16:9`) and `image_size` the tier (`2K`); for some gateways `size` is in pixels, and is all.
    """
    body = _post(
        IMAGES,
        {
            "model": model,
            "prompt": prompt,
            "size": size,
            "image_size": image_size,
            "n": quantity,
            "reference_images": list(reference_images),
        },
        headers,
        deadline,
    )
    return read_generation(body, at_most=quantity)


def generate_video(
    *,
    model: str,
    prompt: str,
    headers: Mapping[str, str],
    aspect_ratio: str = "",
    resolution: str = "",
    duration: Decimal | None = None,
    generation_type: str = "",
    reference_images: Sequence[str] = (),
    deadline: Deadline | None = None,
) -> Made:
    """Return a video by `POST /v1/videos/generations`. Raises what `call_gateway` raises."""
    body = _post(
        VIDEOS,
        {
            "model": model,
            "prompt": prompt,
            "duration": as_number(duration),
            "aspect_ratio": aspect_ratio,
            "resolution": resolution,
            "reference_images": list(reference_images),
            "generation_type": generation_type,
        },
        headers,
        deadline,
    )
    return read_generation(body, at_most=1)


def generate_by_chat(
    *,
    model: str,
    prompt: str,
    headers: Mapping[str, str],
    quantity: int = 1,
    reference_images: Sequence[str] = (),
    deadline: Deadline | None = None,
) -> Made:
    """Return an image or a video by `POST /v1/sora/chat/completions`. Raises what `call_gateway` raises.

    The service behind it makes nothing without `stream`; the gateway puts the events together into one answer. It reads
    reference images as data URIs alone.
    """
    payload = {"model": model, "messages": chat_messages(prompt, reference_images), "stream": True}
    body = _post(SORA_CHAT, payload, headers, deadline)
    found = in_text(read_chat_text(body))
    if not found:
        raise NothingMade(reason="no_media_url")
    credits, flags = read_credits(body)
    return Made(tuple(absolute(each, settings.WAULEAPI_URL) for each in found[:quantity]), credits, flags)


def health() -> Mapping[str, Any]:
    """Return what `GET /health` says. Raises an UpstreamError where it does not say that it is well."""
    deadline = Deadline(read_seconds=HEALTH_SECONDS, total_seconds=HEALTH_SECONDS)
    body = http.call("GET", http.join(settings.WAULEAPI_URL, "health"), deadline=deadline, max_tries=1).body
    if not isinstance(body, dict) or body.get("status") not in HEALTHY:
        raise OutcomeUnknown(reason="not_ok")
    return body


def internal_token() -> str:
    """INTERNAL_JWT, or a token minted from JWT_SECRET for this call. It names no user, so it logs nobody in here."""
    if settings.INTERNAL_JWT:
        if not SECRET_VALUE.fullmatch(settings.INTERNAL_JWT):
            raise NotConfigured(reason="INTERNAL_JWT")
        return settings.INTERNAL_JWT
    now = int(time.time())
    lifetime = max(MINTED_TOKEN_SECONDS, int(settings.UPSTREAM_TOTAL_SECONDS) + 60)
    claims = {"iss": "waule", "sub": "internal", "role": "internal", "iat": now, "exp": now + lifetime}
    return jwt.encode(claims, settings.JWT_SECRET, algorithm="HS256")


def _post(endpoint: str, data: Mapping[str, Any], headers: Mapping[str, str], deadline: Deadline | None) -> Any:
    return http.call(
        "POST",
        http.join(settings.WAULEAPI_URL, *endpoint.strip("/").split("/")),
        headers=headers,
        bearer=internal_token(),
        payload={name: value for name, value in data.items() if value not in (None, "", [], ())},
        deadline=deadline,
    ).body


def as_number(value: Decimal | None) -> int | float | None:
    """Return a Decimal as JSON carries it: whole seconds without a point."""
    if value is None:
        return None
    return int(value) if value == value.to_integral_value() else float(value)


def chat_messages(prompt: str, reference_images: Sequence[str]) -> list[dict[str, Any]]:
    """Return one user message, with the images as parts where there are any."""
    if not reference_images:
        return [{"role": "user", "content": prompt}]
    images = [{"type": "image_url", "image_url": {"url": url}} for url in reference_images]
    return [{"role": "user", "content": [{"type": "text", "text": prompt}, *images]}]


def read_generation(body: Any, *, at_most: int) -> Made:
    """Return the media in an answer. Raises as `results.read_results` does."""
    results = read_results(body)
    credits, flags = read_credits(body)
    if results.has_odd:
        flags += ("odd_result",)
    if len(results.found) > at_most:
        flags += ("more_than_asked",)
    media = tuple(absolute(each, settings.WAULEAPI_URL) for each in results.found[:at_most])
    return Made(media, credits, flags)


def read_chat_text(body: Any) -> str:
    """Return the text of a chat completion's first choice. Raises as `read_generation` does, and ContentRefused."""
    raise_reported_error(body)
    choices = body.get("choices")
    if not choices and not isinstance(choices, bool | int | str):
        raise NothingMade(reason="no_result")
    if not isinstance(choices, list):
        raise OutcomeUnknown(reason="no_choices")
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
