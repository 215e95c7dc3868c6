"""Credentials, models and health: the same addresses under `/internal` and under `/api/admin/ai-services`."""

from typing import Any

from django.urls import URLPattern, path

from aiservices.api import credentials as api


def resources(tokens: Any, keys: Any, models: Any, health: Any) -> list[URLPattern]:
    return [
        path("sora/tokens", tokens.as_view({"get": "list", "post": "create"})),
        path("sora/tokens/import", tokens.as_view({"post": "import_many"})),
        path("sora/tokens/sync", tokens.as_view({"post": "sync"})),
        path("gemini/keys/batch", keys.as_view({"post": "batch"})),
        path("gemini/keys", keys.as_view({"get": "list", "post": "create"})),
        *[
            pattern
            for prefix, view in (("sora/tokens", tokens), ("gemini/keys", keys))
            for pattern in (
                path(
                    f"{prefix}/<str:credential_id>",
                    view.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
                ),
                *[
                    path(f"{prefix}/<str:credential_id>/{action}", view.as_view({"post": action}))
                    for action in ("enable", "disable", "test")
                ],
                path(f"{prefix}/<str:credential_id>/use-again", view.as_view({"post": "use_again"})),
            )
        ],
        path("models/<str:model_id>", models.as_view({"patch": "partial_update"})),
        path("health", health.as_view({"get": "list"})),
        path("health/check", health.as_view({"post": "check"})),
    ]


internal = [
    *resources(api.InternalSoraTokens, api.InternalGeminiKeys, api.InternalModels, api.InternalHealth),
    path("credentials/lease", api.Leases.as_view({"post": "create"})),
    path("credentials/leases/<str:lease_id>/report", api.Leases.as_view({"post": "report"})),
]
staff = [
    *resources(api.StaffSoraTokens, api.StaffGeminiKeys, api.StaffModels, api.StaffHealth),
    path("models", api.StaffModels.as_view({"get": "list"})),  # under /internal it is in `urls_internal`
]
