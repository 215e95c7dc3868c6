"""`/v1`: what tenants' programs call, as OpenAI's API looks, so that its official clients work unchanged."""

from aiservices.api_openai.callers import TenantKeyAuthentication
from aiservices.api_openai.images import ImageViewSet
from aiservices.api_openai.models import ModelViewSet
from aiservices.api_openai.videos import VideoViewSet
from aiservices.api_openai.videos_at_once import VideoGenerationsViewSet
from aiservices.api_openai.webhook import WebhookViewSet

__all__ = [
    "ImageViewSet",
    "ModelViewSet",
    "TenantKeyAuthentication",
    "VideoGenerationsViewSet",
    "VideoViewSet",
    "WebhookViewSet",
]
