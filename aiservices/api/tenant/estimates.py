"""`/v1/estimate`: what a request would take. Nothing moves."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from aiservices.api.openai.authentication import READING, OpenAIViewSet, caller_of
from aiservices.api.openai.fields import SecondsText
from aiservices.api.openai.videos import DEFAULT_SECONDS, DEFAULT_SIZE
from aiservices.api.tenant import schema
from aiservices.generations import services as generations
from aiservices.generations.models import Generation
from aiservices.generations.requests import MODEL_TYPES, GenerationRequest, check_key_allows
from billing import services as ledger
from billing.api.sizes import OrderedSize
from billing.catalog import pricing
from billing.catalog.current import current_catalog
from billing.catalog.models import AIModel
from billing.catalog.pricing import NO_SIZE
from billing.catalog.usage import UsageRequest
from billing.errors import ModelNotEnabled
from tenants.principal import Principal
from waule.core.errors import WauleError
from waule.core.http.api_base import answer
from waule.core.http.fields import BodySerializer, Integer, Text
from waule.core.ids import uuid7

Type = Generation.Type


class TenantEstimateBody(BodySerializer):
    """The body of the request that it is about; what does not change the price is ignored."""

    model = Text(max_length=64, min_length=1)
    n = Integer(min_value=1, max_value=10, required=False)
    size = OrderedSize()
    quality = Text(max_length=64, allow_blank=True, required=False)
    seconds = SecondsText(required=False)
    duration = SecondsText(required=False)
    resolution = OrderedSize()
    aspect_ratio = OrderedSize()
    generation_type = Text(max_length=64, allow_blank=True, required=False)
    mode = Text(max_length=64, allow_blank=True, required=False)
    character_count = Integer(min_value=1, max_value=10_000_000, required=False)


ESTIMATE = TenantEstimateBody()
FIELD_NAMES = {"duration": "duration", "resolution": "resolution", "aspect_ratio": "ratio"}  # as ours, where `/v1` has two names


class EstimateViewSet(OpenAIViewSet):
    scopes = {"create": READING}

    @extend_schema(request=TenantEstimateBody, responses={200: schema.Estimate}, operation_id="v1_estimate")
    def create(self, request: Request) -> Response:
        fields = self.read_body(request, ESTIMATE)
        caller = caller_of(request)
        model = model_of(fields)
        made = ledger.estimate(target=caller, use=use_of(caller, model, fields))
        rejection: WauleError | None = made.rejection
        try:
            check_key_allows(caller, model)
        except ModelNotEnabled as error:
            rejection = error
        return answer(
            {
                "credits": made.credits,
                "explanation": pricing.explain(made.steps),
                "allowed": rejection is None,
                "code": rejection.code if rejection else None,
            }
        )


def model_of(fields: dict[str, Any]) -> AIModel:
    """Return the model that is meant: of two that share a name the one of videos where seconds are given, else the other.

    Raises:
        ModelNotFound.
    """
    named = current_catalog().named(fields["model"])
    is_video = "seconds" in fields or "duration" in fields
    fitting = [model for model in named if (model.type in MODEL_TYPES[Type.VIDEO]) == is_video]
    return AIModel.objects.get(id=(fitting or named)[0].id)


def use_of(caller: Principal, model: AIModel, fields: dict[str, Any]) -> UsageRequest:
    """Return the use that the request would be priced by."""
    mode = fields.get("mode") or fields.get("quality", "")
    mode = "" if mode == "auto" else mode
    for type in (Type.IMAGE, Type.VIDEO):
        if model.type in MODEL_TYPES[type]:
            generation_request = generation_request_of(type, model, fields, mode).with_defaults(model.options)
            return generations.as_sold(caller, generation_request, model, "model").use(model, uuid7())
    return UsageRequest(
        model=str(model.id),
        operation="estimate",
        quantity=fields.get("n", 1),
        duration=fields.get("seconds") or fields.get("duration"),
        resolution=size_of(fields),
        mode=mode,
        operation_type=fields.get("generation_type", ""),
        character_count=fields.get("character_count"),
    )


def generation_request_of(type: Generation.Type, model: AIModel, fields: dict[str, Any], mode: str) -> GenerationRequest:
    is_video = type == Type.VIDEO
    return GenerationRequest(
        type=type,
        model=str(model.id),
        prompt="",
        ratio=fields.get("aspect_ratio", NO_SIZE),
        resolution=size_of(fields),
        quantity=1 if is_video else fields.get("n", 1),
        duration=fields.get("seconds") or fields.get("duration"),
        mode=mode,
        generation_type=fields.get("generation_type", ""),
        fallback_duration=DEFAULT_SECONDS if is_video else None,
        fallback_resolution=DEFAULT_SIZE if is_video else NO_SIZE,
        field_names={ours: name for name, ours in FIELD_NAMES.items() if fields.get(name)},
    )


def size_of(fields: dict[str, Any]) -> pricing.Size:
    """`size` as images and videos have it, `resolution` as `/v1/videos/generations` has it."""
    named: list[pricing.Size] = [fields[name] for name in ("size", "resolution") if name in fields and fields[name].text]
    return named[0] if named else NO_SIZE
