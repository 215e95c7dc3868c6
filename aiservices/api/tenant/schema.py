"""The answers of what a tenant may know and do by itself, for the OpenAPI document."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers

from waule.core.http.fields import AnswerSerializer, Constant


class Budget(AnswerSerializer):
    scope = serializers.ChoiceField(choices=["tenant", "key"])
    period = serializers.ChoiceField(choices=["day", "week", "month"])
    limit = serializers.IntegerField()
    used = serializers.IntegerField(help_text="Credits used in this period, with what is held now.")
    resets_at = serializers.IntegerField(help_text="Unix seconds: when the next period begins.")


class Balance(AnswerSerializer):
    object = Constant("balance")
    balance = serializers.IntegerField(help_text="Credits that can be spent.")
    held = serializers.IntegerField()
    mode = serializers.ChoiceField(choices=["live", "test"])
    budgets = Budget(many=True)


class UsageRow(AnswerSerializer):
    date = serializers.DateField(required=False)
    model = serializers.CharField(required=False, allow_null=True)
    key_id = serializers.CharField(required=False, allow_null=True)
    requests = serializers.IntegerField()
    succeeded = serializers.IntegerField()
    failed = serializers.IntegerField()
    credits = serializers.IntegerField(help_text="Before refunds.")
    refunded = serializers.IntegerField()


class Usage(AnswerSerializer):
    object = Constant("list")
    data = UsageRow(many=True)  # type: ignore[assignment]


class Price(AnswerSerializer):
    model = serializers.CharField()
    name = serializers.CharField()
    type = serializers.CharField()
    price = serializers.DictField(allow_null=True)
    explanation = serializers.ListField(child=serializers.CharField())


class Prices(AnswerSerializer):
    object = Constant("list")
    data = Price(many=True)  # type: ignore[assignment]


class Estimate(AnswerSerializer):
    credits = serializers.IntegerField()
    explanation = serializers.ListField(child=serializers.CharField())
    allowed = serializers.BooleanField(help_text="Whether the request would be accepted now.")
    code = serializers.CharField(allow_null=True, help_text="Why not, as an error code.")


class KeyBudget(AnswerSerializer):
    period = serializers.ChoiceField(choices=["day", "week", "month"])
    limit = serializers.IntegerField()


class Key(AnswerSerializer):
    id = serializers.UUIDField()
    object = Constant("api_key")
    name = serializers.CharField()
    masked = serializers.CharField()
    mode = serializers.ChoiceField(choices=["live", "test"])
    scopes = serializers.ListField(child=serializers.ChoiceField(choices=["read", "generate", "manage"]))
    models = serializers.ListField(child=serializers.CharField(), help_text="Empty: all that the tenant may use.")
    budget = KeyBudget(allow_null=True)
    createdAt = serializers.DateTimeField()
    expiresAt = serializers.DateTimeField(allow_null=True)
    lastUsedAt = serializers.DateTimeField(allow_null=True)


class NewKey(Key):
    key = serializers.CharField(help_text="The key itself, shown this once.")


class Keys(AnswerSerializer):
    object = Constant("list")
    data = Key(many=True)  # type: ignore[assignment]
    has_more = serializers.BooleanField()
    last_id = serializers.CharField(allow_null=True)


class Deleted(AnswerSerializer):
    id = serializers.UUIDField()
    object = serializers.CharField()
    deleted = serializers.BooleanField()


class DeliveryAttempt(AnswerSerializer):
    at = serializers.DateTimeField()
    status = serializers.IntegerField(allow_null=True)
    problem = serializers.CharField(allow_null=True)
    elapsedMs = serializers.IntegerField()


class Delivery(AnswerSerializer):
    id = serializers.UUIDField()
    object = Constant("webhook.delivery")
    type = serializers.CharField()
    state = serializers.ChoiceField(choices=["pending", "delivered", "failed"])
    createdAt = serializers.DateTimeField()
    nextAttemptAt = serializers.DateTimeField(allow_null=True)
    attempts = DeliveryAttempt(many=True)


class Deliveries(AnswerSerializer):
    object = Constant("list")
    data = Delivery(many=True)  # type: ignore[assignment]
    has_more = serializers.BooleanField()
    last_id = serializers.CharField(allow_null=True)


class GenerationError(AnswerSerializer):
    code = serializers.CharField()
    message = serializers.CharField()


class Generation(AnswerSerializer):
    id = serializers.UUIDField()
    object = Constant("generation")
    type = serializers.ChoiceField(choices=["image", "video"])
    status = serializers.ChoiceField(choices=["queued", "running", "succeeded", "failed", "canceled", "unknown"])
    model = serializers.CharField()
    prompt = serializers.CharField()
    urls = serializers.ListField(child=serializers.URLField())
    credits_charged = serializers.IntegerField()
    refunded = serializers.IntegerField()
    flags = serializers.ListField(child=serializers.CharField())
    error = GenerationError(allow_null=True)
    created_at = serializers.IntegerField()
    completed_at = serializers.IntegerField(allow_null=True)


class Generations(AnswerSerializer):
    object = Constant("list")
    data = Generation(many=True)  # type: ignore[assignment]
    has_more = serializers.BooleanField()
    first_id = serializers.CharField(allow_null=True)
    last_id = serializers.CharField(allow_null=True)


class Redeemed(AnswerSerializer):
    credits = serializers.IntegerField()
    balance = serializers.IntegerField()


class Subscription(AnswerSerializer):
    object = Constant("billing_subscription")
    has_payment_method = serializers.BooleanField()
    canceled = serializers.BooleanField()
    soft_limit_usd = serializers.FloatField()
    hard_limit_usd = serializers.FloatField()
    system_hard_limit_usd = serializers.FloatField()
    access_until = serializers.IntegerField()


class TotalUsage(AnswerSerializer):
    object = Constant("list")
    total_usage = serializers.FloatField(help_text="In cents, since ever.")


class NoGrants(AnswerSerializer):
    object = Constant("list")
    data = serializers.ListField(child=serializers.CharField(), max_length=0)  # type: ignore[assignment]


class CreditGrants(AnswerSerializer):
    object = Constant("credit_summary")
    total_granted = serializers.FloatField()
    total_used = serializers.FloatField()
    total_available = serializers.FloatField()
    grants = NoGrants()


class TokenUsageData(AnswerSerializer):
    object = Constant("token_usage")
    name = serializers.CharField()
    total_granted = serializers.IntegerField()
    total_used = serializers.IntegerField()
    total_available = serializers.IntegerField()
    unlimited_quota = serializers.BooleanField()
    model_limits = serializers.DictField()
    model_limits_enabled = serializers.BooleanField()
    expires_at = serializers.IntegerField(help_text="Unix seconds; 0: never.")


class TokenUsage(AnswerSerializer):
    code = serializers.BooleanField()
    message = serializers.CharField()
    data = TokenUsageData()  # type: ignore[assignment]


def page_parameters(*names: str) -> list[Any]:
    """`limit` and `after`, and filters by name."""
    return [OpenApiParameter("limit", int), OpenApiParameter("after", str), *(OpenApiParameter(name, str) for name in names)]
