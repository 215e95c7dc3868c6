"""`/internal/models`: which models there are."""

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from aiservices.api import schema
from billing.catalog.availability import SWITCH_FIELDS
from billing.catalog.current import ModelInfo, current_catalog
from billing.catalog.models import AIModel
from waule.core.db.versions import digest
from waule.core.http.api_base import InternalViewSet, answer


class ModelViewSet(InternalViewSet):
    scope = "models"

    @extend_schema(tags=["models"], responses={200: schema.ModelSwitches})
    def list(self, request: Request) -> Response:
        """Return every model, the switched-off ones with the reason."""
        return answer(models_answer())


def models_answer() -> dict[str, Any]:
    now = timezone.now()
    models = sorted(current_catalog().models.values(), key=lambda model: (model.provider, model.model_id, model.type))
    return {"models": [model_answer(model, is_on=model.is_on(now)) for model in models]}


def model_answer(model: ModelInfo | AIModel, *, is_on: bool) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": str(model.id),
        "modelId": model.model_id,
        "name": model.name,
        "provider": model.provider,
        "type": model.type,
        "isActive": is_on,
    }
    row["version"] = digest({name: getattr(model, name) for name in SWITCH_FIELDS})
    if not is_on and model.disabled_reason:
        row["disabledReason"] = model.disabled_reason
    if model.retires_at is not None:
        row |= {"retiresAt": model.retires_at.isoformat(), "replacedBy": model.replaced_by or None}
    return row
