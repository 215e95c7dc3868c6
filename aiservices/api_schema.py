"""What the answers of `/api/ai` and `/v1` look like, for the OpenAPI document. Nothing is rendered through these."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers

IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="Repeats of a call with the same key and body are answered as the first one was.",
)


class Answer(serializers.Serializer[Any]):
    """Read only, all of it."""


class Error(Answer):
    success = serializers.BooleanField(default=False)
    error = serializers.CharField()
    code = serializers.CharField()
    details = serializers.DictField()
    requestId = serializers.CharField()


class OpenAIErrorBody(Answer):
    message = serializers.CharField()
    type = serializers.CharField()
    param = serializers.CharField(allow_null=True)
    code = serializers.CharField(allow_null=True)


class OpenAIError(Answer):
    error = OpenAIErrorBody()


def _failures(shape: type[Answer]) -> dict[Any, Any]:
    return dict.fromkeys((400, 401, 402, 403, 404, 409, 413, 415, 422, 429, 502, 503, 504), shape)


FAILURES = _failures(Error)
OPENAI_FAILURES = _failures(OpenAIError)
NOT_FOUND = {400: Error, 401: Error, 404: Error}


class ImageAnswer(Answer):
    success = serializers.BooleanField()
    url = serializers.URLField()
    urls = serializers.ListField(child=serializers.URLField())
    taskId = serializers.UUIDField()
    model = serializers.CharField()
    creditsCharged = serializers.IntegerField()
    isFreeUsage = serializers.BooleanField()
    flags = serializers.ListField(child=serializers.CharField(), required=False)


class VideoAnswer(Answer):
    success = serializers.BooleanField()
    taskId = serializers.UUIDField()
    status = serializers.CharField()
    creditsHeld = serializers.IntegerField()


class Task(Answer):
    id = serializers.UUIDField()
    type = serializers.ChoiceField(choices=["image", "video"])
    status = serializers.ChoiceField(choices=["queued", "running", "succeeded", "failed", "canceled", "unknown"])
    progress = serializers.IntegerField()
    model = serializers.CharField()
    prompt = serializers.CharField()
    url = serializers.URLField(allow_null=True)
    urls = serializers.ListField(child=serializers.URLField())
    error = serializers.CharField(allow_null=True)
    code = serializers.CharField(allow_null=True)
    creditsCharged = serializers.IntegerField()
    creditsHeld = serializers.IntegerField()
    isFreeUsage = serializers.BooleanField()
    createdAt = serializers.DateTimeField()
    completedAt = serializers.DateTimeField(allow_null=True)


class TaskList(Answer):
    tasks = Task(many=True)
    nextCursor = serializers.CharField(allow_null=True)


class Model(Answer):
    id = serializers.UUIDField()
    modelId = serializers.CharField()
    name = serializers.CharField()
    provider = serializers.CharField()
    type = serializers.CharField()
    options = serializers.DictField()
    price = serializers.DictField(allow_null=True)
    credits = serializers.IntegerField(allow_null=True)
    explanation = serializers.ListField(child=serializers.CharField())


class ModelList(Answer):
    models = Model(many=True)


class OpenAIModel(Answer):
    id = serializers.CharField()
    object = serializers.CharField()
    created = serializers.IntegerField()
    owned_by = serializers.CharField()
    name = serializers.CharField()
    type = serializers.CharField()
    options = serializers.DictField()
    price = serializers.DictField(allow_null=True)


class OpenAIModelList(Answer):
    object = serializers.CharField()
    data = OpenAIModel(many=True)  # type: ignore[assignment]  # a field, not the property of that name


class OpenAIUsage(Answer):
    credits_charged = serializers.IntegerField()


class OpenAIImage(Answer):
    url = serializers.URLField(required=False)
    b64_json = serializers.CharField(required=False)
    revised_prompt = serializers.CharField(required=False)


class OpenAIImages(Answer):
    created = serializers.IntegerField()
    data = OpenAIImage(many=True)  # type: ignore[assignment]  # a field, not the property of that name
    usage = OpenAIUsage()


class OpenAIVideoError(Answer):
    code = serializers.CharField()
    message = serializers.CharField()


class OpenAIVideo(Answer):
    id = serializers.UUIDField()
    object = serializers.CharField()
    status = serializers.ChoiceField(choices=["queued", "in_progress", "completed", "failed"])
    progress = serializers.IntegerField()
    model = serializers.CharField()
    prompt = serializers.CharField()
    seconds = serializers.CharField(allow_null=True)
    size = serializers.CharField(allow_null=True)
    created_at = serializers.IntegerField()
    completed_at = serializers.IntegerField(allow_null=True)
    expires_at = serializers.IntegerField(allow_null=True)
    remixed_from_video_id = serializers.CharField(allow_null=True)
    error = OpenAIVideoError(allow_null=True)


class OpenAIVideoList(Answer):
    object = serializers.CharField()
    data = OpenAIVideo(many=True)  # type: ignore[assignment]  # a field, not the property of that name
    has_more = serializers.BooleanField()
    first_id = serializers.CharField(allow_null=True)
    last_id = serializers.CharField(allow_null=True)


class OpenAIWebhook(Answer):
    object = serializers.CharField()
    url = serializers.URLField(allow_null=True)
    secret = serializers.CharField(allow_null=True, help_text="Whole where this call made it, else its last characters.")


class OpenAIVideoDeleted(Answer):
    id = serializers.UUIDField()
    object = serializers.CharField()
    deleted = serializers.BooleanField()


class MadeVideo(Answer):
    url = serializers.URLField()
    duration = serializers.FloatField(required=False)


class MadeVideos(Answer):
    created = serializers.IntegerField()
    data = MadeVideo(many=True)  # type: ignore[assignment]  # a field, not the property of that name
    usage = OpenAIUsage()
