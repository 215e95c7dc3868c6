"""Credits that come: refunds and grants."""

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing import services
from billing.api import schema
from billing.api.uses import TargetBody, target_of
from billing.ledger.models import GRANT_KINDS, Kind
from waule.core.auth.internal_auth import actor_of
from waule.core.http.api_base import InternalViewSet, answer, idempotency_key
from waule.core.http.fields import BodySerializer, Integer, Text


class RefundBody(BodySerializer):
    chargeId = Text(max_length=64, min_length=1)
    reason = Text(max_length=500, min_length=1)
    credits = Integer(min_value=1, required=False)


class GrantBody(TargetBody):
    credits = Integer(min_value=1)
    type = serializers.ChoiceField(choices=[kind.value for kind in GRANT_KINDS])
    reason = Text(max_length=500, min_length=1)


REFUND, GRANT = RefundBody(), GrantBody()


class RefundViewSet(InternalViewSet):
    scope = "billing"

    @extend_schema(request=RefundBody, responses={200: schema.RefundMade}, operation_id="refund")
    def create(self, request: Request) -> Response:
        fields = self.read_body(request, REFUND)
        result = services.refund(
            charge_id=fields["chargeId"],
            credits=fields.get("credits"),
            reason=fields["reason"],
            actor=actor_of(request),
            idempotency_key=idempotency_key(request, required="credits" in fields),
        )
        return answer(
            {
                "success": True,
                "creditsRefunded": result.credits_refunded,
                "totalRefunded": result.total_refunded,
                "balance": result.balance,
            },
            replayed=result.replayed,
        )


class GrantViewSet(InternalViewSet):
    scope = "billing"

    @extend_schema(request=GrantBody, responses={200: schema.GrantMade}, operation_id="grant")
    def create(self, request: Request) -> Response:
        fields = self.read_body(request, GRANT)
        result = services.grant(
            target=target_of(fields),
            credits=fields["credits"],
            kind=Kind(fields["type"]),
            reason=fields["reason"],
            actor=actor_of(request),
            idempotency_key=idempotency_key(request, required=True),
        )
        return answer({"success": True, "entryId": str(result.entry.id), "balance": result.balance}, replayed=result.replayed)
