"""Images by the Gemini API, with a key of our pool in the header `x-goog-api-key`.

https://ai.google.dev/api/generate-content describes the wire format.
"""

import base64
import re
from collections.abc import Mapping
from typing import Any

from django.conf import settings

from aiservices.errors import CredentialsExhausted
from aiservices.models import GeminiKey
from aiservices.providers.base import Job, Outcome, Output, Progress
from aiservices.providers.leasing import Pool, with_credential
from aiservices.providers.media import decode_picture, one_by_one, pixels
from gateway_client import answers, http
from gateway_client.errors import (
    ContentRefused,
    CredentialRefused,
    NothingMade,
    OutcomeUnknown,
    QuotaExhausted,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRefused,
)
from gateway_client.fetch import load_reference_image
from gateway_client.transport import Clock
from waule.errors import NotConfigured

KEY_PROBLEMS = {"API_KEY_INVALID", "API_KEY_EXPIRED", "API_KEY_SERVICE_BLOCKED", "ACCESS_TOKEN_EXPIRED"}
RATIOS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")
SIZES = {"1k": "1K", "2k": "2K", "4k": "4K"}


class Gemini:
    """See `aiservices.providers.base.Provider`. Gemini cannot be asked what became of a request."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    def generate_image(self, job: Job, *, progress: Progress) -> Outcome:
        url = http.join(settings.GEMINI_API_URL, "models", f"{job.model_id}:generateContent")
        clock = Clock()
        payload = _payload(job, clock)

        def make() -> tuple[Output, ...]:
            return with_credential(
                self.pool, provider="gemini", model=job.model_id, clock=clock, attempt=lambda key: _ask(url, key, payload, clock)
            )

        try:
            return one_by_one(job.quantity, make, progress)
        except CredentialsExhausted:
            if not GeminiKey.objects.exists():
                raise NotConfigured(reason="gemini_keys") from None
            raise

    def generate_video(self, job: Job, *, progress: Progress) -> Outcome:
        raise UpstreamRefused(reason="gemini_makes_no_videos")

    def find(self, job: Job) -> Outcome | None:
        return None


def _payload(job: Job, clock: Clock) -> dict[str, Any]:
    """The request's body; reference images are fetched for it. Raises ReferenceImageUnusable."""
    parts: list[dict[str, Any]] = [{"text": job.prompt}]
    for reference in job.reference_images:
        image = load_reference_image(reference, clock=clock)
        parts.append({"inlineData": {"mimeType": image.content_type, "data": base64.b64encode(image.data).decode()}})
    config: dict[str, Any] = {"responseModalities": ["TEXT", "IMAGE"]}
    if image_config := _image_config(job.ratio, job.resolution):
        config["imageConfig"] = image_config
    return {"contents": [{"role": "user", "parts": parts}], "generationConfig": config}


def _image_config(ratio: str, resolution: str) -> dict[str, str]:
    """Gemini's words for shape and size; `1024x1024` becomes the nearest shape and the size that holds it."""
    size = SIZES.get(resolution.strip().lower(), "")
    shape = ratio.strip() if ratio.strip() in RATIOS else ""
    if found := pixels(resolution):
        width, height = found
        shape = shape or min(RATIOS, key=lambda text: abs(_width_per_height(text) - width / height))
        longer = max(found)
        size = "1K" if longer <= 1536 else "2K" if longer <= 3072 else "4K"
    return {name: value for name, value in (("aspectRatio", shape), ("imageSize", size)) if value}


def _width_per_height(ratio: str) -> float:
    width, height = ratio.split(":")
    return int(width) / int(height)


def _ask(url: str, key: str, payload: Mapping[str, Any], clock: Clock) -> tuple[Output, ...]:
    answer = http.call(
        "POST",
        url,
        secrets={"x-goog-api-key": key},
        payload=payload,
        clock=clock,
        max_bytes=http.MAX_JSON_WITH_MEDIA_BYTES,
        waits_for_limit=False,
        translate=translate,
    )
    return read(answer.body)


def read(body: Any) -> tuple[Output, ...]:
    """The pictures in an answer.

    Raises: ContentRefused for a `blockReason`, or a `finishReason` other than STOP; NothingMade for an answer without a
    picture; OutcomeUnknown for anything of another shape.
    """
    if not isinstance(body, dict):
        raise OutcomeUnknown(reason="not_an_object")
    feedback = body.get("promptFeedback")
    if isinstance(feedback, dict) and feedback.get("blockReason"):
        raise ContentRefused(reason=answers.clean_text(feedback["blockReason"], 64) or "blocked")
    candidates = body.get("candidates")
    if not isinstance(candidates, list):
        raise OutcomeUnknown(reason="no_candidates")
    outputs: list[Output] = []
    refusals: list[str] = []
    for candidate in candidates:
        if not isinstance(candidate, dict):
            raise OutcomeUnknown(reason="odd_candidate")
        outputs.extend(decode_picture(data) for data in _inline_data(candidate.get("content")))
        finish = candidate.get("finishReason")
        if isinstance(finish, str) and finish not in {"STOP", "FINISH_REASON_UNSPECIFIED"}:
            refusals.append(answers.clean_text(finish, 64))
    if outputs:
        return tuple(outputs)
    if refusals:
        raise ContentRefused(reason=refusals[0])
    raise NothingMade(reason="no_picture")


def _inline_data(content: Any) -> list[Any]:
    """The `data` of every part that is a picture; thoughts are drafts, and no results."""
    parts = content.get("parts") if isinstance(content, dict) else None
    if parts is None:
        return []
    if not isinstance(parts, list):
        raise OutcomeUnknown(reason="odd_parts")
    return [
        part["inlineData"].get("data")
        for part in parts
        if isinstance(part, dict) and isinstance(part.get("inlineData"), dict) and part.get("thought") is not True
    ]


def translate(status: int, headers: Mapping[str, str], body: Any) -> UpstreamError | None:
    """What Gemini's own error details add to the closed table."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return None
    raw_details = error.get("details")
    details = [item for item in raw_details if isinstance(item, dict)] if isinstance(raw_details, list) else []
    if status in {400, 401, 403} and any(item.get("reason") in KEY_PROBLEMS for item in details):
        return CredentialRefused(reason="credential_refused")
    if status == 400 and "API key not valid" in answers.clean_text(error.get("message"), 500):
        return CredentialRefused(reason="credential_refused")
    if status == 429:
        kind = QuotaExhausted if any(_is_daily(item) for item in details) else UpstreamRateLimited
        seconds = next(filter(None, (_retry_delay_seconds(item) for item in details)), None)
        return kind(reason="rate_limited", retry_after_seconds=seconds or answers.retry_after_seconds(headers))
    return None


def _retry_delay_seconds(detail: Mapping[str, Any]) -> int | None:
    """`RetryInfo.retryDelay`, such as `33.5s`, in whole seconds."""
    match = re.fullmatch(r"([0-9]{1,6})(\.[0-9]{1,9})?s", str(detail.get("retryDelay", "")))
    return int(match[1]) + (1 if match[2] and float(match[2]) else 0) if match else None


def _is_daily(detail: Mapping[str, Any]) -> bool:
    violations = detail.get("violations")
    return isinstance(violations, list) and any(
        isinstance(item, dict) and "PerDay" in str(item.get("quotaId", "")) for item in violations
    )
