"""`/v1/webhook/test` and `/v1/webhook/deliveries`: whether the key's webhook can be reached, and what was sent there."""

from typing import Any

from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from aiservices.api.openai.authentication import OpenAIViewSet, key_of
from aiservices.api.tenant import schema
from tenants.webhooks import delivery as outbox_delivery
from tenants.webhooks import outbox
from tenants.webhooks.models import OutboxMessage
from waule.core.errors import InvalidRequest
from waule.core.http.api_base import answer
from waule.core.http.fields import BodySerializer, QueryInteger, Text, iso
from waule.core.ids import parse_uuid

DEFAULT_PAGE = 20
MAX_PAGE = 100


class DeliveriesQuery(BodySerializer):
    limit = QueryInteger(min_value=1, max_value=MAX_PAGE, required=False)
    after = Text(max_length=64, min_length=1, required=False)


DELIVERIES_QUERY = DeliveriesQuery()


class WebhookTestViewSet(OpenAIViewSet):
    @extend_schema(request=None, responses={200: schema.Delivery}, operation_id="v1_webhook_test")
    def create(self, request: Request) -> Response:
        """Send a message of the type `webhook.test` now, once, and tells what came of it."""
        message = outbox.post_test(key_of(request))
        outbox_delivery.deliver_once(message)
        return answer(delivery_answer(outbox.message_of(message.id)))


class DeliveryViewSet(OpenAIViewSet):
    @extend_schema(
        parameters=schema.page_parameters(),
        responses={200: schema.Deliveries},
        operation_id="v1_webhook_deliveries",
    )
    def list(self, request: Request) -> Response:
        fields = self.read_query(request, DELIVERIES_QUERY)
        limit = fields.get("limit", DEFAULT_PAGE)
        after = parse_uuid(fields["after"]) if "after" in fields else None
        if "after" in fields and after is None:
            raise InvalidRequest.of_field("after", _("This cursor is not one of ours."))
        messages = outbox.messages_of(key_of(request).id, limit=limit + 1, after=after)
        shown = messages[:limit]
        return answer(
            {
                "object": "list",
                "data": [delivery_answer(message) for message in shown],
                "has_more": len(messages) > limit,
                "last_id": str(shown[-1].id) if shown else None,
            }
        )


def delivery_answer(message: OutboxMessage) -> dict[str, Any]:
    return {
        "id": str(message.id),
        "object": "webhook.delivery",
        "type": message.kind,
        "state": message.state,
        "createdAt": iso(message.created_at),
        "nextAttemptAt": iso(message.next_at) if message.state == OutboxMessage.State.PENDING else None,
        "attempts": [
            {
                "at": iso(attempt.at),
                "status": attempt.status,
                "problem": attempt.problem or None,
                "elapsedMs": attempt.elapsed_ms,
            }
            for attempt in sorted(message.attempts.all(), key=lambda attempt: attempt.pk)
        ],
    }
