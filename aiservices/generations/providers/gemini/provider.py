"""Images and videos by the Gemini API, with a key of our pool in the header `x-goog-api-key`.

https://ai.google.dev/api/generate-content describes the wire format of images; `veo` has that of videos.
"""

import base64
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from django.conf import settings

from aiservices.credentials.models import GeminiKey
from aiservices.errors import CredentialsExhausted
from aiservices.generations.providers import parameters
from aiservices.generations.providers.base import Job, Output, Progress, ProviderResult
from aiservices.generations.providers.gemini import veo, veo_results
from aiservices.generations.providers.leasing import Lease, Pool, with_credential
from aiservices.generations.providers.media import decode_picture, one_by_one
from aiservices.generations.providers.polling import POLL_SECONDS, wait_until_over
from billing.catalog.pricing import SoldSize
from billing.catalog.pricing.interfaces import GEMINI_IMAGES
from gateway_client import answers, http
from gateway_client.errors import (
    ContentRefused,
    NothingMade,
    OutcomeUnknown,
)
from gateway_client.fetch import load_reference_image
from gateway_client.gemini_errors import translate
from gateway_client.transport import Deadline
from waule.core.errors import NotConfigured, UnsupportedParameter
from waule.core.ids import parse_uuid

# The `finishReason`s for which another prompt may help. NO_IMAGE, MAX_TOKENS, OTHER and the like are none of them.
CONTENT_ENDINGS = frozenset(
    {"SAFETY", "RECITATION", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "LANGUAGE"}
    | {"IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"}
)

T = TypeVar("T")


class Gemini:
    """See `aiservices.generations.providers.base.Provider`. What became of an image cannot be asked; of a video it can."""

    def __init__(self, pool: Pool, *, poll_seconds: tuple[float, float] = POLL_SECONDS) -> None:
        self.pool = pool
        self.poll_seconds = poll_seconds

    def check(self, job: Job) -> None:
        if job.is_video:
            veo.check(job)
            return
        parameters.check(job.parameters, {}, job.options)
        if job.mask:
            raise UnsupportedParameter("mask")

    def generate_image(self, job: Job, *, progress: Progress) -> ProviderResult:
        url = http.join(settings.GEMINI_API_URL, "models", f"{job.model_id}:generateContent")
        deadline = Deadline()
        payload = _payload(job, deadline)

        def make() -> tuple[Output, ...]:
            return self._with_key(job, deadline, lambda lease: read(_call(url, lease.secret, payload, deadline)))

        return one_by_one(job.quantity, make, progress)

    def generate_video(self, job: Job, *, progress: Progress) -> ProviderResult:
        deadline = Deadline(total_seconds=settings.VIDEO_JOB_SECONDS)
        operation = veo.operation_of(job.upstream_id) or self._create_video(job)

        def ask() -> ProviderResult | None:
            return self._ask_about(operation, job)

        return wait_until_over(ask, deadline=deadline, progress=progress, poll_seconds=self.poll_seconds)

    def find(self, job: Job) -> ProviderResult | None:
        operation = veo.operation_of(job.upstream_id)
        return self._ask_about(operation, job) if operation else None

    def _create_video(self, job: Job) -> veo.Operation:
        url = http.join(settings.GEMINI_API_URL, "models", f"{job.model_id}:predictLongRunning")
        deadline = Deadline()
        payload = veo.payload(job, deadline)

        def create(lease: Lease) -> veo.Operation:
            operation = veo.Operation(lease.credential_id, veo.name_in(_call(url, lease.secret, payload, deadline)))
            job.accepted(str(operation))
            return operation

        return self._with_key(job, deadline, create)

    def _ask_about(self, operation: veo.Operation, job: Job) -> ProviderResult | None:
        found = veo.ask(operation, translate)
        return veo_results.read(*found, job, str(operation)) if found else None

    def _with_key(self, job: Job, deadline: Deadline, attempt: Callable[[Lease], T]) -> T:
        try:
            return with_credential(
                self.pool,
                provider="gemini",
                model=job.model_id,
                deadline=deadline,
                attempt=attempt,
                generation_id=parse_uuid(job.generation_id),
            )
        except CredentialsExhausted:
            if not GeminiKey.objects.exists():
                raise NotConfigured(reason="gemini_keys") from None
            raise


def _payload(job: Job, deadline: Deadline) -> dict[str, Any]:
    """Return the request's body; reference images are fetched for it. Raises ReferenceImageUnusable."""
    parts: list[dict[str, Any]] = [{"text": job.prompt}]
    for reference in job.reference_images:
        image = load_reference_image(reference, deadline=deadline)
        parts.append({"inlineData": {"mimeType": image.content_type, "data": base64.b64encode(image.data).decode()}})
    config: dict[str, Any] = {"responseModalities": ["TEXT", "IMAGE"]}
    if image_config := _image_config(job.size):
        config["imageConfig"] = image_config
    return {"contents": [{"role": "user", "parts": parts}], "generationConfig": config}


def _image_config(size: SoldSize) -> dict[str, str]:
    """Gemini's words for the shape and the tier that are sold."""
    config = {"aspectRatio": GEMINI_IMAGES.ratio_of(size), "imageSize": GEMINI_IMAGES.name_of(size.tier)}
    return {name: value for name, value in config.items() if value}


def _call(url: str, key: str, payload: Mapping[str, Any], deadline: Deadline) -> Any:
    return http.call(
        "POST",
        url,
        secrets={"x-goog-api-key": key},
        payload=payload,
        deadline=deadline,
        max_bytes=http.MAX_JSON_WITH_MEDIA_BYTES,
        waits_for_limit=False,
        translate=translate,
    ).body


def read(body: Any) -> tuple[Output, ...]:
    """Return the pictures in an answer.

    Raises: ContentRefused for a `blockReason`, or a `finishReason` of CONTENT_ENDINGS; NothingMade for any other answer
    without a picture; OutcomeUnknown for anything of another shape.
    """
    if not isinstance(body, dict):
        raise OutcomeUnknown(reason="not_an_object")
    feedback = body.get("promptFeedback")
    if isinstance(feedback, dict) and feedback.get("blockReason"):
        raise ContentRefused(reason=answers.clean_text(feedback["blockReason"], 64) or "blocked")
    candidates = body.get("candidates")
    if candidates is None:
        candidates = []
    if not isinstance(candidates, list):
        raise OutcomeUnknown(reason="odd_candidates")
    outputs: list[Output] = []
    endings: list[str] = []
    for candidate in candidates:
        if not isinstance(candidate, dict):
            raise OutcomeUnknown(reason="odd_candidate")
        outputs.extend(decode_picture(data) for data in _inline_data(candidate.get("content")))
        finish = candidate.get("finishReason")
        if isinstance(finish, str) and finish not in {"STOP", "FINISH_REASON_UNSPECIFIED"}:
            endings.append(answers.clean_text(finish, 64))
    if outputs:
        return tuple(outputs)
    if rejection := next((ending for ending in endings if ending in CONTENT_ENDINGS), ""):
        raise ContentRefused(reason=rejection)
    raise NothingMade(reason=endings[0] if endings else "no_picture")


def _inline_data(content: Any) -> list[Any]:
    """Return the `data` of every part that is a picture; thoughts are drafts, and no results."""
    parts = content.get("parts") if isinstance(content, dict) else None
    if parts is None:
        return []
    if not isinstance(parts, list):
        raise OutcomeUnknown(reason="odd_parts")
    files = [
        part.get("inlineData") or part.get("inline_data")
        for part in parts
        if isinstance(part, dict) and part.get("thought") is not True
    ]
    return [file["data"] for file in files if isinstance(file, dict) and file.get("data")]
