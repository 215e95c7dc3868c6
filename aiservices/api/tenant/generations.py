"""`/v1/generations`: the tenant's images and videos alike, newest first."""

from collections.abc import Sequence
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from aiservices.api.openai.authentication import OpenAIViewSet, caller_of
from aiservices.api.tenant import schema
from aiservices.generations import services as generations
from aiservices.generations.models import Generation
from aiservices.generations.settlement.outcomes import urls_of
from waule.core.http.api_base import answer
from waule.core.http.fields import BodySerializer, QueryInteger, Text

DEFAULT_PAGE = 20
STATUSES = [state.value for state in Generation.State if state != Generation.State.NEW]


class GenerationsQuery(BodySerializer):
    limit = QueryInteger(min_value=1, max_value=generations.MAX_PAGE, required=False)
    after = Text(max_length=64, min_length=1, required=False)
    type = serializers.ChoiceField(choices=Generation.Type.values, required=False)
    status = serializers.ChoiceField(choices=STATUSES, required=False)


GENERATIONS_QUERY = GenerationsQuery()


class GenerationViewSet(OpenAIViewSet):
    @extend_schema(
        parameters=schema.page_parameters("type", "status"),
        responses={200: schema.Generations},
        operation_id="v1_generations",
    )
    def list(self, request: Request) -> Response:
        fields = self.read_query(request, GENERATIONS_QUERY)
        page = generations.tenant_page(
            caller_of(request),
            limit=fields.get("limit", DEFAULT_PAGE),
            after=fields.get("after"),
            type=Generation.Type(fields["type"]) if "type" in fields else None,
            state=Generation.State(fields["status"]) if "status" in fields else None,
        )
        found = [
            generation_answer(generation, urls)
            for generation, urls in zip(page.generations, urls_of(*page.generations), strict=True)
        ]
        return answer(
            {
                "object": "list",
                "data": found,
                "has_more": page.has_more,
                "first_id": found[0]["id"] if found else None,
                "last_id": found[-1]["id"] if found else None,
            }
        )

    @extend_schema(responses={200: schema.Generation}, operation_id="v1_generations_retrieve")
    def retrieve(self, request: Request, generation_id: str) -> Response:
        generation = generations.find(caller_of(request), generation_id)
        return answer(generation_answer(generation, urls_of(generation)[0]))

    @extend_schema(responses={200: schema.Deleted}, operation_id="v1_generations_delete")
    def destroy(self, request: Request, generation_id: str) -> Response:
        caller = caller_of(request)
        generation = generations.find(caller, generation_id)
        generations.delete(caller=caller, generation=generation)
        return answer({"id": str(generation.id), "object": "generation.deleted", "deleted": True})


def generation_answer(generation: Generation, urls: Sequence[str]) -> dict[str, Any]:
    has_failed = bool(generation.error_code)
    return {
        "id": str(generation.id),
        "object": "generation",
        "type": generation.type,
        "status": generation.state,
        "model": generation.model.model_id,
        "prompt": generation.prompt,
        "urls": list(urls),
        "credits_charged": generation.credits_charged,
        "refunded": generation.charge.refunded if generation.charge else 0,
        "flags": generation.flags,
        "error": {"code": generation.error_code, "message": generation.error_message} if has_failed else None,
        "created_at": int(generation.created_at.timestamp()),
        "completed_at": int(generation.completed_at.timestamp()) if generation.completed_at else None,
    }
