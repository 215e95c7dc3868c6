"""Which models are on, and how the upstream services are."""

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from aiservices import health, switches
from aiservices.api import model_answer, models_answer
from aiservices.api_credentials.callers import StaffViewSet, actor_of
from aiservices.models import AIModel, Service
from waule.api_base import (
    ApiViewSet,
    BodySerializer,
    Flag,
    InternalViewSet,
    Moment,
    Text,
    answer,
    iso,
)
from waule.errors import NotFound
from waule.ids import parse_uuid


class ModelBody(BodySerializer):
    isActive = Flag(source="is_active")
    reason = Text(max_length=switches.MAX_REASON_LENGTH, allow_blank=True, required=False)
    until = Moment(required=False)


MODEL_BODY = ModelBody()


def service_answer(row: Service) -> dict[str, Any]:
    return {
        "name": row.name,
        "status": row.status,
        "latencyMs": row.latency_ms,
        "checkedAt": iso(row.checked_at),
        "message": row.message,
    }


class Models(ApiViewSet):
    model = AIModel

    @extend_schema(responses=dict)
    def list(self, request: Request) -> Response:
        return answer(models_answer())

    @extend_schema(request=ModelBody, responses=dict)
    def partial_update(self, request: Request, model_id: str) -> Response:
        body = self.read_body(request, MODEL_BODY)
        model_pk = parse_uuid(model_id)
        row = AIModel.objects.filter(pk=model_pk).first() if model_pk else None
        if row is None:
            raise NotFound
        row = switches.switch_model(model=row, **body, actor=actor_of(self, request), request=request._request)
        shown = model_answer(row, is_on=row.is_on(timezone.now()))
        return answer({"success": True} | shown | {"disabledUntil": iso(row.disabled_until)})


class Health(ApiViewSet):
    model = Service
    verbs = {"check": "change"}

    @extend_schema(responses=dict)
    def list(self, request: Request) -> Response:
        return answer({"services": [service_answer(row) for row in health.last_results()]})

    @extend_schema(request=None, responses=dict)
    def check(self, request: Request) -> Response:
        return answer({"services": [service_answer(row) for row in health.check()]})


class InternalModels(Models, InternalViewSet):
    pass


class InternalHealth(Health, InternalViewSet):
    pass


class StaffModels(Models, StaffViewSet):
    pass


class StaffHealth(Health, StaffViewSet):
    pass
