"""`/v1/…`"""

from django.urls import path

from aiservices import api_openai

urlpatterns = [
    path("models", api_openai.ModelViewSet.as_view({"get": "list"})),
    path("models/<path:model_id>", api_openai.ModelViewSet.as_view({"get": "retrieve"})),
    path("images/generations", api_openai.ImageViewSet.as_view({"post": "create"})),
    path("videos", api_openai.VideoViewSet.as_view({"post": "create", "get": "list"})),
    path("videos/generations", api_openai.VideoGenerationsViewSet.as_view({"post": "create"})),
    path("videos/<str:video_id>", api_openai.VideoViewSet.as_view({"get": "retrieve", "delete": "destroy"})),
    path("videos/<str:video_id>/cancel", api_openai.VideoViewSet.as_view({"post": "cancel"})),
    path("videos/<str:video_id>/content", api_openai.VideoViewSet.as_view({"get": "content"})),
    path("webhook", api_openai.WebhookViewSet.as_view({"get": "retrieve", "put": "update", "delete": "destroy"})),
]
