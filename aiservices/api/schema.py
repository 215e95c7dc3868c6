"""What the answers of `/api/ai` and `/v1` look like, for the OpenAPI document. Nothing is rendered through these."""

from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers

from waule.core.http.fields import AnswerSerializer, Constant

IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="Repeats of a call with the same key and body are answered as the first one was.",
)


class ImageAnswer(AnswerSerializer):
    success = serializers.BooleanField()
    url = serializers.URLField()
    urls = serializers.ListField(child=serializers.URLField())
    taskId = serializers.UUIDField()
    model = serializers.CharField()
    creditsCharged = serializers.IntegerField()
    isFreeUsage = serializers.BooleanField()
    flags = serializers.ListField(child=serializers.CharField(), required=False)


class VideoAnswer(AnswerSerializer):
    success = serializers.BooleanField()
    taskId = serializers.UUIDField()
    status = serializers.CharField()
    creditsHeld = serializers.IntegerField()


class Task(AnswerSerializer):
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
    flags = serializers.ListField(child=serializers.CharField())
    createdAt = serializers.DateTimeField()
    completedAt = serializers.DateTimeField(allow_null=True)


class TaskCanceled(Task):
    success = serializers.BooleanField()


class TaskList(AnswerSerializer):
    tasks = Task(many=True)
    nextCursor = serializers.CharField(allow_null=True)


class Model(AnswerSerializer):
    id = serializers.UUIDField()
    modelId = serializers.CharField()
    name = serializers.CharField()
    provider = serializers.CharField()
    type = serializers.CharField()
    options = serializers.DictField()
    price = serializers.DictField(allow_null=True)
    retiresAt = serializers.DateField(allow_null=True)
    replacedBy = serializers.CharField(allow_null=True)
    credits = serializers.IntegerField(allow_null=True)
    explanation = serializers.ListField(child=serializers.CharField())


class ModelList(AnswerSerializer):
    models = Model(many=True)


class ModelSwitch(AnswerSerializer):
    id = serializers.UUIDField()
    modelId = serializers.CharField()
    name = serializers.CharField()
    provider = serializers.CharField()
    type = serializers.CharField()
    isActive = serializers.BooleanField()
    version = serializers.CharField()
    disabledReason = serializers.CharField(required=False)
    retiresAt = serializers.DateField(required=False)
    replacedBy = serializers.CharField(required=False, allow_null=True)


class ModelSwitches(AnswerSerializer):
    models = ModelSwitch(many=True)


class OpenAIModel(AnswerSerializer):
    id = serializers.CharField()
    object = Constant("model")
    created = serializers.IntegerField()
    owned_by = serializers.CharField()
    name = serializers.CharField()
    type = serializers.CharField()
    options = serializers.DictField()
    price = serializers.DictField(allow_null=True)
    retiresAt = serializers.DateField(allow_null=True)
    replacedBy = serializers.CharField(allow_null=True)


class OpenAIModelList(AnswerSerializer):
    object = Constant("list")
    data = OpenAIModel(many=True)  # type: ignore[assignment]  # a field, not the property of that name


class OpenAIUsage(AnswerSerializer):
    credits_charged = serializers.IntegerField()


class OpenAITokenDetails(AnswerSerializer):
    image_tokens = serializers.IntegerField()
    text_tokens = serializers.IntegerField()


class OpenAIImageUsage(OpenAIUsage):
    total_tokens = serializers.IntegerField()
    input_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField()
    input_tokens_details = OpenAITokenDetails()


class OpenAIImage(AnswerSerializer):
    url = serializers.URLField(required=False)
    b64_json = serializers.CharField(required=False)
    revised_prompt = serializers.CharField(required=False)


class OpenAIImages(AnswerSerializer):
    created = serializers.IntegerField()
    data = OpenAIImage(many=True)  # type: ignore[assignment]  # a field, not the property of that name
    usage = OpenAIImageUsage()


class OpenAIVideoError(AnswerSerializer):
    code = serializers.CharField()
    message = serializers.CharField()


class OpenAIVideo(AnswerSerializer):
    id = serializers.UUIDField()
    object = Constant("video")
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


class OpenAIVideoList(AnswerSerializer):
    object = Constant("list")
    data = OpenAIVideo(many=True)  # type: ignore[assignment]  # a field, not the property of that name
    has_more = serializers.BooleanField()
    first_id = serializers.CharField(allow_null=True)
    last_id = serializers.CharField(allow_null=True)


class OpenAIWebhook(AnswerSerializer):
    object = Constant("webhook")
    url = serializers.URLField(allow_null=True)
    secret = serializers.CharField(allow_null=True, help_text="Whole where this call made it, else its last characters.")


class OpenAIVideoDeleted(AnswerSerializer):
    id = serializers.UUIDField()
    object = Constant("video.deleted")
    deleted = serializers.BooleanField()


class MadeVideo(AnswerSerializer):
    url = serializers.URLField()
    duration = serializers.FloatField(required=False)


class MadeVideos(AnswerSerializer):
    created = serializers.IntegerField()
    data = MadeVideo(many=True)  # type: ignore[assignment]  # a field, not the property of that name
    usage = OpenAIUsage()
