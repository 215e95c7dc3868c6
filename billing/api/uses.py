"""Who buys what: the fields that charges, estimates and holds share, and how a priced use is shown."""

from decimal import Decimal
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from billing.api.sizes import PricedSize
from billing.catalog import pricing
from billing.catalog.usage import UsageRequest, unknown_key
from billing.ledger.fast_path import Posted
from billing.ledger.models import Charge, Hold, Use
from tenants.principal import OF_KEY, Principal
from waule.core.errors import InvalidRequest
from waule.core.http.fields import BodySerializer, Integer, JSONObject, Seconds, Text, iso
from waule.core.ids import parse_uuid

MAX_METADATA_BYTES = 4096


@extend_schema_field({"type": "string", "enum": ["user", "tenant"]})
class TargetTypeField(serializers.Field[str, Any, Any, Any]):
    """`user` or `tenant`; the text of its rejection is the contract's."""

    def to_internal_value(self, data: Any) -> str:
        if data not in ("user", "tenant") or not isinstance(data, str):
            raise InvalidRequest("Invalid targetType", fields={"targetType": ["Invalid targetType"]})
        return data

    def to_representation(self, value: str) -> str:
        return value


class TargetBody(BodySerializer):
    targetType = TargetTypeField()
    targetId = Text(max_length=64, min_length=1)


class BuyerBody(TargetBody):
    """A target, and by which of the tenant's keys: that key's budget binds too, and a test key spends test credits."""

    apiKeyId = Text(max_length=64, min_length=1, required=False)


class UseBody(BodySerializer):
    modelId = Text(max_length=64, min_length=1, required=False)
    operation = Text(max_length=64, min_length=1, required=False)
    quantity = Integer(min_value=1, max_value=1000, required=False)
    duration = Seconds(required=False)
    resolution = PricedSize()
    mode = Text(max_length=64, allow_blank=True, required=False)
    operationType = Text(max_length=64, allow_blank=True, required=False)
    characterCount = Integer(min_value=1, max_value=10_000_000, required=False)
    nodeType = Text(max_length=64, allow_blank=True, required=False)
    moduleType = Text(max_length=64, allow_blank=True, required=False)
    metadata = JSONObject(max_bytes=MAX_METADATA_BYTES, required=False)


class ChargeBody(BuyerBody, UseBody):
    pass


WIRE_INPUTS = {
    "quantity": "quantity",
    "duration": "duration",
    "resolution": "resolution",
    "mode": "mode",
    "operationType": "operation_type",
    "characterCount": "character_count",
}
WIRE_USE = WIRE_INPUTS | {
    "modelId": "model",
    "operation": "operation",
    "nodeType": "node_type",
    "moduleType": "module_type",
    "metadata": "metadata",
}


def target_of(fields: dict[str, Any]) -> Principal:
    """Return whose account it is. That a key is the tenant's is checked where the tenant is looked up.

    Raises:
        InvalidRequest: `apiKeyId` cannot be a key of this target.
    """
    kind, owner_id, key_id = fields["targetType"], fields["targetId"], fields.get("apiKeyId")
    if key_id is None:
        return Principal(kind, owner_id)
    key = parse_uuid(key_id) if kind == "tenant" else None
    if key is None:
        raise unknown_key(key_id)
    return Principal(kind, owner_id, OF_KEY, key)


def use_of(fields: dict[str, Any]) -> UsageRequest:
    return UsageRequest(**{house: fields[wire] for wire, house in WIRE_USE.items() if wire in fields})


def usage_record(use: Use | Posted) -> dict[str, Any]:
    inputs = pricing.inputs_from_json(use.use)
    return {
        "id": str(use.id) if use.id else None,  # none yet: waule alone charges, and has not done so
        "modelId": str(use.model_id) if use.model_id else None,
        "operation": use.operation,
        "quantity": use.quantity,
        "duration": plain_number(inputs.duration),
        "resolution": inputs.resolution.text or None,
        "creditsCharged": use.credits,  # type: ignore[union-attr]
        "createdAt": iso(use.created_at),
    }


def plain_number(value: Decimal | None) -> int | float | None:
    """Return a duration as JSON writes it: 5, not 5.0."""
    if value is None:
        return None
    return int(value) if value == value.to_integral_value() else float(value)


def priced(use: Use) -> dict[str, Any]:
    """Return the price snapshot and what it says in words."""
    steps = pricing.steps_from_json(use.snapshot["steps"])
    rule = use.snapshot["rule"]
    return {
        "price": use.snapshot,
        "use": use.use,
        "ruleId": str(rule["id"]) if rule else None,
        "isFreeUsage": use.is_free,
        "explanation": pricing.explain(steps),
    }


def owner(use: Charge | Hold) -> dict[str, Any]:
    account = use.account
    kind, owner_id = ("tenant", account.tenant_id) if account.tenant_id else ("user", account.user_id)
    return {"targetType": kind, "targetId": str(owner_id), "modelId": str(use.model_id) if use.model_id else None}
