"""`/v1`: what tenants' programs call, as OpenAI's API looks, so that its official clients work unchanged."""

import base64
import re
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.http.response import HttpResponseBase
from django.utils.translation import gettext_lazy as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.authentication import BaseAuthentication
from rest_framework.parsers import MultiPartParser
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from aiservices import api_schema, generations, webhooks
from aiservices.api_platform import MAX_PROMPT_LENGTH, MAX_REFERENCE_LENGTH, reference_images_field
from aiservices.endings import urls_of
from aiservices.models import Generation
from aiservices.showcase import models_on_show
from aiservices.wishes import Caller, Wish, check_reference_images, owner_of
from billing.errors import ModelNotFound, TenantInactive
from gateway_client.errors import OutcomeTimedOut
from gateway_client.fetch import IMAGE_TYPES, fetch, sniff
from storage import media
from tenants.models import MAX_WEBHOOK_URL, ApiKey
from tenants.selectors import find_api_key
from tenants.services import touch
from waule import media_view, strict_json
from waule.api_base import ApiViewSet, BodySerializer, Integer, QueryInteger, Seconds, Text, answer, idempotency_key
from waule.encryption import mask
from waule.errors import InvalidRequest, InvalidState, NotFound, TooLarge, Unauthorized
from waule.strict_parser import StrictJSONParser, check_charset

DEFAULT_PAGE = 20
DEFAULT_SECONDS = Decimal(4)
DEFAULT_SIZE = "720x1280"
WAIT_SECONDS = 300  # of POST /v1/videos/generations
_SIZE = re.compile(r"(?i)[1-9][0-9]{0,4}[x*×][1-9][0-9]{0,4}|[1248]k|u?hd|fhd|[1-9][0-9]{1,4}p|[0-9]{1,3}:[0-9]{1,3}|auto")
_SECONDS = re.compile(r"[0-9]{1,5}(?:\.[0-9]{1,3})?")
State = Generation.State
STATUS = {
    State.QUEUED: "queued",
    State.RUNNING: "in_progress",
    State.SUCCEEDED: "completed",
    State.FAILED: "failed",
    State.CANCELED: "failed",
    State.UNKNOWN: "failed",
}


# --- who calls -----------------------------------------------------------------------------------------------------


class TenantCaller:
    """The tenant behind a key, as DRF's permissions see a user."""

    is_authenticated = True

    def __init__(self, key: ApiKey) -> None:
        self.key = key
        self.pk = key.tenant_id


class TenantKeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer wk_live_…` or `wk_test_…`."""

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        scheme, _space, plaintext = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() != "bearer" or not plaintext.strip():
            raise Unauthorized(_("Send your key: Authorization: Bearer wk_live_…"))
        key = find_api_key(plaintext.strip())
        if key is None:
            raise Unauthorized(_("This API key is unknown, has expired or was revoked."))
        if not key.tenant.is_active:
            raise TenantInactive
        touch(key)
        return TenantCaller(key), key

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


def key_of(request: Request) -> ApiKey:
    key: ApiKey = request.auth  # type: ignore[assignment]
    return key


def caller_of(request: Request) -> Caller:
    key = key_of(request)
    return Caller("tenant", key.tenant_id, key.mode, key.id, getattr(request._request, "request_id", ""))


# --- bodies --------------------------------------------------------------------------------------------------------


class Size(Text):
    """`1024x1024`, or a name such as `2K` or `720p`: the resolution that is made and priced."""

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data).strip()
        if text and not _SIZE.fullmatch(text):
            raise serializers.ValidationError(_("Send a size such as 1024x1024."))
        return text


class SecondsText(Seconds):
    """Seconds as OpenAI's clients send them, as text; a number will do too."""

    def to_internal_value(self, data: Any) -> Decimal:
        if not isinstance(data, str):
            return super().to_internal_value(data)
        text = data.strip()
        if not _SECONDS.fullmatch(text) or not 0 < Decimal(text) <= self.maximum:
            raise serializers.ValidationError(_("Send the seconds as text, such as “4”."))
        return Decimal(text)


@extend_schema_field(
    {
        "oneOf": [
            {"type": "string", "contentMediaType": "application/octet-stream"},
            {"type": "object", "properties": {"image_url": {"type": "string"}}},
        ]
    }
)
class InputReference(serializers.Field[str, Any, Any, Any]):
    """An uploaded picture, or `{"image_url": …}`, or the URL itself; as a URL or data URI."""

    def to_internal_value(self, data: Any) -> str:
        if isinstance(data, UploadedFile):
            picture = data.read()
            content_type = sniff(picture[:32])
            if content_type not in IMAGE_TYPES:
                raise serializers.ValidationError(_("This file is no picture (PNG, JPEG, WebP or GIF)."))
            return f"data:{content_type};base64,{base64.b64encode(picture).decode()}"
        if isinstance(data, dict):
            data = data.get("image_url")
        if not isinstance(data, str) or not 1 <= len(data) <= MAX_REFERENCE_LENGTH:
            raise serializers.ValidationError(_("Send a picture, or an object with its image_url."))
        return data

    def to_representation(self, value: str) -> str:
        return value


class ImagesBody(BodySerializer):
    model = Text(max_length=64, min_length=1)
    prompt = Text(max_length=MAX_PROMPT_LENGTH, min_length=1)
    n = Integer(min_value=1, max_value=10, required=False)
    size = Size(max_length=64, allow_blank=True, required=False)
    quality = Text(max_length=64, allow_blank=True, required=False)
    response_format = serializers.ChoiceField(choices=["url", "b64_json"], required=False)
    reference_images = reference_images_field()


class VideosBody(BodySerializer):
    model = Text(max_length=64, min_length=1)
    prompt = Text(max_length=MAX_PROMPT_LENGTH, min_length=1)
    seconds = SecondsText(required=False)
    size = Size(max_length=64, allow_blank=True, required=False)
    input_reference = InputReference(required=False)
    reference_images = reference_images_field()
    webhook_url = Text(max_length=MAX_WEBHOOK_URL, allow_blank=True, required=False)
    webhook_secret = Text(max_length=webhooks.MAX_SECRET_LENGTH, allow_blank=True, required=False)


class VideoGenerationsBody(BodySerializer):
    model = Text(max_length=64, min_length=1)
    prompt = Text(max_length=MAX_PROMPT_LENGTH, min_length=1)
    duration = SecondsText(required=False)
    aspect_ratio = Text(max_length=32, allow_blank=True, required=False)
    resolution = Text(max_length=64, allow_blank=True, required=False)
    generation_type = Text(max_length=64, allow_blank=True, required=False)
    reference_images = reference_images_field()
    webhook_url = Text(max_length=MAX_WEBHOOK_URL, allow_blank=True, required=False)
    webhook_secret = Text(max_length=webhooks.MAX_SECRET_LENGTH, allow_blank=True, required=False)


class WebhookBody(BodySerializer):
    url = Text(max_length=MAX_WEBHOOK_URL, min_length=1)
    secret = Text(max_length=webhooks.MAX_SECRET_LENGTH, required=False)


class VideosQuery(BodySerializer):
    after = Text(max_length=64, min_length=1, required=False)
    limit = QueryInteger(min_value=1, max_value=generations.MAX_PAGE, required=False)
    order = serializers.ChoiceField(choices=["asc", "desc"], required=False)


IMAGES, VIDEOS, VIDEO_GENERATIONS, VIDEOS_QUERY = ImagesBody(), VideosBody(), VideoGenerationsBody(), VideosQuery()
WEBHOOK = WebhookBody()


def named_webhook(request: Request, fields: dict[str, Any]) -> dict[str, Any]:
    """The webhook that a body names for its job, checked.

    Raises:
        InvalidRequest.
    """
    names = ("webhook_url", "webhook_secret")
    url, secret = (fields.get(name, "") for name in names)
    webhooks.check_named(url, secret, key=key_of(request), fields=names)
    return {"webhook_url": url, "webhook_secret": secret}


class LimitedMultiPartParser(MultiPartParser):
    """A form with files, of at most the resource's `max_body_bytes`, each field once."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        request, limit = parser_context["request"], parser_context["view"].max_body_bytes
        check_charset(request.META.get("CONTENT_TYPE", ""))
        announced = str(request.META.get("CONTENT_LENGTH") or "0")
        if not announced.isdigit() or int(announced) > limit:
            raise TooLarge(limitBytes=limit)
        parsed = super().parse(stream, media_type, parser_context)
        fields: dict[str, Any] = {}
        for name, values in [*parsed.data.lists(), *parsed.files.lists()]:
            strict_json.check_text(name)
            if len(values) > 1 or name in fields:
                raise InvalidRequest.of_field(name, _("Give this field once."))
            if isinstance(values[0], str):
                strict_json.check_text(values[0])
            fields[name] = values[0]
        if "input_reference[image_url]" in fields:
            fields["input_reference"] = {"image_url": fields.pop("input_reference[image_url]")}
        return fields


# --- answers -------------------------------------------------------------------------------------------------------


def image_answer(result: dict[str, Any], url: str, generation: Generation, response_format: str) -> dict[str, Any]:
    shown: dict[str, Any] = {"url": url} if response_format == "url" else {"b64_json": as_base64(result, generation)}
    if "revisedPrompt" in result:
        shown["revised_prompt"] = result["revisedPrompt"]
    return shown


def as_base64(result: dict[str, Any], generation: Generation) -> str:
    """The result's bytes; fetched where they do not lie here."""
    if "objectKey" in result:
        return base64.b64encode(media.read(result["objectKey"], owner=owner_of(generation))).decode()
    fetched = fetch(result["url"])
    try:
        return base64.b64encode(fetched.path.read_bytes()).decode()
    finally:
        fetched.path.unlink(missing_ok=True)


def video_answer(generation: Generation, *, as_queued: bool = False) -> dict[str, Any]:
    """The video job; `as_queued` as its creation was answered."""
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
        "size": kept.get("resolution"),
        "created_at": int(generation.created_at.timestamp()),
        "completed_at": int(completed_at.timestamp()) if completed_at else None,
        "expires_at": None,
        "remixed_from_video_id": None,
        "error": error_answer(generation) if STATUS[state] == "failed" else None,
    }


def error_answer(generation: Generation) -> dict[str, str]:
    code = "outcome_unknown" if generation.state == State.UNKNOWN else generation.error_code or str(generation.state)
    return {"code": code, "message": generation.error_message or code}


def number_of(text: str) -> int | float:
    value = Decimal(text)
    return int(value) if value == value.to_integral_value() else float(value)


# --- resources -----------------------------------------------------------------------------------------------------


class OpenAIViewSet(ApiViewSet):
    authentication_classes = [TenantKeyAuthentication]
    permission_classes = [IsAuthenticated]

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """OpenAI's clients repeat a failed call by themselves; where work may have been done they must not."""
        if response.status_code in (409, 502, 504):
            response["x-should-retry"] = "false"
        return super().finalize_response(request, response, *args, **kwargs)


class ModelViewSet(OpenAIViewSet):
    @extend_schema(responses={200: api_schema.OpenAIModelList}, operation_id="v1_models")
    def list(self, request: Request) -> Response:
        shown = {model.model.model_id: model.as_openai() for model in models_on_show(key_of(request).tenant)}
        return answer({"object": "list", "data": list(shown.values())})

    @extend_schema(responses={200: api_schema.OpenAIModel, 404: api_schema.OpenAIError}, operation_id="v1_model")
    def retrieve(self, request: Request, model_id: str) -> Response:
        for shown in models_on_show(key_of(request).tenant):
            if model_id in (shown.model.model_id, str(shown.model.id)):
                return answer(shown.as_openai())
        raise ModelNotFound(_("There is no model %(model)s that you may use.") % {"model": model_id})


class ImageViewSet(OpenAIViewSet):
    max_body_bytes = settings.MAX_BODY_WITH_IMAGES_BYTES

    @extend_schema(
        request=ImagesBody,
        responses={200: api_schema.OpenAIImages, **api_schema.OPENAI_FAILURES},
        parameters=[api_schema.IDEMPOTENCY_KEY],
        operation_id="v1_images_generations",
    )
    def create(self, request: Request) -> Response:
        fields = self.read_body(request, IMAGES)
        images = tuple(fields.get("reference_images", ()))
        check_reference_images(images, field="reference_images")
        quality = fields.get("quality", "")
        wish = Wish(
            type=Generation.Type.IMAGE,
            model=fields["model"],
            prompt=fields["prompt"],
            resolution=fields.get("size", ""),
            quantity=fields.get("n", 1),
            mode="" if quality == "auto" else quality,
            reference_images=images,
        )
        made = generations.make_image(
            caller=caller_of(request), wish=wish, idempotency_key=idempotency_key(request), model_field="model"
        )
        generation, response_format = made.generation, fields.get("response_format", "url")
        results = zip(generation.outputs, urls_of(generation)[0], strict=True)
        return answer(
            {
                "created": int(generation.created_at.timestamp()),
                "data": [image_answer(result, url, generation, response_format) for result, url in results],
                "usage": {"credits_charged": generation.credits_charged},
            },
            replayed=made.replayed,
        )


class VideoViewSet(OpenAIViewSet):
    parser_classes = [StrictJSONParser, LimitedMultiPartParser]
    max_body_bytes = settings.MAX_BODY_WITH_IMAGES_BYTES

    @extend_schema(
        request={"application/json": VideosBody, "multipart/form-data": VideosBody},
        responses={200: api_schema.OpenAIVideo, **api_schema.OPENAI_FAILURES},
        parameters=[api_schema.IDEMPOTENCY_KEY],
        operation_id="v1_videos_create",
    )
    def create(self, request: Request) -> Response:
        fields = self.read_body(request, VIDEOS)
        images = tuple(fields.get("reference_images", ()))
        if "input_reference" in fields:
            images = (fields["input_reference"], *images)
        check_reference_images(images, field="input_reference")
        wish = Wish(
            type=Generation.Type.VIDEO,
            model=fields["model"],
            prompt=fields["prompt"],
            resolution=fields.get("size", ""),
            duration=fields.get("seconds"),
            reference_images=images,
            fallback_resolution=DEFAULT_SIZE,
            fallback_duration=DEFAULT_SECONDS,
            **named_webhook(request, fields),
        )
        queued = generations.queue_video(
            caller=caller_of(request), wish=wish, idempotency_key=idempotency_key(request), model_field="model"
        )
        return answer(video_answer(queued.generation, as_queued=True), replayed=queued.replayed)

    @extend_schema(responses={200: api_schema.OpenAIVideo, 404: api_schema.OpenAIError}, operation_id="v1_videos_retrieve")
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
        responses={200: api_schema.OpenAIVideoDeleted, 404: api_schema.OpenAIError, 409: api_schema.OpenAIError},
        operation_id="v1_videos_delete",
    )
    def destroy(self, request: Request, video_id: str) -> Response:
        generation = find_video(request, video_id)
        generations.delete(caller=caller_of(request), generation=generation)
        return answer({"id": str(generation.id), "object": "video.deleted", "deleted": True})

    @extend_schema(
        request=None,
        responses={200: api_schema.OpenAIVideo, 404: api_schema.OpenAIError, 409: api_schema.OpenAIError},
        operation_id="v1_videos_cancel",
    )
    def cancel(self, request: Request, video_id: str) -> Response:
        return answer(video_answer(generations.cancel(generation=find_video(request, video_id))))

    @extend_schema(
        parameters=[OpenApiParameter("Range", str, OpenApiParameter.HEADER), OpenApiParameter("variant", str, enum=["video"])],
        responses={(200, "video/mp4"): OpenApiTypes.BINARY, (206, "video/mp4"): OpenApiTypes.BINARY, 404: api_schema.OpenAIError},
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
            found = media.open_object(result.get("objectKey", ""), owner=owner_of(generation))
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


class VideoGenerationsViewSet(OpenAIViewSet):
    max_body_bytes = settings.MAX_BODY_WITH_IMAGES_BYTES

    @extend_schema(
        request=VideoGenerationsBody,
        responses={200: api_schema.MadeVideos, **api_schema.OPENAI_FAILURES},
        parameters=[api_schema.IDEMPOTENCY_KEY],
        operation_id="v1_videos_generations",
    )
    def create(self, request: Request) -> Response:
        started = time.monotonic()
        fields = self.read_body(request, VIDEO_GENERATIONS)
        images = tuple(fields.get("reference_images", ()))
        check_reference_images(images, field="reference_images")
        wish = Wish(
            type=Generation.Type.VIDEO,
            model=fields["model"],
            prompt=fields["prompt"],
            ratio=fields.get("aspect_ratio", ""),
            resolution=fields.get("resolution", ""),
            duration=fields.get("duration"),
            generation_type=fields.get("generation_type", ""),
            reference_images=images,
            fallback_duration=DEFAULT_SECONDS,
            fallback_resolution="" if "aspect_ratio" in fields else DEFAULT_SIZE,
            **named_webhook(request, fields),
        )
        queued = generations.queue_video(
            caller=caller_of(request), wish=wish, idempotency_key=idempotency_key(request), model_field="model"
        )
        done = generations.await_video(queued.generation, seconds=WAIT_SECONDS - (time.monotonic() - started))
        if done is None:
            raise OutcomeTimedOut(
                _("The video is not ready yet. It goes on: ask for it at /v1/videos/%(id)s.") % {"id": queued.generation.id}
            )
        return answer(
            {
                "created": int(done.created_at.timestamp()),
                "data": [made_video(result, url, done) for result, url in zip(done.outputs, urls_of(done)[0], strict=True)],
                "usage": {"credits_charged": done.credits_charged},
            },
            replayed=queued.replayed,
        )


def made_video(result: dict[str, Any], url: str, generation: Generation) -> dict[str, Any]:
    duration = result.get("duration") or generation.parameters.get("duration")
    return {"url": url} | ({"duration": number_of(duration)} if duration else {})


class WebhookViewSet(OpenAIViewSet):
    """The webhook of the key that calls: told when one of its videos has ended."""

    @extend_schema(responses={200: api_schema.OpenAIWebhook}, operation_id="v1_webhook_retrieve")
    def retrieve(self, request: Request) -> Response:
        return answer(webhook_answer(key_of(request)))

    @extend_schema(
        request=WebhookBody,
        responses={200: api_schema.OpenAIWebhook, **api_schema.OPENAI_FAILURES},
        operation_id="v1_webhook_set",
    )
    def update(self, request: Request) -> Response:
        fields = self.read_body(request, WEBHOOK)
        key, new_secret = self._set(request, fields["url"], fields.get("secret", ""))
        response = answer(webhook_answer(key) | ({"secret": new_secret} if new_secret else {}))
        response["Cache-Control"] = "no-store"
        return response

    @extend_schema(responses={200: api_schema.OpenAIWebhook}, operation_id="v1_webhook_delete")
    def destroy(self, request: Request) -> Response:
        return answer(webhook_answer(self._set(request, "", "")[0]))

    @staticmethod
    def _set(request: Request, url: str, secret: str) -> tuple[ApiKey, str]:
        key_id = str(key_of(request).id)
        return webhooks.set_webhook(key_id=key_id, url=url, secret=secret, actor=f"key:{key_id}")


def webhook_answer(key: ApiKey) -> dict[str, Any]:
    secret = mask(key.webhook_secret) if key.webhook_secret else None
    return {"object": "webhook", "url": key.webhook_url or None, "secret": secret}
