"""`/internal/…` about models and credentials."""

from django.urls import path

from aiservices import api

urlpatterns = [
    path("models", api.ModelViewSet.as_view({"get": "list"})),
]
