"""`/v1/models`: those that the key's tenant may use."""

from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from aiservices.api import schema as api_schema
from aiservices.api.openai.authentication import OpenAIViewSet, key_of
from aiservices.generations.listing import Shown, models_on_show
from billing.errors import ModelNotFound
from tenants.models import ApiKey
from waule.core.http.api_base import answer


class ModelViewSet(OpenAIViewSet):
    @extend_schema(responses={200: api_schema.OpenAIModelList}, operation_id="v1_models")
    def list(self, request: Request) -> Response:
        shown = {model.model.model_id: model.as_openai for model in models_of(key_of(request))}
        return answer({"object": "list", "data": list(shown.values())})

    @extend_schema(responses={200: api_schema.OpenAIModel}, operation_id="v1_model")
    def retrieve(self, request: Request, model_id: str) -> Response:
        for shown in models_of(key_of(request)):
            if model_id in (shown.model.model_id, str(shown.model.id)):
                return answer(shown.as_openai)
        raise ModelNotFound(_("There is no model %(model)s that you may use.") % {"model": model_id})


def models_of(key: ApiKey) -> list[Shown]:
    """Return the models that the key may use."""
    return [shown for shown in models_on_show(key.tenant) if key.may_use(shown.model)]
