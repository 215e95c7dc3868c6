"""How the OpenAPI document names the operations and the three doors of waule."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema


class Schema(AutoSchema):
    """Lists are answered as an object with a named list in it; their operations are lists all the same."""

    def get_operation_id(self) -> str:
        name = super().get_operation_id()
        return name.removesuffix("_retrieve") + "_list" if getattr(self.view, "action", "") == "list" else name


class InternalSecretScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "waule.internal_auth.InternalSecretAuthentication"
    name = "internalSecret"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "apiKey", "in": "header", "name": "X-Internal-Secret"}


class UserTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "waule.user_auth.JWTAuthentication"
    name = "userToken"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}


class TenantKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "aiservices.api_openai.TenantKeyAuthentication"
    name = "tenantKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "wk_live_… or wk_test_…"}
