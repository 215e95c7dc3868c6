"""`/api/ai/…`"""

from django.urls import path

from aiservices.api import platform as api_platform

urlpatterns = [
    path("ai/image/generate", api_platform.ImageViewSet.as_view({"post": "create"})),
    path("ai/video/generate", api_platform.VideoViewSet.as_view({"post": "create"})),
    path("ai/tasks", api_platform.TaskViewSet.as_view({"get": "list"})),
    path("ai/tasks/<str:task_id>", api_platform.TaskViewSet.as_view({"get": "retrieve"})),
    path("ai/tasks/<str:task_id>/cancel", api_platform.TaskViewSet.as_view({"post": "cancel"})),
    path("ai/models", api_platform.ModelViewSet.as_view({"get": "list"})),
    path("ai/models/<str:model_id>", api_platform.ModelViewSet.as_view({"get": "retrieve"})),
]
