"""`/v1/videos`: videos as jobs, and what became of them."""

from decimal import Decimal
from pathlib import Path
from typing import Any

from django.conf import settings
from django.http.response import HttpResponseBase
from django.utils.translation import gettext_lazy as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from aiservices.api import schema as api_schema
from aiservices.api.openai.authentication import OpenAIViewSet, caller_of, retry_of
from aiservices.api.openai.fields import ImageReference, LimitedMultiPartParser, SecondsText
from aiservices.api.openai.webhook import named_webhook
from aiservices.api.platform import MAX_PROMPT_LENGTH, reference_images_field
from aiservices.generations import services as generations
from aiservices.generations import webhooks
from aiservices.generations.models import Generation
from aiservices.generations.requests import GenerationRequest, check_reference_images
from billing.api.sizes import OrderedSize
from billing.catalog.pricing import NO_SIZE, read_size, sold_size_of
from storage import media
from tenants.models import MAX_WEBHOOK_URL
from tenants.principal import Principal
from waule.core.errors import InvalidState, NotFound
from waule.core.http import media as media_view
from waule.core.http.api_base import answer, idempotency_key
from waule.core.http.fields import BodySerializer, QueryInteger, Text
from waule.core.http.strict_parser import StrictJSONParser

DEFAULT_PAGE = 20
DEFAULT_SECONDS = Decimal(4)
DEFAULT_SIZE = read_size("720x1280")
State = Generation.State
STATUS = {
    State.QUEUED: "queued",
    State.RUNNING: "in_progress",
    State.SUCCEEDED: "completed",
    State.FAILED: "failed",
    State.CANCELED: "failed",
    State.UNKNOWN: "failed",
}


class VideosBody(BodySerializer):
    model = Text(max_length=64, min_length=1)
    prompt = Text(max_length=MAX_PROMPT_LENGTH, min_length=1)
    seconds = SecondsText(required=False)
    size = OrderedSize()
    input_reference = ImageReference(required=False)
    reference_images = reference_images_field()
    webhook_url = Text(max_length=MAX_WEBHOOK_URL, allow_blank=True, required=False)
    webhook_secret = Text(max_length=webhooks.MAX_SECRET_LENGTH, allow_blank=True, required=False)


class VideosQuery(BodySerializer):
    after = Text(max_length=64, min_length=1, required=False)
    limit = QueryInteger(min_value=1, max_value=generations.MAX_PAGE, required=False)
    order = serializers.ChoiceField(choices=["asc", "desc"], required=False)


VIDEOS, VIDEOS_QUERY = VideosBody(), VideosQuery()


def video_answer(generation: Generation, *, as_queued: bool = False) -> dict[str, Any]:
    """Return the video job; `as_queued` as its creation was answered."""
    kept = generation.parameters
    state = State.QUEUED if as_queued else State(generation.state)
    completed_at = None if as_queued else generation.completed_at
    return {
        "id": str(generation.id),
        "object": "video",
        "status": STATUS[state],
        "progress": 0 if as_queued else generation.progress,
        "model": generation.model.model_id,
        "prompt": generation.prompt,
        "seconds": str(number_of(kept["duration"])) if "duration" in kept else None,
        "size": size_of(kept),
        "created_at": int(generation.created_at.timestamp()),
        "completed_at": int(completed_at.timestamp()) if completed_at else None,
        "expires_at": None,
        "remixed_from_video_id": None,
        "error": error_answer(generation) if STATUS[state] == "failed" else None,
    }


def size_of(kept: dict[str, Any]) -> str | None:
    """Width and height as OpenAI's clients read them."""
    pixels = sold_size_of(kept).video_pixels
    return f"{pixels[0]}x{pixels[1]}" if pixels else None


def error_answer(generation: Generation) -> dict[str, str]:
    code = "outcome_unknown" if generation.state == State.UNKNOWN else generation.error_code or str(generation.state)
    return {"code": code, "message": generation.error_message or code}


def number_of(text: str) -> int | float:
    value = Decimal(text)
    return int(value) if value == value.to_integral_value() else float(value)


class VideoViewSet(OpenAIViewSet):
    parser_classes = [StrictJSONParser, LimitedMultiPartParser]
    max_body_bytes = settings.MAX_BODY_WITH_IMAGES_BYTES

    @extend_schema(
        request={"application/json": VideosBody, "multipart/form-data": VideosBody},
        responses={200: api_schema.OpenAIVideo},
        parameters=[api_schema.IDEMPOTENCY_KEY],
        operation_id="v1_videos_create",
    )
    def create(self, request: Request) -> Response:
        fields = self.read_body(request, VIDEOS)
        images = tuple(fields.get("reference_images", ()))
        if "input_reference" in fields:
            images = (fields["input_reference"], *images)
        check_reference_images(images, field="input_reference")
        generation_request = GenerationRequest(
            type=Generation.Type.VIDEO,
            model=fields["model"],
            prompt=fields["prompt"],
            resolution=fields.get("size", NO_SIZE),
            duration=fields.get("seconds"),
            reference_images=images,
            fallback_resolution=DEFAULT_SIZE,
            fallback_duration=DEFAULT_SECONDS,
            **named_webhook(request, fields),
        )
        queued = generations.queue_video(
            caller=caller_of(request),
            request=generation_request,
            idempotency_key=idempotency_key(request),
            model_field="model",
            retry=retry_of(request),
        )
        response = answer(video_answer(queued.generation, as_queued=True), replayed=queued.replayed)
        response.generation = queued.generation  # type: ignore[attr-defined]
        return response

    @extend_schema(responses={200: api_schema.OpenAIVideo}, operation_id="v1_videos_retrieve")
    def retrieve(self, request: Request, video_id: str) -> Response:
        return answer(video_answer(find_video(request, video_id)))

    @extend_schema(
        parameters=[
            OpenApiParameter("after", str),
            OpenApiParameter("limit", int),
            OpenApiParameter("order", str, enum=["asc", "desc"]),
        ],
        responses={200: api_schema.OpenAIVideoList},
        operation_id="v1_videos_list",
    )
    def list(self, request: Request) -> Response:
        fields = self.read_query(request, VIDEOS_QUERY)
        page = generations.page(
            caller_of(request),
            limit=fields.get("limit", DEFAULT_PAGE),
            after=fields.get("after"),
            type=Generation.Type.VIDEO,
            oldest_first=fields.get("order") == "asc",
        )
        videos = [video_answer(generation) for generation in page.generations]
        return answer(
            {
                "object": "list",
                "data": videos,
                "has_more": page.has_more,
                "first_id": videos[0]["id"] if videos else None,
                "last_id": videos[-1]["id"] if videos else None,
            }
        )

    @extend_schema(
        responses={200: api_schema.OpenAIVideoDeleted},
        operation_id="v1_videos_delete",
    )
    def destroy(self, request: Request, video_id: str) -> Response:
        generation = find_video(request, video_id)
        generations.delete(caller=caller_of(request), generation=generation)
        return answer({"id": str(generation.id), "object": "video.deleted", "deleted": True})

    @extend_schema(
        request=None,
        responses={200: api_schema.OpenAIVideo},
        operation_id="v1_videos_cancel",
    )
    def cancel(self, request: Request, video_id: str) -> Response:
        return answer(video_answer(generations.cancel(generation=find_video(request, video_id))))

    @extend_schema(
        parameters=[OpenApiParameter("Range", str, OpenApiParameter.HEADER), OpenApiParameter("variant", str, enum=["video"])],
        responses={
            (200, "video/mp4"): OpenApiTypes.BINARY,
            (206, "video/mp4"): OpenApiTypes.BINARY,
            304: OpenApiResponse(description="The caller has it already, as `If-None-Match` says."),
            416: OpenApiResponse(description="The video has no such bytes; the answer has no body."),
        },
        operation_id="v1_videos_content",
    )
    def content(self, request: Request, video_id: str) -> HttpResponseBase:
        generation = find_video(request, video_id)
        if generation.state != State.SUCCEEDED:
            raise InvalidState(_("This video is not completed."), state=STATUS[State(generation.state)])
        if request._request.GET.get("variant", "video") != "video":
            raise NotFound(_("Only the variant “video” is kept."))
        result = generation.outputs[0]
        try:
            found = media.open_object(result.get("objectKey", ""), owner=Principal.of(generation))
        except NotFound:
            raise NotFound(_("The file of this video is not here.")) from None
        if isinstance(found, Path):
            content = media_view.content_of(found, content_type=result["contentType"])
        else:
            kept = found.stored
            content = media_view.Content(
                kept.size_bytes, kept.id.hex, kept.created_at.timestamp(), result["contentType"], found.part
            )
        return media_view.serve(request._request, content)


def find_video(request: Request, video_id: str) -> Generation:
    return generations.find(caller_of(request), video_id, type=Generation.Type.VIDEO)
