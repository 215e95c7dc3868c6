"""Credits that come: refunds and grants."""

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing import services
from billing.api.uses import ACTOR, TargetBody, target_of
from billing.models import GRANT_KINDS, Kind
from waule.api_base import (
    BodySerializer,
    Integer,
    InternalViewSet,
    Text,
    answer,
    idempotency_key,
)


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
    @extend_schema(request=RefundBody, responses=dict, operation_id="refund")
    def create(self, request: Request) -> Response:
        fields = self.read_body(request, REFUND)
        result = services.refund(
            charge_id=fields["chargeId"],
            credits=fields.get("credits"),
            reason=fields["reason"],
            actor=ACTOR,
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
    @extend_schema(request=GrantBody, responses=dict, operation_id="grant")
    def create(self, request: Request) -> Response:
        fields = self.read_body(request, GRANT)
        result = services.grant(
            target=target_of(fields),
            credits=fields["credits"],
            kind=Kind(fields["type"]),
            reason=fields["reason"],
            actor=ACTOR,
            idempotency_key=idempotency_key(request, required=True),
        )
        return answer({"success": True, "entryId": str(result.entry.id), "balance": result.balance}, replayed=result.replayed)
