"""The answers of `/internal/billing`, `/internal/tenants`, `/api/me` and `/api/redeem`, for the OpenAPI document."""

from typing import Any

from drf_spectacular.utils import PolymorphicProxySerializer
from rest_framework import serializers

from billing.ledger.models import Kind
from waule.core.http.fields import AnswerSerializer


class UsageRecord(AnswerSerializer):
    id = serializers.UUIDField(allow_null=True, help_text="None where nothing was written down.")
    modelId = serializers.UUIDField(allow_null=True)
    operation = serializers.CharField()
    quantity = serializers.IntegerField()
    duration = serializers.FloatField(allow_null=True, help_text="In seconds.")
    resolution = serializers.CharField(allow_null=True)
    creditsCharged = serializers.IntegerField()
    createdAt = serializers.DateTimeField()


class ChargeMade(AnswerSerializer):
    success = serializers.BooleanField()
    creditsCharged = serializers.IntegerField()
    isFreeUsage = serializers.BooleanField()
    usageRecord = UsageRecord()
    chargeId = serializers.UUIDField(allow_null=True)
    balance = serializers.IntegerField()


class BatchCharged(ChargeMade):
    """A charge of a batch that was made."""

    status = serializers.IntegerField()
    replayed = serializers.BooleanField(required=False)


class BatchRefused(AnswerSerializer):
    """A charge of a batch that was not made: the error it would have had by itself."""

    status = serializers.IntegerField()
    success = serializers.BooleanField()
    error = serializers.CharField()
    code = serializers.CharField()
    details = serializers.DictField()
    creditsCharged = serializers.IntegerField()
    isFreeUsage = serializers.BooleanField()


class Batch(AnswerSerializer):
    results: Any = PolymorphicProxySerializer(
        component_name="BatchResult", serializers=[BatchCharged, BatchRefused], resource_type_field_name=None, many=True
    )


class PricedUse(AnswerSerializer):
    """What charges and holds have in common when they are read."""

    id = serializers.UUIDField()
    targetType = serializers.ChoiceField(choices=["user", "tenant"])
    targetId = serializers.CharField()
    modelId = serializers.UUIDField(allow_null=True)
    metadata = serializers.DictField(allow_null=True)
    createdAt = serializers.DateTimeField()
    price = serializers.DictField(help_text="The price snapshot: the rule and each step, as they were then.")
    use = serializers.DictField(help_text="What was priced: quantity, duration, resolution and the like.")
    ruleId = serializers.CharField(allow_null=True)
    isFreeUsage = serializers.BooleanField()
    explanation = serializers.ListField(child=serializers.CharField())


class ChargeDetail(PricedUse):
    chargeId = serializers.UUIDField()
    state = serializers.ChoiceField(choices=["charged", "refunded", "partially_refunded"])
    creditsCharged = serializers.IntegerField()
    totalRefunded = serializers.IntegerField()
    shortfall = serializers.IntegerField()
    holdId = serializers.UUIDField(allow_null=True)
    usageRecord = UsageRecord()


class HoldDetail(PricedUse):
    holdId = serializers.UUIDField()
    state = serializers.ChoiceField(choices=["held", "captured", "released", "expired"])
    creditsHeld = serializers.IntegerField()
    creditsReleased = serializers.IntegerField()
    expiresAt = serializers.DateTimeField()
    endedAt = serializers.DateTimeField(allow_null=True)
    reason = serializers.CharField(allow_null=True)
    chargeId = serializers.UUIDField(allow_null=True)
    operation = serializers.CharField()
    quantity = serializers.IntegerField()


class ChargeEstimate(AnswerSerializer):
    credits = serializers.IntegerField()
    isFreeUsage = serializers.BooleanField()
    allowed = serializers.BooleanField()
    code = serializers.CharField(required=False, help_text="Why it would be refused; only there where `allowed` is false.")
    error = serializers.CharField(required=False)
    details = serializers.DictField(required=False)
    explanation = serializers.ListField(child=serializers.CharField())
    ruleId = serializers.CharField(allow_null=True)


class HoldMade(AnswerSerializer):
    success = serializers.BooleanField()
    holdId = serializers.UUIDField()
    creditsHeld = serializers.IntegerField()
    isFreeUsage = serializers.BooleanField()
    expiresAt = serializers.DateTimeField()
    balance = serializers.IntegerField()


class HoldCaptured(AnswerSerializer):
    success = serializers.BooleanField()
    chargeId = serializers.UUIDField()
    creditsCharged = serializers.IntegerField()
    creditsReleased = serializers.IntegerField()
    shortfall = serializers.IntegerField()
    balance = serializers.IntegerField()


class HoldReleased(AnswerSerializer):
    success = serializers.BooleanField()
    creditsReleased = serializers.IntegerField()
    balance = serializers.IntegerField()


class RefundMade(AnswerSerializer):
    success = serializers.BooleanField()
    creditsRefunded = serializers.IntegerField()
    totalRefunded = serializers.IntegerField()
    balance = serializers.IntegerField()


class GrantMade(AnswerSerializer):
    success = serializers.BooleanField()
    entryId = serializers.CharField()
    balance = serializers.IntegerField()


class AccountBalance(AnswerSerializer):
    balance = serializers.IntegerField(help_text="Credits that can be spent.")
    held = serializers.IntegerField()


class Entry(AnswerSerializer):
    id = serializers.CharField()
    seq = serializers.IntegerField()
    type = serializers.ChoiceField(choices=[kind.value for kind in Kind])
    amount = serializers.IntegerField()
    balance = serializers.IntegerField()
    chargeId = serializers.UUIDField(allow_null=True)
    description = serializers.CharField()
    createdAt = serializers.DateTimeField()


class Entries(AnswerSerializer):
    entries = Entry(many=True)
    nextCursor = serializers.CharField(allow_null=True)
    archivedBefore = serializers.DateTimeField(
        required=False, help_text="Uses before this time are in the archive, and missing here."
    )


class StatementSum(AnswerSerializer):
    type = serializers.ChoiceField(choices=[kind.value for kind in Kind])
    count = serializers.IntegerField()
    amount = serializers.IntegerField()


class ArchivedMonth(AnswerSerializer):
    month = serializers.CharField()
    file = serializers.CharField()
    entries = serializers.IntegerField()
    amount = serializers.IntegerField()


class AccountStatement(AnswerSerializer):
    account = serializers.CharField()
    to = serializers.DateTimeField()
    opening = serializers.IntegerField()
    closing = serializers.IntegerField()
    net = serializers.IntegerField()
    entryCount = serializers.IntegerField()
    byType = StatementSum(many=True)
    archived = ArchivedMonth(many=True, required=False)
    entries = Entry(many=True)

    def get_fields(self) -> dict[str, Any]:
        # `from` is a word of Python's own and cannot be an attribute.
        return super().get_fields() | {"from": serializers.DateTimeField()}


class UserAccount(AnswerSerializer):
    id = serializers.CharField()
    username = serializers.CharField()
    level = serializers.CharField()
    membershipExpiresAt = serializers.DateTimeField(allow_null=True)
    balance = serializers.IntegerField(help_text="Credits that can be spent.")
    held = serializers.IntegerField()


class CodeRedeemed(AnswerSerializer):
    success = serializers.BooleanField()
    credits = serializers.IntegerField()
    balance = serializers.IntegerField()


class TenantOfKey(AnswerSerializer):
    id = serializers.UUIDField()
    name = serializers.CharField()
    credits = serializers.IntegerField(help_text="Credits that can be spent.")
    enabledModels = serializers.ListField(child=serializers.CharField())
    ossMode = serializers.ChoiceField(choices=["platform", "custom"])
    isActive = serializers.BooleanField()
    keyId = serializers.UUIDField()
    keyMode = serializers.ChoiceField(choices=["live", "test"])
