"""`/v1/redeem`: a code becomes credits of the tenant."""

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from aiservices.api import schema as api_schema
from aiservices.api.openai.authentication import OpenAIViewSet, caller_of
from aiservices.api.tenant import schema
from billing.api.redeem import REDEEM, RedeemBody
from billing.redemption.services import redeem
from tenants.models import Scope
from waule.core.http.api_base import answer, idempotency_key


class RedeemViewSet(OpenAIViewSet):
    scopes = {"create": (Scope.GENERATE, Scope.MANAGE)}

    @extend_schema(
        request=RedeemBody,
        responses={200: schema.Redeemed},
        parameters=[api_schema.IDEMPOTENCY_KEY],
        operation_id="v1_redeem",
    )
    def create(self, request: Request) -> Response:
        code = self.read_body(request, REDEEM)["code"]
        caller = caller_of(request)
        done = redeem(target=caller, code=code, actor=caller.actor, idempotency_key=idempotency_key(request))
        return answer({"credits": done.credits, "balance": done.balance}, replayed=done.replayed)
