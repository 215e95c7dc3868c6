"""`/api/redeem`: a code becomes credits of the user."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from billing.api import schema
from billing.redemption.services import redeem
from tenants.principal import Principal
from waule.core.auth.user_auth import USER_AUTHENTICATION
from waule.core.http.api_base import ApiViewSet, answer, idempotency_key
from waule.core.http.fields import BodySerializer, Text

MAX_CODE_LENGTH = 64


class RedeemBody(BodySerializer):
    code = Text(max_length=MAX_CODE_LENGTH, min_length=1)


REDEEM = RedeemBody()


class RedeemViewSet(ApiViewSet):
    authentication_classes = USER_AUTHENTICATION
    permission_classes = [IsAuthenticated]

    @extend_schema(request=RedeemBody, responses={200: schema.CodeRedeemed}, operation_id="redeem")
    def create(self, request: Request) -> Response:
        code = self.read_body(request, REDEEM)["code"]
        user: Any = request.user
        done = redeem(
            target=Principal("user", str(user.pk)), code=code, actor=f"user:{user.pk}", idempotency_key=idempotency_key(request)
        )
        return answer({"success": True, "credits": done.credits, "balance": done.balance}, replayed=done.replayed)
