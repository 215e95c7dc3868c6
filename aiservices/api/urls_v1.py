"""`/v1/…`"""

from typing import Any

from django.urls import URLPattern, path

from aiservices.api import openai as api_openai
from aiservices.api.tenant import account, deliveries, estimates, generations, keys, redeem, unsupported
from aiservices.api.tenant.dashboards import DashboardViewSet

ANY_METHOD: dict[str, Any] = dict.fromkeys(("get", "post", "put", "patch", "delete"), "answer_any")
BILLING_FORMS = {"subscription": "subscription", "usage": "usage", "credit_grants": "credit_grants"}


def dashboard_urls(prefix: str) -> list[URLPattern]:
    """Return the billing pages that desktop clients read, below `prefix`."""
    return [
        path(f"{prefix}dashboard/billing/{name}", DashboardViewSet.as_view({"get": action}))
        for name, action in BILLING_FORMS.items()
    ]


# Where desktop clients and relays ask without `/v1`.
bare = [
    *dashboard_urls(""),
    path("api/usage/token", DashboardViewSet.as_view({"get": "token"})),
    path("api/usage/token/", DashboardViewSet.as_view({"get": "token"})),
]

urlpatterns = [
    *(path(route, unsupported.NotSupportedViewSet.as_view(ANY_METHOD, hint=hint)) for route, hint in unsupported.HINTS.items()),
    path("models", api_openai.ModelViewSet.as_view({"get": "list"})),
    path("models/<path:model_id>", api_openai.ModelViewSet.as_view({"get": "retrieve"})),
    path("images/generations", api_openai.ImageViewSet.as_view({"post": "create"})),
    path("images/edits", api_openai.EditViewSet.as_view({"post": "create"})),
    path("videos", api_openai.VideoViewSet.as_view({"post": "create", "get": "list"})),
    path("videos/generations", api_openai.VideoGenerationsViewSet.as_view({"post": "create"})),
    path("videos/<str:video_id>", api_openai.VideoViewSet.as_view({"get": "retrieve", "delete": "destroy"})),
    path("videos/<str:video_id>/cancel", api_openai.VideoViewSet.as_view({"post": "cancel"})),
    path("videos/<str:video_id>/content", api_openai.VideoViewSet.as_view({"get": "content"})),
    path("webhook", api_openai.WebhookViewSet.as_view({"get": "retrieve", "put": "update", "delete": "destroy"})),
    path("webhook/test", deliveries.WebhookTestViewSet.as_view({"post": "create"})),
    path("webhook/deliveries", deliveries.DeliveryViewSet.as_view({"get": "list"})),
    path("balance", account.BalanceViewSet.as_view({"get": "retrieve"})),
    path("usage", account.UsageViewSet.as_view({"get": "retrieve"})),
    path("entries", account.EntryViewSet.as_view({"get": "retrieve"})),
    path("prices", account.PriceViewSet.as_view({"get": "retrieve"})),
    path("estimate", estimates.EstimateViewSet.as_view({"post": "create"})),
    path("keys", keys.KeyViewSet.as_view({"get": "list", "post": "create"})),
    path("keys/<str:key_id>", keys.KeyViewSet.as_view({"delete": "destroy"})),
    path("generations", generations.GenerationViewSet.as_view({"get": "list"})),
    path("generations/<str:generation_id>", generations.GenerationViewSet.as_view({"get": "retrieve", "delete": "destroy"})),
    path("redeem", redeem.RedeemViewSet.as_view({"post": "create"})),
    *dashboard_urls(""),
]
