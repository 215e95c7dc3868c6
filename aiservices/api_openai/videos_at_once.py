"""`/v1/videos/generations`: a video for which the caller waits."""

import time
from typing import Any

from django.conf import settings
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from aiservices import api_schema, generations, webhooks
from aiservices.api_openai.callers import OpenAIViewSet, caller_of
from aiservices.api_openai.fields import SecondsText
from aiservices.api_openai.videos import DEFAULT_SECONDS, DEFAULT_SIZE, number_of
from aiservices.api_openai.webhook import named_webhook
from aiservices.api_platform import MAX_PROMPT_LENGTH, reference_images_field
from aiservices.endings import urls_of
from aiservices.models import Generation
from aiservices.wishes import Wish, check_reference_images
from gateway_client.errors import OutcomeTimedOut
from tenants.models import MAX_WEBHOOK_URL
from waule.api_base import BodySerializer, Text, answer, idempotency_key

WAIT_SECONDS = 300  # of POST /v1/videos/generations


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


VIDEO_GENERATIONS = VideoGenerationsBody()


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
