"""Images and videos by OpenAI, or by anyone who speaks its API (`OPENAI_API_URL`)."""

import time
from collections.abc import Mapping
from typing import Any

from django.conf import settings

from aiservices.providers.base import Job, Outcome, Output, Progress
from aiservices.providers.media import decode_picture, video_size
from gateway_client import answers, http
from gateway_client.errors import (
    ContentRefused,
    NotAccepted,
    NotFetched,
    NothingMade,
    OutcomeTimedOut,
    OutcomeUnknown,
    UpstreamError,
    UpstreamRateLimited,
)
from gateway_client.fetch import EXTENSIONS, MAX_VIDEO_BYTES, VIDEO_TYPES, identify, load_reference_image
from gateway_client.gateway import as_number, refuse_told_error
from gateway_client.http import Files
from gateway_client.transport import Clock
from waule.errors import NotConfigured

POLL_SECONDS = (2.0, 15.0)  # between two questions about a video: at first, and when it has taken minutes
POLL_SHARE = 0.2  # of the time that it has taken so far
POLL_CALL_SECONDS = 60.0  # one question how a video is coming along
MAX_ID_LENGTH = 128
MAX_PROMPT_LENGTH = 20_000
FINISHED, FAILED = {"completed", "succeeded"}, {"failed", "cancelled", "canceled", "expired"}
PASSED_ON = ("quality", "style", "background", "output_format")  # image options that a model's options may set


class OpenAI:
    """See `aiservices.providers.base.Provider`. A video is asked for by the id that the upstream gave it."""

    def __init__(self, *, poll_seconds: tuple[float, float] = POLL_SECONDS) -> None:
        self.poll_seconds = poll_seconds

    def generate_image(self, job: Job, *, progress: Progress) -> Outcome:
        clock = Clock()
        options = {name: job.options[name] for name in PASSED_ON if isinstance(job.options.get(name), str)}
        payload: dict[str, Any] = {"model": job.model_id, "prompt": job.prompt, "n": job.quantity} | options
        if size := job.resolution or job.ratio:
            payload["size"] = size
        if job.reference_images:
            form = {name: str(value) for name, value in payload.items()}
            files = _files(job, clock, "image[]")
            answer = _call("POST", "images", "edits", job=job, clock=clock, form=form, files=files)
        else:
            answer = _call("POST", "images", "generations", job=job, clock=clock, payload=payload)
        return read_images(answer.body, at_most=job.quantity)

    def generate_video(self, job: Job, *, progress: Progress) -> Outcome:
        clock = Clock(total_seconds=settings.VIDEO_JOB_SECONDS)
        upstream_id = job.upstream_id
        if not upstream_id:
            upstream_id = _create_video(job)
            job.accepted(upstream_id)
        started_at = time.monotonic()
        while (body := _ask_patiently(job, upstream_id)) is None or not _is_over(body):
            percent = body.get("progress") if body is not None else None
            if type(percent) is int and 0 <= percent <= 100:
                progress(min(percent, 99))
            least, most = self.poll_seconds
            left_seconds = clock.left_seconds() - least
            if left_seconds <= 0:
                raise OutcomeTimedOut(reason="timeout")
            time.sleep(min(left_seconds, most, max(least, POLL_SHARE * (time.monotonic() - started_at))))
        return _finish(body, upstream_id, job)

    def find(self, job: Job) -> Outcome | None:
        if not job.upstream_id:
            return None
        body = _ask_patiently(job, job.upstream_id)
        return _finish(body, job.upstream_id, job) if body is not None and _is_over(body) else None


def _call(
    method: str,
    *path: str,
    job: Job,
    clock: Clock,
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
        clock=clock,
        max_bytes=http.MAX_JSON_WITH_MEDIA_BYTES,
    )


def _headers(job: Job) -> dict[str, str]:
    headers = {"Idempotency-Key": job.generation_id, "X-Request-Id": job.request_id}
    return {name: value for name, value in headers.items() if value}


def _key() -> str:
    if not settings.OPENAI_API_KEY:
        raise NotConfigured(reason="OPENAI_API_KEY")
    return settings.OPENAI_API_KEY


def _files(job: Job, clock: Clock, field: str) -> Files:
    """The reference images as multipart files. Raises ReferenceImageUnusable."""
    images = [load_reference_image(reference, clock=clock) for reference in job.reference_images]
    return [
        (field, (f"{number}.{EXTENSIONS[image.content_type]}", image.data, image.content_type))
        for number, image in enumerate(images, 1)
    ]


def read_images(body: Any, *, at_most: int) -> Outcome:
    """The pictures in `data`, each a URL or base64. Raises NothingMade for none, OutcomeUnknown for another shape."""
    refuse_told_error(body)
    data = body.get("data")
    if not isinstance(data, list):
        raise OutcomeUnknown(reason="no_data")
    if not data:
        raise NothingMade(reason="no_result")
    outputs: list[Output] = []
    flags: set[str] = set()
    for item in data[:at_most]:
        try:
            outputs.append(_picture(item))
        except OutcomeUnknown:
            flags.add("odd_result")
    if not outputs:
        raise OutcomeUnknown(reason="no_picture")
    if len(data) > at_most:
        flags.add("more_than_asked")
    return Outcome(tuple(outputs), flags=tuple(sorted(flags)))


def _picture(item: Any) -> Output:
    if not isinstance(item, dict):
        raise OutcomeUnknown(reason="odd_result")
    revised = answers.clean_text(item.get("revised_prompt"), MAX_PROMPT_LENGTH)
    if isinstance(item.get("url"), str):
        return Output(url=item["url"], revised_prompt=revised)
    picture = decode_picture(item.get("b64_json"))
    return Output(data=picture.data, content_type=picture.content_type, revised_prompt=revised)


def _create_video(job: Job) -> str:
    """Hands the job over and returns the upstream's id of it."""
    clock = Clock()
    payload: dict[str, Any] = {"model": job.model_id, "prompt": job.prompt}
    if job.duration is not None:
        payload["seconds"] = str(as_number(job.duration))
    if size := video_size(job.resolution, job.ratio):
        payload["size"] = size
    if job.reference_images:
        files = _files(job, clock, "input_reference")[:1]
        body = _call("POST", "videos", job=job, clock=clock, form=payload, files=files).body
    else:
        body = _call("POST", "videos", job=job, clock=clock, payload=payload).body
    refuse_told_error(body)
    upstream_id = body.get("id")
    if not isinstance(upstream_id, str) or not 0 < len(upstream_id) <= MAX_ID_LENGTH or upstream_id in {".", ".."}:
        raise OutcomeUnknown(reason="no_id")
    if not http.HEADER_VALUE.fullmatch(upstream_id):
        raise OutcomeUnknown(reason="odd_id")
    return upstream_id


def _ask_patiently(job: Job, upstream_id: str) -> Mapping[str, Any] | None:
    """How the video is coming along; None where the upstream cannot say at the moment.

    It was accepted: whatever a question about it meets from here on, the video may exist. Raises OutcomeUnknown where
    asking again would not help.
    """
    clock = Clock(read_seconds=min(POLL_CALL_SECONDS, settings.UPSTREAM_READ_SECONDS), total_seconds=POLL_CALL_SECONDS)
    try:
        body = _call("GET", "videos", upstream_id, job=job, clock=clock).body
    except (NotAccepted, UpstreamRateLimited):
        return None
    except OutcomeUnknown as error:
        if error.upstream_status is None and not isinstance(error, OutcomeTimedOut) and error.details["reason"] != "cut_off":
            raise
        return None
    except UpstreamError as error:
        raise OutcomeUnknown(reason=f"status_{error.upstream_status}") from None
    if not isinstance(body, dict) or not isinstance(body.get("status"), str):
        raise OutcomeUnknown(reason="no_status")
    return body


def _is_over(body: Mapping[str, Any]) -> bool:
    return body["status"] in FINISHED | FAILED


def _finish(body: Mapping[str, Any], upstream_id: str, job: Job) -> Outcome:
    """Downloads a finished video; raises the error of a failed one."""
    if body["status"] in FAILED:
        reason = answers.reason_of(body)
        if answers.words_of(body) & answers.CONTENT_WORDS:
            raise ContentRefused(reason=reason or "content_refused")
        raise NothingMade(reason=reason or "failed")
    try:
        path = http.download(
            http.join(settings.OPENAI_API_URL, "videos", upstream_id, "content"),
            headers=_headers(job),
            bearer=_key(),
            max_bytes=MAX_VIDEO_BYTES,
        )
    except UpstreamError as error:
        raise NotFetched(reason=error.details["reason"]) from None
    try:
        fetched = identify(path, VIDEO_TYPES)
    except NotFetched:
        path.unlink(missing_ok=True)
        raise
    return Outcome((Output(path=path, content_type=fetched.content_type, duration=job.duration),), upstream_id=upstream_id)
