"""`/v1/videos/generations`: a video for which the caller waits."""

import time
from typing import Any

from django.conf import settings
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from aiservices.api import schema as api_schema
from aiservices.api.openai.authentication import OpenAIViewSet, caller_of, retry_of
from aiservices.api.openai.fields import SecondsText
from aiservices.api.openai.videos import DEFAULT_SECONDS, DEFAULT_SIZE, number_of
from aiservices.api.openai.webhook import named_webhook
from aiservices.api.platform import MAX_PROMPT_LENGTH, reference_images_field
from aiservices.generations import services as generations
from aiservices.generations import webhooks
from aiservices.generations.models import Generation
from aiservices.generations.requests import GenerationRequest, check_reference_images
from aiservices.generations.settlement.outcomes import urls_of
from billing.api.sizes import OrderedSize
from billing.catalog.pricing import NO_SIZE
from gateway_client.errors import OutcomeTimedOut
from tenants.models import MAX_WEBHOOK_URL
from waule.core.http.api_base import answer, idempotency_key
from waule.core.http.fields import BodySerializer, Text

WAIT_SECONDS = 300  # of POST /v1/videos/generations


class VideoGenerationsBody(BodySerializer):
    model = Text(max_length=64, min_length=1)
    prompt = Text(max_length=MAX_PROMPT_LENGTH, min_length=1)
    duration = SecondsText(required=False)
    aspect_ratio = OrderedSize()
    resolution = OrderedSize()
    generation_type = Text(max_length=64, allow_blank=True, required=False)
    reference_images = reference_images_field()
    webhook_url = Text(max_length=MAX_WEBHOOK_URL, allow_blank=True, required=False)
    webhook_secret = Text(max_length=webhooks.MAX_SECRET_LENGTH, allow_blank=True, required=False)


VIDEO_GENERATIONS = VideoGenerationsBody()


class VideoGenerationsViewSet(OpenAIViewSet):
    max_body_bytes = settings.MAX_BODY_WITH_IMAGES_BYTES

    @extend_schema(
        request=VideoGenerationsBody,
        responses={200: api_schema.MadeVideos},
        parameters=[api_schema.IDEMPOTENCY_KEY],
        operation_id="v1_videos_generations",
    )
    def create(self, request: Request) -> Response:
        started = time.monotonic()
        fields = self.read_body(request, VIDEO_GENERATIONS)
        images = tuple(fields.get("reference_images", ()))
        check_reference_images(images, field="reference_images")
        generation_request = GenerationRequest(
            type=Generation.Type.VIDEO,
            model=fields["model"],
            prompt=fields["prompt"],
            ratio=fields.get("aspect_ratio", NO_SIZE),
            resolution=fields.get("resolution", NO_SIZE),
            duration=fields.get("duration"),
            generation_type=fields.get("generation_type", ""),
            reference_images=images,
            fallback_duration=DEFAULT_SECONDS,
            fallback_resolution=DEFAULT_SIZE,
            field_names={"duration": "duration", "resolution": "resolution", "ratio": "aspect_ratio"},
            **named_webhook(request, fields),
        )
        queued = generations.queue_video(
            caller=caller_of(request),
            request=generation_request,
            idempotency_key=idempotency_key(request),
            model_field="model",
            retry=retry_of(request),
        )
        done = generations.await_video(queued.generation, seconds=WAIT_SECONDS - (time.monotonic() - started))
        if done is None:
            raise OutcomeTimedOut(
                _("The video is not ready yet. It goes on: ask for it at /v1/videos/%(id)s.") % {"id": queued.generation.id}
            )
        response = answer(
            {
                "created": int(done.created_at.timestamp()),
                "data": [made_video(result, url, done) for result, url in zip(done.outputs, urls_of(done)[0], strict=True)],
                "usage": {"credits_charged": done.credits_charged},
            },
            replayed=queued.replayed,
        )
        response.generation = done  # type: ignore[attr-defined]
        return response


def made_video(result: dict[str, Any], url: str, generation: Generation) -> dict[str, Any]:
    duration = result.get("duration") or generation.parameters.get("duration")
    return {"url": url} | ({"duration": number_of(duration)} if duration else {})
