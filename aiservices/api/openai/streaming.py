"""`stream: true` on images: server-sent events as OpenAI's clients read them.

The image is made in a thread of its own, so that drafts and signs of life can be sent meanwhile, and so that it is made
and charged once also where the caller has gone.
"""

import base64
import contextvars
import io
import json
import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

import structlog
from django.http import StreamingHttpResponse
from PIL import Image
from rest_framework.request import Request

from aiservices.generations import client_retries as retries
from aiservices.generations import services as generations
from aiservices.generations.models import Generation
from aiservices.generations.providers.base import Output
from aiservices.generations.requests import GenerationRequest
from gateway_client.fetch import fetch, sniff
from storage import media
from tenants.principal import Principal
from waule.core.db import connection_pool
from waule.core.errors import WauleError
from waule.core.http import error_handler

GENERATION, EDIT = "image_generation", "image_edit"
SIGN_OF_LIFE_SECONDS = 15.0
FORMATS = {"image/png": "png", "image/jpeg": "jpeg", "image/webp": "webp", "image/gif": "gif"}
logger = structlog.get_logger(__name__)


class _Work:
    """One image being made; its drafts and its end come out of `events`."""

    def __init__(self, admitted: generations.Answer, generation_request: GenerationRequest, partial_images: int) -> None:
        self.admitted, self.generation_request, self.partial_images = admitted, generation_request, partial_images
        self.events: queue.Queue[Any] = queue.Queue()  # a draft with its number, a generation, or an error

    def start(self) -> None:
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(self._run,), name="image-stream", daemon=True).start()

    def _run(self) -> None:
        connection_pool.begin()
        try:
            made = generations.finish_image(
                self.admitted,
                request=self.generation_request,
                partial_images=self.partial_images,
                partial=lambda output, number: self.events.put((output, number)),
            )
            self.events.put(made.generation)
        except WauleError as error:
            self.events.put(error)
        except Exception:
            logger.exception("image_stream_broke", generation=str(self.admitted.generation.id))
            self.events.put(WauleError())
        finally:
            connection_pool.end()


def stream_images(
    request: Request, admitted: generations.Answer, generation_request: GenerationRequest, *, event: str, partial_images: int
) -> StreamingHttpResponse:
    """The answer as events: a draft each as they come, one `completed` for each image, or one `error`."""
    work = _Work(admitted, generation_request, partial_images)
    work.start()
    response = StreamingHttpResponse(_events(request, work, event), content_type="text/event-stream")
    response["Cache-Control"] = "no-store"
    response["X-Accel-Buffering"] = "no"
    if admitted.replayed:
        response["Idempotent-Replayed"] = "true"
    return response


def _events(request: Request, work: _Work, event: str) -> Iterator[bytes]:
    yield b": accepted\n\n"
    while True:
        connection_pool.release_connection()
        try:
            happened = work.events.get(timeout=SIGN_OF_LIFE_SECONDS)
        except queue.Empty:
            yield b": working\n\n"
            continue
        if isinstance(happened, tuple):
            yield _draft(happened[0], happened[1], work.admitted.generation, event)
            continue
        break
    if isinstance(happened, WauleError):
        body = error_handler.openai_body(happened)
        yield _event("error", {"type": "error"} | body)
        return
    try:
        completed = list(_completed(happened, event))
    except WauleError as error:
        yield _event("error", {"type": "error"} | error_handler.openai_body(error))
        return
    yield from completed
    is_there = request.META.get("waule.is_caller_there", lambda: True)
    if is_there() and retries.wants_delivery(happened):
        retries.note_delivered(happened)


def _event(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def _draft(output: Output, number: int, generation: Generation, event: str) -> bytes:
    name = f"{event}.partial_image"
    about = _about(output.data or b"", generation)
    return _event(name, {"type": name, "partial_image_index": number, **about})


def _completed(generation: Generation, event: str) -> Iterator[bytes]:
    """Yield one event for each image; their `credits_charged` add up to what was charged."""
    name, count = f"{event}.completed", len(generation.outputs)
    for number, result in enumerate(generation.outputs):
        credits = generation.credits_charged * (number + 1) // count - generation.credits_charged * number // count
        about = _about(bytes_of(result, generation), generation)
        yield _event(name, {"type": name, **about, "usage": usage_of(credits)})


def usage_of(credits: int) -> dict[str, Any]:
    """Return what was charged, beside the counts of tokens that clients insist on."""
    return {
        "total_tokens": 0,
        "input_tokens": 0,
        "output_tokens": 0,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
        "credits_charged": credits,
    }


def _about(picture: bytes, generation: Generation) -> dict[str, Any]:
    """Return the picture and what it is."""
    kept = generation.parameters.get("parameters", {})
    return {
        "b64_json": base64.b64encode(picture).decode(),
        "created_at": int(time.time()),
        "size": _size_of(picture) or "auto",
        "quality": generation.parameters.get("mode") or "auto",
        "background": kept.get("background", "auto"),
        "output_format": FORMATS.get(sniff(picture[:32]) or "", "png"),
    }


def bytes_of(result: dict[str, Any], generation: Generation) -> bytes:
    """Return the result's bytes; fetched where they do not lie here."""
    if "objectKey" in result:
        return media.read(result["objectKey"], owner=Principal.of(generation))
    fetched = fetch(result["url"])
    try:
        return fetched.path.read_bytes()
    finally:
        fetched.path.unlink(missing_ok=True)


def _size_of(picture: bytes) -> str:
    try:
        with Image.open(io.BytesIO(picture)) as opened:
            return f"{opened.width}x{opened.height}"
    except (OSError, ValueError):
        return ""
