"""`/v1`: what tenants' programs call, as OpenAI's API looks, so that its official clients work unchanged."""

from aiservices.api.openai.authentication import TenantKeyAuthentication
from aiservices.api.openai.images import EditViewSet, ImageViewSet
from aiservices.api.openai.models import ModelViewSet
from aiservices.api.openai.videos import VideoViewSet
from aiservices.api.openai.videos_synchronous import VideoGenerationsViewSet
from aiservices.api.openai.webhook import WebhookViewSet

__all__ = [
    "EditViewSet",
    "ImageViewSet",
    "ModelViewSet",
    "TenantKeyAuthentication",
    "VideoGenerationsViewSet",
    "VideoViewSet",
    "WebhookViewSet",
]
