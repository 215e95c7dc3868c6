"""`/v1/webhook`, and the webhook that a body names for its own job."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from aiservices.api import schema as api_schema
from aiservices.api.openai.authentication import OpenAIViewSet, key_of
from aiservices.generations import webhooks
from tenants.models import MAX_WEBHOOK_URL, ApiKey
from waule.core.crypto.encryption import mask
from waule.core.http.api_base import answer
from waule.core.http.fields import BodySerializer, Text


class WebhookBody(BodySerializer):
    url = Text(max_length=MAX_WEBHOOK_URL, min_length=1)
    secret = Text(max_length=webhooks.MAX_SECRET_LENGTH, required=False)


WEBHOOK = WebhookBody()


def named_webhook(request: Request, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the webhook that a body names for its job, checked.

    Raises:
        InvalidRequest.
    """
    names = ("webhook_url", "webhook_secret")
    url, secret = (fields.get(name, "") for name in names)
    webhooks.check_named(url, secret, key=key_of(request), fields=names)
    return {"webhook_url": url, "webhook_secret": secret}


class WebhookViewSet(OpenAIViewSet):
    """The webhook of the calling key, notified when one of its videos has ended."""

    @extend_schema(responses={200: api_schema.OpenAIWebhook}, operation_id="v1_webhook_retrieve")
    def retrieve(self, request: Request) -> Response:
        return answer(webhook_answer(key_of(request)))

    @extend_schema(
        request=WebhookBody,
        responses={200: api_schema.OpenAIWebhook},
        operation_id="v1_webhook_set",
    )
    def update(self, request: Request) -> Response:
        fields = self.read_body(request, WEBHOOK)
        key, new_secret = self._set(request, fields["url"], fields.get("secret", ""))
        response = answer(webhook_answer(key) | ({"secret": new_secret} if new_secret else {}))
        response["Cache-Control"] = "no-store"
        return response

    @extend_schema(responses={200: api_schema.OpenAIWebhook}, operation_id="v1_webhook_delete")
    def destroy(self, request: Request) -> Response:
        return answer(webhook_answer(self._set(request, "", "")[0]))

    @staticmethod
    def _set(request: Request, url: str, secret: str) -> tuple[ApiKey, str]:
        key_id = str(key_of(request).id)
        return webhooks.set_webhook(key_id=key_id, url=url, secret=secret, actor=f"key:{key_id}")


def webhook_answer(key: ApiKey) -> dict[str, Any]:
    secret = mask(key.webhook_secret) if key.webhook_secret else None
    return {"object": "webhook", "url": key.webhook_url or None, "secret": secret}
