"""Which models are on, and how the upstream services are."""

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from aiservices.api import schema as api_schema
from aiservices.api.credentials import schema
from aiservices.api.credentials.authentication import StaffViewSet, actor_of
from aiservices.api.internal_models import model_answer, models_answer
from aiservices.monitoring import probes as health
from aiservices.monitoring.models import Service
from billing.catalog import availability as switches
from billing.catalog.models import AIModel
from waule.core.errors import NotFound
from waule.core.http.api_base import MAX_VERSION_LENGTH, ApiViewSet, InternalViewSet, answer, expected_version, versioned_answer
from waule.core.http.fields import BodySerializer, Flag, Text, Timestamp, iso
from waule.core.ids import parse_uuid


class ModelBody(BodySerializer):
    isActive = Flag(source="is_active")
    reason = Text(max_length=switches.MAX_REASON_LENGTH, allow_blank=True, required=False)
    until = Timestamp(required=False)
    version = Text(max_length=MAX_VERSION_LENGTH, required=False)


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

    @extend_schema(responses={200: api_schema.ModelSwitches})
    def list(self, request: Request) -> Response:
        return answer(models_answer())

    @extend_schema(request=ModelBody, responses={200: schema.ModelSwitched})
    def partial_update(self, request: Request, model_id: str) -> Response:
        body = self.read_body(request, MODEL_BODY)
        model_pk = parse_uuid(model_id)
        row = AIModel.objects.filter(pk=model_pk).first() if model_pk else None
        if row is None:
            raise NotFound
        expected = expected_version(request, body)
        who: dict[str, Any] = {"actor": actor_of(self, request), "request": request._request}
        row = switches.switch_model(model=row, **body, expected_version=expected, **who)
        shown = model_answer(row, is_on=row.is_on(timezone.now()))
        return versioned_answer({"success": True} | shown | {"disabledUntil": iso(row.disabled_until)})


class Health(ApiViewSet):
    model = Service
    verbs = {"check": "change"}

    @extend_schema(responses={200: schema.ServicesHealth})
    def list(self, request: Request) -> Response:
        return answer({"services": [service_answer(row) for row in health.last_results()]})

    @extend_schema(request=None, responses={200: schema.ServicesHealth})
    def check(self, request: Request) -> Response:
        return answer({"services": [service_answer(row) for row in health.check()]})


class InternalModels(Models, InternalViewSet):
    scope = "models"


class InternalHealth(Health, InternalViewSet):
    scope = "health"


class StaffModels(Models, StaffViewSet):
    pass


class StaffHealth(Health, StaffViewSet):
    pass
