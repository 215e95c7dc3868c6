"""`/internal/…` about models and credentials."""

from django.urls import path

from aiservices.api import internal_models as api

urlpatterns = [
    path("models", api.ModelViewSet.as_view({"get": "list"})),
]
