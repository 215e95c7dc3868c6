"""The balance in the forms that desktop clients and relays read: OpenAI's old billing pages, and new-api's token usage.

A credit is CREDIT_USD dollars. Of any two answers limit - usage / 100 is what can be spent.
"""

from dataclasses import dataclass
from decimal import Decimal

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from aiservices.api.openai.authentication import OpenAIViewSet, caller_of, key_of
from aiservices.api.tenant import schema
from billing.ledger.balances import balance_of
from billing.ledger.targets import find_target
from billing.usage_reports.selectors import credits_used_ever
from waule.core.http.api_base import answer

QUOTA_PER_USD = 500_000  # new-api's unit
FOR_EVER = 4_102_444_800  # 2100-01-01 in Unix seconds: for a key that never expires


@dataclass(frozen=True)
class Spending:
    """In credits: what can be spent, and what was used since ever, less refunds."""

    available: int
    used: int


def spending_of(request: Request) -> Spending:
    row = find_target(caller_of(request))
    used = credits_used_ever(row.account_id, zone_name=key_of(request).tenant.time_zone)
    return Spending(balance_of(row.account_id).spendable, used)


def in_usd(credits: int) -> float:
    return float(credits * settings.CREDIT_USD)


def in_quota(credits: int) -> int:
    return int((credits * settings.CREDIT_USD * QUOTA_PER_USD).to_integral_value())


class DashboardViewSet(OpenAIViewSet):
    @extend_schema(responses={200: schema.Subscription})
    def subscription(self, request: Request) -> Response:
        spending, key = spending_of(request), key_of(request)
        limit = in_usd(spending.available + spending.used)
        return answer(
            {
                "object": "billing_subscription",
                "has_payment_method": True,
                "canceled": False,
                "soft_limit_usd": limit,
                "hard_limit_usd": limit,
                "system_hard_limit_usd": limit,
                "access_until": int(key.expires_at.timestamp()) if key.expires_at else FOR_EVER,
            }
        )

    @extend_schema(responses={200: schema.TotalUsage})
    def usage(self, request: Request) -> Response:
        """Since ever, whatever the dates: so the pair of answers agrees."""
        cents = spending_of(request).used * settings.CREDIT_USD * Decimal(100)
        return answer({"object": "list", "total_usage": float(cents)})

    @extend_schema(responses={200: schema.CreditGrants})
    def credit_grants(self, request: Request) -> Response:
        spending = spending_of(request)
        return answer(
            {
                "object": "credit_summary",
                "total_granted": in_usd(spending.available + spending.used),
                "total_used": in_usd(spending.used),
                "total_available": in_usd(spending.available),
                "grants": {"object": "list", "data": []},
            }
        )

    @extend_schema(responses={200: schema.TokenUsage})
    def token(self, request: Request) -> Response:
        spending, key = spending_of(request), key_of(request)
        return answer(
            {
                "code": True,
                "message": "ok",
                "data": {
                    "object": "token_usage",
                    "name": key.name,
                    "total_granted": in_quota(spending.available + spending.used),
                    "total_used": in_quota(spending.used),
                    "total_available": in_quota(spending.available),
                    "unlimited_quota": False,
                    "model_limits": dict.fromkeys(key.allowed_models, True),
                    "model_limits_enabled": bool(key.allowed_models),
                    "expires_at": int(key.expires_at.timestamp()) if key.expires_at else 0,
                },
            }
        )
