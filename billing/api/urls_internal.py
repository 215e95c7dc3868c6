"""`/internal/billing/…` and `/internal/tenants/…`"""

from django.urls import path

from billing import api
from billing.api.tenants import TenantByKeyViewSet

urlpatterns = [
    path("tenants/by-apikey", TenantByKeyViewSet.as_view({"get": "list"})),
    path("billing/charge", api.ChargeViewSet.as_view({"post": "create"})),
    path("billing/charges/batch", api.ChargeViewSet.as_view({"post": "batch"})),
    path("billing/charges/<str:charge_id>", api.ChargeViewSet.as_view({"get": "retrieve"})),
    path("billing/estimate", api.EstimateViewSet.as_view({"post": "create"})),
    path("billing/holds", api.HoldViewSet.as_view({"post": "create"})),
    path("billing/holds/<str:hold_id>", api.HoldViewSet.as_view({"get": "retrieve"})),
    path("billing/holds/<str:hold_id>/capture", api.HoldViewSet.as_view({"post": "capture"})),
    path("billing/holds/<str:hold_id>/release", api.HoldViewSet.as_view({"post": "release"})),
    path("billing/refund", api.RefundViewSet.as_view({"post": "create"})),
    path("billing/grant", api.GrantViewSet.as_view({"post": "create"})),
    path("billing/balance", api.BalanceViewSet.as_view({"get": "list"})),
    path("billing/entries", api.EntryViewSet.as_view({"get": "list"})),
    path("billing/statement", api.StatementViewSet.as_view({"get": "list"})),
]
