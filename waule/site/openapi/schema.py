"""How the OpenAPI document names the operations and the three doors of waule."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension, OpenApiSerializerFieldExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import get_lib_doc_excludes
from rest_framework import serializers
from rest_framework.serializers import ListSerializer

from waule.core.http.api_base import ApiViewSet, InternalViewSet
from waule.core.http.fields import AnswerSerializer, BodySerializer

FAILURES = {"4XX": "Refused: `code` says why.", "5XX": "An upstream, the storage or waule itself failed."}


class Error(AnswerSerializer):
    """Every failure, everywhere but below `/v1`."""

    success = serializers.BooleanField()
    error = serializers.CharField(help_text="For people.")
    code = serializers.CharField(help_text="For machines.")
    details = serializers.DictField()
    requestId = serializers.CharField()
    creditsCharged = serializers.IntegerField(required=False, help_text="0, where a charge was refused.")
    isFreeUsage = serializers.BooleanField(required=False, help_text="False, where a charge was refused.")


class OpenAIErrorBody(AnswerSerializer):
    message = serializers.CharField(help_text="For people.")
    type = serializers.CharField()
    param = serializers.CharField(allow_null=True)
    code = serializers.CharField(help_text="For machines.")


class OpenAIError(AnswerSerializer):
    """Every failure below `/v1`, as OpenAI's clients read it."""

    error = OpenAIErrorBody()


class Schema(AutoSchema):
    """Lists are answered as an object with a named list in it; their operations are lists all the same."""

    def get_operation_id(self) -> str:
        name = super().get_operation_id()
        return name.removesuffix("_retrieve") + "_list" if getattr(self.view, "action", "") == "list" else name

    def get_response_serializers(self) -> Any:
        """Return what `extend_schema` names, else the view's `answers` by action: for actions that several resources share."""
        return getattr(self.view, "answers", {}).get(getattr(self.view, "action", "")) or super().get_response_serializers()

    def _get_response_bodies(self, direction: Any = "response") -> dict[str, Any]:
        """Return the answers that the view names, and the error of its door: no operation has to name that."""
        bodies: dict[str, Any] = super()._get_response_bodies(direction)
        error = OpenAIError if self.path.startswith("/v1/") else Error
        for statuses, description in FAILURES.items():
            answer = self._get_response_for_code(error, statuses, None, direction)  # type: ignore[no-untyped-call]
            bodies[statuses] = answer | {"description": description}
        return bodies

    def _is_list_view(self, serializer: Any = None) -> bool:
        """Only a serializer of many is answered as a bare list."""
        return isinstance(serializer, ListSerializer)


def without_doubles(endpoints: list[Any], **kwargs: Any) -> list[Any]:
    """Leave out a path that is there with and without its slash: the one without is described."""
    paths = {path for path, *_rest in endpoints}
    return [endpoint for endpoint in endpoints if not (endpoint[0].endswith("/") and endpoint[0].rstrip("/") in paths)]


class ConstantField(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    target_class = "waule.core.http.fields.Constant"

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        return {"type": "string", "const": self.target.value}


def without_descriptions() -> list[type]:
    """Classes whose docstrings are for us, and would be the description of whatever has none of its own."""
    ours = [ApiViewSet, InternalViewSet, BodySerializer, AnswerSerializer]
    return [*get_lib_doc_excludes(), *ours]  # type: ignore[no-untyped-call]


class InternalSecretScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "waule.core.auth.internal_auth.InternalSecretAuthentication"
    name = "internalSecret"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "apiKey", "in": "header", "name": "X-Internal-Secret"}


class UserTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "waule.core.auth.user_auth.JWTAuthentication"
    name = "userToken"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}


class TenantKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "aiservices.api.openai.TenantKeyAuthentication"
    name = "tenantKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "wk_live_… or wk_test_…"}
