"""`/v1/images`: pictures, made while the caller waits."""

import base64
from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from aiservices import api_schema, generations
from aiservices.api_openai.callers import OpenAIViewSet, caller_of
from aiservices.api_openai.fields import Size
from aiservices.api_platform import MAX_PROMPT_LENGTH, reference_images_field
from aiservices.endings import urls_of
from aiservices.models import Generation
from aiservices.wishes import Wish, check_reference_images, owner_of
from gateway_client.fetch import fetch
from storage import media
from waule.api_base import BodySerializer, Integer, Text, answer, idempotency_key


class ImagesBody(BodySerializer):
    model = Text(max_length=64, min_length=1)
    prompt = Text(max_length=MAX_PROMPT_LENGTH, min_length=1)
    n = Integer(min_value=1, max_value=10, required=False)
    size = Size(max_length=64, allow_blank=True, required=False)
    quality = Text(max_length=64, allow_blank=True, required=False)
    response_format = serializers.ChoiceField(choices=["url", "b64_json"], required=False)
    reference_images = reference_images_field()


IMAGES = ImagesBody()


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
