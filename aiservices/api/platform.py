"""`/api/ai`: generations of the platform's users."""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from aiservices.api import schema as api_schema
from aiservices.generations import services as generations
from aiservices.generations.listing import models_on_show
from aiservices.generations.models import Generation
from aiservices.generations.requests import MAX_REFERENCE_IMAGES, GenerationRequest, check_reference_images
from aiservices.generations.settlement.outcomes import urls_of
from aiservices.generations.settlement.payment import credits_held, credits_held_first
from aiservices.generations.webhooks import MAX_SECRET_LENGTH, check_named
from billing.api.sizes import OrderedSize
from billing.errors import ModelNotFound
from tenants.models import MAX_WEBHOOK_URL
from tenants.principal import Principal
from waule.core.auth.user_auth import USER_AUTHENTICATION
from waule.core.errors import InvalidRequest
from waule.core.http.api_base import ApiViewSet, answer, idempotency_key
from waule.core.http.fields import BodySerializer, Integer, QueryInteger, Seconds, Text, iso
from waule.core.ids import parse_uuid

MAX_PROMPT_LENGTH = 20_000
MAX_REFERENCE_LENGTH = 14 << 20  # characters of one data URI
DEFAULT_PAGE = 20


def reference_images_field() -> serializers.ListField:
    return serializers.ListField(
        child=Text(max_length=MAX_REFERENCE_LENGTH, min_length=1), max_length=MAX_REFERENCE_IMAGES, required=False
    )


class ImageBody(BodySerializer):
    modelId = Text(max_length=64, min_length=1)
    prompt = Text(max_length=MAX_PROMPT_LENGTH, min_length=1)
    ratio = OrderedSize()
    resolution = OrderedSize()
    quantity = Integer(min_value=1, max_value=10, required=False)
    mode = Text(max_length=64, allow_blank=True, required=False)
    referenceImages = reference_images_field()


class VideoBody(BodySerializer):
    modelId = Text(max_length=64, min_length=1)
    prompt = Text(max_length=MAX_PROMPT_LENGTH, min_length=1)
    ratio = OrderedSize()
    resolution = OrderedSize()
    duration = Seconds(required=False)
    generationType = Text(max_length=64, allow_blank=True, required=False)
    mode = Text(max_length=64, allow_blank=True, required=False)
    referenceImages = reference_images_field()
    webhookUrl = Text(max_length=MAX_WEBHOOK_URL, allow_blank=True, required=False)
    webhookSecret = Text(max_length=MAX_SECRET_LENGTH, allow_blank=True, required=False)


class TasksQuery(BodySerializer):
    limit = QueryInteger(min_value=1, max_value=generations.MAX_PAGE, required=False)
    cursor = Text(max_length=64, min_length=1, required=False)
    type = serializers.ChoiceField(choices=Generation.Type.values, required=False)


IMAGE, VIDEO, TASKS_QUERY = ImageBody(), VideoBody(), TasksQuery()
WIRE_WISH = {
    "modelId": "model",
    "prompt": "prompt",
    "ratio": "ratio",
    "resolution": "resolution",
    "quantity": "quantity",
    "duration": "duration",
    "generationType": "generation_type",
    "mode": "mode",
    "webhookUrl": "webhook_url",
    "webhookSecret": "webhook_secret",
}


def generation_request_of(type: Generation.Type, fields: dict[str, Any]) -> GenerationRequest:
    """Return the body as a generation request; its reference images and its webhook checked.

    Raises:
        InvalidRequest.
    """
    images = tuple(fields.get("referenceImages", ()))
    check_reference_images(images, field="referenceImages")
    names = ("webhookUrl", "webhookSecret")
    url, secret = (fields.get(name, "") for name in names)
    check_named(url, secret, key=None, fields=names)
    named = {house: fields[wire] for wire, house in WIRE_WISH.items() if wire in fields}
    return GenerationRequest(type=type, reference_images=images, **named)


def caller_of(request: Request) -> Principal:
    user: Any = request.user
    return Principal("user", str(user.pk), request_id=getattr(request._request, "request_id", ""))


def task_answer(generation: Generation, urls: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the task; `urls` are its results', where they are known already."""
    if urls is None:
        (urls,) = urls_of(generation)
    return {
        "id": str(generation.id),
        "type": generation.type,
        "status": generation.state,
        "progress": generation.progress,
        "model": generation.model.model_id,
        "prompt": generation.prompt,
        "url": urls[0] if urls else None,
        "urls": list(urls),
        "error": generation.error_message or None,
        "code": generation.error_code or None,
        "creditsCharged": generation.credits_charged,
        "creditsHeld": credits_held(generation) if not generation.is_over or generation.state == "unknown" else 0,
        "isFreeUsage": generation.is_free,
        "flags": generation.flags,
        "createdAt": iso(generation.created_at),
        "completedAt": iso(generation.completed_at),
    }


class PlatformViewSet(ApiViewSet):
    authentication_classes = USER_AUTHENTICATION
    permission_classes = [IsAuthenticated]


class ImageViewSet(PlatformViewSet):
    max_body_bytes = settings.MAX_BODY_WITH_IMAGES_BYTES

    @extend_schema(
        request=ImageBody,
        responses={200: api_schema.ImageAnswer},
        parameters=[api_schema.IDEMPOTENCY_KEY],
        operation_id="image_generate",
    )
    def create(self, request: Request) -> Response:
        generation_request = generation_request_of(Generation.Type.IMAGE, self.read_body(request, IMAGE))
        made = generations.make_image(
            caller=caller_of(request), request=generation_request, idempotency_key=idempotency_key(request)
        )
        generation = made.generation
        (urls,) = urls_of(generation)
        return answer(
            {
                "success": True,
                "url": urls[0],
                "urls": urls,
                "taskId": str(generation.id),
                "model": generation.model.model_id,
                "creditsCharged": generation.credits_charged,
                "isFreeUsage": generation.is_free,
                **({"flags": generation.flags} if generation.flags else {}),
            },
            replayed=made.replayed,
        )


class VideoViewSet(PlatformViewSet):
    max_body_bytes = settings.MAX_BODY_WITH_IMAGES_BYTES

    @extend_schema(
        request=VideoBody,
        responses={202: api_schema.VideoAnswer},
        parameters=[api_schema.IDEMPOTENCY_KEY],
        operation_id="video_generate",
    )
    def create(self, request: Request) -> Response:
        generation_request = generation_request_of(Generation.Type.VIDEO, self.read_body(request, VIDEO))
        queued = generations.queue_video(
            caller=caller_of(request), request=generation_request, idempotency_key=idempotency_key(request)
        )
        return answer(
            {
                "success": True,
                "taskId": str(queued.generation.id),
                "status": "queued",
                "creditsHeld": credits_held_first(queued.generation),
            },
            status=202,
            replayed=queued.replayed,
        )


class TaskViewSet(PlatformViewSet):
    @extend_schema(responses={200: api_schema.Task}, operation_id="task_retrieve")
    def retrieve(self, request: Request, task_id: str) -> Response:
        return answer(task_answer(generations.find(caller_of(request), task_id)))

    @extend_schema(
        parameters=[
            OpenApiParameter("limit", int),
            OpenApiParameter("cursor", str),
            OpenApiParameter("type", str, enum=list(Generation.Type.values)),
        ],
        responses={200: api_schema.TaskList},
        operation_id="task_list",
    )
    def list(self, request: Request) -> Response:
        fields = self.read_query(request, TASKS_QUERY)
        cursor = fields.get("cursor")
        if cursor is not None and parse_uuid(cursor) is None:
            raise InvalidRequest.of_field("cursor", _("This cursor is not one of ours. Use nextCursor of the page before."))
        type = Generation.Type(fields["type"]) if "type" in fields else None
        page = generations.page(caller_of(request), limit=fields.get("limit", DEFAULT_PAGE), after=cursor, type=type)
        last = str(page.generations[-1].id) if page.has_more else None
        tasks = map(task_answer, page.generations, urls_of(*page.generations))
        return answer({"tasks": list(tasks), "nextCursor": last})

    @extend_schema(
        request=None,
        responses={200: api_schema.TaskCanceled},
        operation_id="task_cancel",
    )
    def cancel(self, request: Request, task_id: str) -> Response:
        generation = generations.find(caller_of(request), task_id)
        return answer({"success": True} | task_answer(generations.cancel(generation=generation)))


class ModelViewSet(PlatformViewSet):
    @extend_schema(responses={200: api_schema.ModelList}, operation_id="model_list")
    def list(self, request: Request) -> Response:
        return answer({"models": [shown.as_platform() for shown in models_on_show()]})

    @extend_schema(responses={200: api_schema.Model}, operation_id="model_retrieve")
    def retrieve(self, request: Request, model_id: str) -> Response:
        found = [shown for shown in models_on_show() if model_id in (str(shown.model.id), shown.model.model_id)]
        if not found:
            raise ModelNotFound(modelId=model_id)
        return answer(found[0].as_platform())
