"""Images and videos by OpenAI, or by anyone who speaks its API (`OPENAI_API_URL`)."""

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django.conf import settings

from aiservices.generations.providers import parameters
from aiservices.generations.providers.base import Job, Output, Progress, ProviderResult
from aiservices.generations.providers.openai import images as openai_images
from billing.catalog.pricing.sizes import Pixels
from gateway_client import answers, http
from gateway_client.errors import (
    NotAccepted,
    NotFetched,
    OutcomeTimedOut,
    OutcomeUnknown,
    UpstreamError,
    UpstreamFailed,
    UpstreamRateLimited,
)
from gateway_client.fetch import EXTENSIONS, MAX_VIDEO_BYTES, VIDEO_TYPES, identify, load_reference_image
from gateway_client.job_states import JobState, job_progress, job_state
from gateway_client.request import HEADER_VALUE, Files
from gateway_client.results import Found, read_results
from gateway_client.transport import Deadline
from gateway_client.upstreams.gateway import as_number
from waule.core.errors import NotConfigured

PIXEL_STEP, MAX_SIDE = 16, 3840  # of an image's sides
MIN_PIXELS = 655_360  # of an image
POLL_SECONDS = (2.0, 15.0)  # between two questions about a video: at first, and when it has taken minutes
POLL_SHARE = 0.2  # of the time that it has taken so far
POLL_CALL_SECONDS = 60.0  # one question how a video is coming along
MAX_ID_LENGTH = 128
PASSED_ON = ("quality", "style", "background", "output_format")  # image options that a model's options may set


class OpenAI:
    """See `aiservices.generations.providers.base.Provider`. A video is asked for by the id that the upstream gave it."""

    def __init__(self, *, poll_seconds: tuple[float, float] = POLL_SECONDS) -> None:
        self.poll_seconds = poll_seconds

    def check(self, job: Job) -> None:
        parameters.check(job.parameters, openai_images.honours(job), job.options)
        openai_images.check(job)

    def generate_image(self, job: Job, *, progress: Progress) -> ProviderResult:
        deadline = Deadline()
        options = {name: job.options[name] for name in PASSED_ON if isinstance(job.options.get(name), str)}
        payload: dict[str, Any] = {"model": job.model_id, "prompt": job.prompt, "n": job.quantity}
        payload |= openai_images.sent(job, options)
        if pixels := image_size(job):
            payload["size"] = f"{pixels[0]}x{pixels[1]}"
        if job.partial is not None and job.partial_images:
            payload |= {"stream": True, "partial_images": min(job.partial_images, openai_images.MAX_PARTIAL_IMAGES)}
        body = _edit(job, deadline, payload) if job.reference_images else {"payload": payload}
        path = ("images", "edits" if job.reference_images else "generations")
        if job.partial is None or "stream" not in payload:
            return openai_images.read_images(_call("POST", *path, job=job, deadline=deadline, **body).body, at_most=job.quantity)
        lines = http.events(
            http.join(settings.OPENAI_API_URL, *path),
            headers=_headers(job),
            bearer=_key(),
            deadline=deadline,
            max_bytes=http.MAX_JSON_WITH_MEDIA_BYTES,
            max_event_bytes=http.MAX_JSON_WITH_MEDIA_BYTES,
            **body,
        )
        return openai_images.read_stream(lines, at_most=job.quantity, partial=job.partial)

    def generate_video(self, job: Job, *, progress: Progress) -> ProviderResult:
        deadline = Deadline(total_seconds=settings.VIDEO_JOB_SECONDS)
        upstream_id = job.upstream_id
        if not upstream_id:
            upstream_id = _create_video(job)
            job.accepted(upstream_id)
        started_at = time.monotonic()
        while (body := _ask_with_retries(job, upstream_id)) is None or not _is_over(body):
            if (percent := job_progress(body)) is not None:
                progress(min(percent, 99))
            least, most = self.poll_seconds
            left_seconds = deadline.left_seconds() - least
            if left_seconds <= 0:
                raise OutcomeTimedOut(reason="timeout")
            time.sleep(min(left_seconds, most, max(least, POLL_SHARE * (time.monotonic() - started_at))))
        return _finish(body, upstream_id, job)

    def find(self, job: Job) -> ProviderResult | None:
        if not job.upstream_id:
            return None
        body = _ask_with_retries(job, job.upstream_id)
        return _finish(body, job.upstream_id, job) if body is not None and _is_over(body) else None


def image_size(job: Job) -> Pixels | None:
    """Width and height to ask for: OpenAI's own models take sides in steps of 16, at most 3840 long, and no small images."""
    size = job.size
    if not job.model_id.startswith("gpt-image"):
        return size.image_pixels()
    if size.pixels and math.prod(size.pixels) < MIN_PIXELS:
        size = replace(size, pixels=None)
    return size.image_pixels(step=PIXEL_STEP, longest=MAX_SIDE)


def _edit(job: Job, deadline: Deadline, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return the form of an edit: the reference images, and the mask. Raises ReferenceImageUnusable."""
    files = _files(job, deadline, "image[]")
    if job.mask:
        mask = load_reference_image(job.mask, deadline=deadline)
        files.append(("mask", ("mask.png", mask.data, mask.content_type)))
    form = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in payload.items()}
    return {"form": form, "files": files}


def _call(
    method: str,
    *path: str,
    job: Job,
    deadline: Deadline,
    payload: Any = None,
    form: Mapping[str, str] | None = None,
    files: Files | None = None,
) -> http.Answer:
    return http.call(
        method,
        http.join(settings.OPENAI_API_URL, *path),
        headers=_headers(job),
        bearer=_key(),
        payload=payload,
        form=form,
        files=files,
        deadline=deadline,
        max_bytes=http.MAX_JSON_WITH_MEDIA_BYTES,
    )


def _headers(job: Job) -> dict[str, str]:
    headers = {"Idempotency-Key": job.generation_id, "X-Request-Id": job.request_id}
    return {name: value for name, value in headers.items() if value}


def _key() -> str:
    if not settings.OPENAI_API_KEY:
        raise NotConfigured(reason="OPENAI_API_KEY")
    return settings.OPENAI_API_KEY


def _files(job: Job, deadline: Deadline, field: str) -> Files:
    """Return the reference images as multipart files. Raises ReferenceImageUnusable."""
    images = [load_reference_image(reference, deadline=deadline) for reference in job.reference_images]
    return [
        (field, (f"{number}.{EXTENSIONS[image.content_type]}", image.data, image.content_type))
        for number, image in enumerate(images, 1)
    ]


def _create_video(job: Job) -> str:
    """Hand the job over and return the upstream's id of it."""
    deadline = Deadline()
    payload: dict[str, Any] = {"model": job.model_id, "prompt": job.prompt}
    if job.duration is not None:
        payload["seconds"] = str(as_number(job.duration))
    if pixels := job.size.video_pixels:
        payload["size"] = f"{pixels[0]}x{pixels[1]}"
    if job.reference_images:
        files = _files(job, deadline, "input_reference")[:1]
        body = _call("POST", "videos", job=job, deadline=deadline, form=payload, files=files).body
    else:
        body = _call("POST", "videos", job=job, deadline=deadline, payload=payload).body
    answers.raise_reported_error(body)
    upstream_id = _id_of(body)
    if not isinstance(upstream_id, str) or not 0 < len(upstream_id) <= MAX_ID_LENGTH or upstream_id in {".", ".."}:
        raise OutcomeUnknown(reason="no_id")
    if not HEADER_VALUE.fullmatch(upstream_id):
        raise OutcomeUnknown(reason="odd_id")
    return upstream_id


def _ask_with_retries(job: Job, upstream_id: str) -> Mapping[str, Any] | None:
    """Return how the video is coming along; None where the upstream cannot say at the moment.

    It was accepted: whatever a question about it meets from here on, the video may exist. Raises OutcomeUnknown where
    asking again would not help.
    """
    deadline = Deadline(read_seconds=min(POLL_CALL_SECONDS, settings.UPSTREAM_READ_SECONDS), total_seconds=POLL_CALL_SECONDS)
    try:
        body = _call("GET", "videos", upstream_id, job=job, deadline=deadline).body
    except (NotAccepted, UpstreamRateLimited, UpstreamFailed):
        return None
    except OutcomeUnknown as error:
        if error.upstream_status is None and not isinstance(error, OutcomeTimedOut) and error.details["reason"] != "cut_off":
            raise
        return None
    except UpstreamError as error:
        raise OutcomeUnknown(reason=f"status_{error.upstream_status}") from None
    if not isinstance(body, dict):
        raise OutcomeUnknown(reason="not_an_object")
    return body


def _is_over(body: Mapping[str, Any]) -> bool:
    return job_state(body).is_over


def _id_of(body: Mapping[str, Any]) -> Any:
    """Return the job's id, as relays call it."""
    inner = body.get("data")
    places = [body, inner if isinstance(inner, dict) else {}]
    return next((place[name] for name in ("id", "task_id") for place in places if place.get(name)), None)


def _finish(body: Mapping[str, Any], upstream_id: str, job: Job) -> ProviderResult:
    """Download a finished video; raises the error of a failed one."""
    if job_state(body) is not JobState.SUCCEEDED:
        inner = body.get("data")
        raise answers.told_error(body if body.get("error") or not isinstance(inner, dict) else inner)
    try:
        path = http.download(
            http.join(settings.OPENAI_API_URL, "videos", upstream_id, "content"),
            headers=_headers(job),
            bearer=_key(),
            max_bytes=MAX_VIDEO_BYTES,
        )
    except UpstreamError as error:
        if error.upstream_status in (400, 404, 405, 501) and (named := _named(body)):
            return ProviderResult((Output(url=named.url, data=named.data, duration=job.duration),), upstream_id=upstream_id)
        raise NotFetched(reason=error.details["reason"]) from None
    try:
        fetched = identify(path, VIDEO_TYPES)
    except NotFetched:
        path.unlink(missing_ok=True)
        raise
    return ProviderResult((Output(path=path, content_type=fetched.content_type, duration=job.duration),), upstream_id=upstream_id)


def _named(body: Mapping[str, Any]) -> Found | None:
    """Return the video that a finished job's answer itself names: relays do so where they have no `/content`."""
    try:
        return read_results(body).found[0]
    except UpstreamError:
        return None
