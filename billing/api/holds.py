"""Holds: credits set aside before a long job, and their two endings."""

from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from billing import services
from billing.api import schema
from billing.api.sizes import PricedSize
from billing.api.uses import WIRE_INPUTS, ChargeBody, owner, priced, target_of, use_of
from billing.ledger import selectors
from billing.ledger.models import Charge
from waule.core.auth.internal_auth import actor_of
from waule.core.errors import NotFound
from waule.core.http.api_base import InternalViewSet, answer, idempotency_key
from waule.core.http.fields import BodySerializer, Integer, Seconds, Text, iso


class HoldBody(ChargeBody):
    expiresIn = Integer(min_value=60, max_value=86_400, required=False)


class CaptureBody(BodySerializer):
    quantity = Integer(min_value=1, max_value=1000, required=False)
    duration = Seconds(required=False)
    resolution = PricedSize()
    mode = Text(max_length=64, allow_blank=True, required=False)
    operationType = Text(max_length=64, allow_blank=True, required=False)
    characterCount = Integer(min_value=1, max_value=10_000_000, required=False)


class HoldReleaseBody(BodySerializer):
    reason = Text(max_length=500, allow_blank=True, required=False)


HOLD, CAPTURE, RELEASE = HoldBody(), CaptureBody(), HoldReleaseBody()


class HoldViewSet(InternalViewSet):
    """Holds: credits set aside before a long job."""

    scope = "billing"

    @extend_schema(request=HoldBody, responses={201: schema.HoldMade}, operation_id="hold")
    def create(self, request: Request) -> Response:
        fields = self.read_body(request, HOLD)
        result = services.hold(
            target=target_of(fields),
            use=use_of(fields),
            actor=actor_of(request),
            expires_in_seconds=fields.get("expiresIn", 3600),
            idempotency_key=idempotency_key(request),
        )
        return answer(
            {
                "success": True,
                "holdId": str(result.hold.id),
                "creditsHeld": result.hold.credits,
                "isFreeUsage": result.hold.is_free,
                "expiresAt": iso(result.hold.expires_at),
                "balance": result.balance,
            },
            status=201,
            replayed=result.replayed,
        )

    @extend_schema(request=CaptureBody, responses={200: schema.HoldCaptured}, operation_id="hold_capture")
    def capture(self, request: Request, hold_id: str) -> Response:
        fields = self.read_body(request, CAPTURE) if has_body(request) else {}
        changes = {house: fields[wire] for wire, house in WIRE_INPUTS.items() if wire in fields}
        result = services.capture(hold_id=hold_id, use_changes=changes, actor=actor_of(request))
        return answer(
            {
                "success": True,
                "chargeId": str(result.charge.id),
                "creditsCharged": result.charge.credits,
                "creditsReleased": result.credits_released,
                "shortfall": result.charge.shortfall,
                "balance": result.balance,
            },
            replayed=result.replayed,
        )

    @extend_schema(request=HoldReleaseBody, responses={200: schema.HoldReleased}, operation_id="hold_release")
    def release(self, request: Request, hold_id: str) -> Response:
        fields = self.read_body(request, RELEASE) if has_body(request) else {}
        result = services.release(hold_id=hold_id, reason=fields.get("reason", ""), actor=actor_of(request))
        return answer(
            {"success": True, "creditsReleased": result.credits_released, "balance": result.balance}, replayed=result.replayed
        )

    @extend_schema(responses={200: schema.HoldDetail}, operation_id="hold_retrieve")
    def retrieve(self, request: Request, hold_id: str) -> Response:
        hold = selectors.find_hold(hold_id)
        if hold is None:
            raise NotFound(_("There is no such hold."))
        charge = Charge.objects.filter(hold=hold).first()
        return answer(
            {
                "id": str(hold.id),
                "holdId": str(hold.id),
                "state": hold.state,
                **owner(hold),
                "creditsHeld": hold.credits,
                "creditsReleased": hold.credits_released,
                "expiresAt": iso(hold.expires_at),
                "endedAt": iso(hold.ended_at),
                "reason": hold.end_reason or None,
                "chargeId": str(charge.id) if charge else None,
                "operation": hold.operation,
                "quantity": hold.quantity,
                "metadata": hold.metadata,
                "createdAt": iso(hold.created_at),
                **priced(hold),
            }
        )


def has_body(request: Request) -> bool:
    """Return whether anything was sent: the endings of a hold need no body."""
    meta = request.META
    return meta.get("CONTENT_LENGTH") not in (None, "", "0") or "HTTP_TRANSFER_ENCODING" in meta
