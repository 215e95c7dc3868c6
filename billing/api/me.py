"""`/api/me`: what a platform user may know of its own account."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from billing.api import schema
from billing.ledger.balances import balance_of
from waule.core.auth.user_auth import USER_AUTHENTICATION
from waule.core.http.api_base import ApiViewSet, answer
from waule.core.http.fields import iso


class MeViewSet(ApiViewSet):
    authentication_classes = USER_AUTHENTICATION
    permission_classes = [IsAuthenticated]

    @extend_schema(responses={200: schema.UserAccount}, operation_id="me")
    def list(self, request: Request) -> Response:
        user: Any = request.user
        balance = balance_of(user.account.id)
        return answer(
            {
                "id": str(user.pk),
                "username": user.username,
                "level": user.level,
                "membershipExpiresAt": iso(user.membership_expires_at),
                "balance": balance.spendable,
                "held": balance.held,
            }
        )
