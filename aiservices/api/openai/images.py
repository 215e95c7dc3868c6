"""`/v1/images`: pictures and edits of pictures, made while the caller waits."""

import base64
from typing import Any

from django.conf import settings
from django.http.response import HttpResponseBase
from django.utils.translation import gettext_lazy as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from aiservices.api import schema as api_schema
from aiservices.api.openai.authentication import OpenAIViewSet, caller_of, retry_of
from aiservices.api.openai.fields import ImageReference, LimitedMultiPartParser
from aiservices.api.openai.streaming import EDIT, GENERATION, bytes_of, stream_images, usage_of
from aiservices.api.platform import MAX_PROMPT_LENGTH, reference_images_field
from aiservices.generations import services as generations
from aiservices.generations.models import Generation
from aiservices.generations.requests import MAX_REFERENCE_IMAGES, GenerationRequest, check_reference_images
from aiservices.generations.settlement.outcomes import urls_of
from billing.api.sizes import OrderedSize
from billing.catalog.pricing import NO_SIZE
from waule.core.errors import InvalidRequest, UnsupportedParameter
from waule.core.http.api_base import answer, idempotency_key
from waule.core.http.fields import BodySerializer, Flag, Integer, Text
from waule.core.http.strict_parser import StrictJSONParser

PARAMETERS = (
    "background",
    "moderation",
    "negative_prompt",
    "output_compression",
    "output_format",
    "quality",
    "seed",
    "style",
    "user",
)


class ImagesBody(BodySerializer):
    model = Text(max_length=64, min_length=1)
    prompt = Text(max_length=MAX_PROMPT_LENGTH, min_length=1)
    n = Integer(min_value=1, max_value=10, required=False)
    size = OrderedSize()
    quality = Text(max_length=64, allow_blank=True, required=False)
    response_format = serializers.ChoiceField(choices=["url", "b64_json"], required=False)
    reference_images = reference_images_field()
    background = Text(max_length=64, allow_blank=True, required=False)
    moderation = Text(max_length=64, allow_blank=True, required=False)
    negative_prompt = Text(max_length=MAX_PROMPT_LENGTH, allow_blank=True, required=False)
    output_compression = Integer(min_value=0, max_value=100, required=False)
    output_format = Text(max_length=64, allow_blank=True, required=False)
    seed = Integer(min_value=-(2**63), max_value=2**63 - 1, required=False)
    style = Text(max_length=64, allow_blank=True, required=False)  # type: ignore[assignment]  # a field, not the attribute
    user = Text(max_length=512, allow_blank=True, required=False)
    stream = Flag(required=False)
    partial_images = Integer(min_value=0, max_value=3, required=False)
    input_fidelity = Text(max_length=64, allow_blank=True, required=False)


class EditsBody(ImagesBody):
    """`image` and `image[]` are a form's files, `images` and `reference_images` are JSON's URLs or data URIs."""

    image = serializers.ListField(child=ImageReference(), max_length=MAX_REFERENCE_IMAGES, required=False)
    images = serializers.ListField(child=ImageReference(), max_length=MAX_REFERENCE_IMAGES, required=False)
    mask = ImageReference(required=False)

    def get_fields(self) -> dict[str, Any]:
        several = serializers.ListField(child=ImageReference(), max_length=MAX_REFERENCE_IMAGES, required=False)
        return super().get_fields() | {"image[]": several}

    def run_validation(self, data: Any = serializers.empty) -> Any:
        if isinstance(data, dict) and isinstance(data.get("image"), str | dict):
            data = data | {"image": [data["image"]]}
        return super().run_validation(data)


IMAGES, EDITS = ImagesBody(), EditsBody()


def images_of(fields: dict[str, Any]) -> tuple[tuple[str, ...], str]:
    """Return the images that a body brings, and what it calls them.

    Raises:
        InvalidRequest: too many, or one that cannot be used.
    """
    images: list[str] = []
    name = "reference_images"
    for each in ("image", "image[]", "images", "reference_images"):
        if fields.get(each):
            images += fields[each]
            name = each
    if len(images) > MAX_REFERENCE_IMAGES:
        raise InvalidRequest.of_field(name, _("Send at most %(limit)s images.") % {"limit": MAX_REFERENCE_IMAGES})
    check_reference_images(tuple(images), field=name)
    return tuple(images), name


def image_request(fields: dict[str, Any]) -> tuple[GenerationRequest, str]:
    """Return what the body asks for, its images checked, and what it calls them.

    Raises:
        InvalidRequest. UnsupportedParameter.
    """
    images, images_name = images_of(fields)
    mask = fields.get("mask", "")
    if mask:
        check_reference_images((mask,), field="mask")
    if fields.get("input_fidelity", "low") not in ("", "low", "auto"):
        raise UnsupportedParameter("input_fidelity", fields["input_fidelity"])
    quality = fields.get("quality", "")
    generation_request = GenerationRequest(
        type=Generation.Type.IMAGE,
        model=fields["model"],
        prompt=fields["prompt"],
        resolution=fields.get("size", NO_SIZE),
        quantity=fields.get("n", 1),
        mode="" if quality == "auto" else quality,
        reference_images=images,
        mask=mask,
        parameters={name: fields[name] for name in PARAMETERS if fields.get(name) not in (None, "")},
    )
    return generation_request, images_name


def image_answer(result: dict[str, Any], url: str, generation: Generation, response_format: str) -> dict[str, Any]:
    shown: dict[str, Any] = {"url": url} if response_format == "url" else {"b64_json": as_base64(result, generation)}
    if "revisedPrompt" in result:
        shown["revised_prompt"] = result["revisedPrompt"]
    return shown


def as_base64(result: dict[str, Any], generation: Generation) -> str:
    return base64.b64encode(bytes_of(result, generation)).decode()


IMAGES_OR_EVENTS: Any = {(200, "application/json"): api_schema.OpenAIImages, (200, "text/event-stream"): OpenApiTypes.STR}


class ImageViewSet(OpenAIViewSet):
    max_body_bytes = settings.MAX_BODY_WITH_IMAGES_BYTES

    @extend_schema(
        request=ImagesBody,
        responses=IMAGES_OR_EVENTS,
        parameters=[api_schema.IDEMPOTENCY_KEY],
        operation_id="v1_images_generations",
    )
    def create(self, request: Request) -> HttpResponseBase:
        fields = self.read_body(request, IMAGES)
        return make_images(request, fields, event=GENERATION)


class EditViewSet(OpenAIViewSet):
    parser_classes = [StrictJSONParser, LimitedMultiPartParser]
    max_body_bytes = settings.MAX_BODY_WITH_IMAGES_BYTES
    several = frozenset({"image", "image[]"})

    @extend_schema(
        request={"application/json": EditsBody, "multipart/form-data": EditsBody},
        responses=IMAGES_OR_EVENTS,
        parameters=[api_schema.IDEMPOTENCY_KEY],
        operation_id="v1_images_edits",
    )
    def create(self, request: Request) -> HttpResponseBase:
        fields = self.read_body(request, EDITS)
        if not any(fields.get(name) for name in ("image", "image[]", "images", "reference_images")):
            raise InvalidRequest.of_field("image", _("Send the image to edit."))
        return make_images(request, fields, event=EDIT)


def make_images(request: Request, fields: dict[str, Any], *, event: str) -> HttpResponseBase:
    """Make the images that the body asks for and return with them, or with a stream of events."""
    generation_request, images_name = image_request(fields)
    try:
        admitted = generations.begin_image(
            caller=caller_of(request),
            request=generation_request,
            idempotency_key=idempotency_key(request),
            model_field="model",
            retry=retry_of(request),
        )
    except UnsupportedParameter as error:
        if error.details["param"] == "reference_images":
            raise UnsupportedParameter(images_name, message=str(error.details["fields"]["reference_images"][0])) from None
        raise
    if fields.get("stream"):
        return stream_images(request, admitted, generation_request, event=event, partial_images=fields.get("partial_images", 0))
    made = generations.finish_image(admitted, request=generation_request)
    generation, response_format = made.generation, fields.get("response_format", "url")
    results = zip(generation.outputs, urls_of(generation)[0], strict=True)
    response: Response = answer(
        {
            "created": int(generation.created_at.timestamp()),
            "data": [image_answer(result, url, generation, response_format) for result, url in results],
            "usage": usage_of(generation.credits_charged),
        },
        replayed=admitted.replayed,
    )
    response.generation = generation  # type: ignore[attr-defined]
    return response
