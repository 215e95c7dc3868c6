"""Examples for the OpenAPI document, put together from one example for each field.

A field is named alone, or with the schema that it means something else in. Optional fields that are not here are left out;
of the others, a choice is its first, and what may be null is null.
"""

from typing import Any

TIMESTAMP = "2026-11-22T08:00:00.000000Z"
PRICE = {"billingType": "PER_IMAGE", "baseCredits": 15, "isFree": False, "roundUp": None, "pricingUnit": None, "prices": []}
SNAPSHOT = {"catalogVersion": 3, "rule": PRICE, "steps": []}
EXAMPLES: dict[str, Any] = {
    # who
    "targetId": "7",
    "modelId": "01a2297f-56f8-7d1f-9898-7ddccccbd61f",
    "Model.modelId": "gemini-3.1-flash-image",
    "model": "gemini-3.1-flash-image",
    "OpenAIModel.id": "gemini-3.1-flash-image",
    "owned_by": "gemini",
    "name": "Gemini 3.1 Flash Image",
    "Key.name": "website",
    "KeyBody.name": "website",
    # what was asked for
    "prompt": "A lighthouse at dusk",
    "operation": "generate",
    "quantity": 1,
    "resolution": "2K",
    "n": 1,
    "size": "1024x1024",
    "OpenAIVideo.size": "720x1280",
    "VideosBody.size": "720x1280",
    "seconds": "4",
    "MadeVideo.duration": 4.0,
    "EditsBody.reference_images": ["https://example.com/lighthouse.png"],
    "reason": "The picture was blank.",
    "GrantBody.reason": "Recharge 1042",
    "HoldDetail.reason": None,
    "expiresIn": 3600,
    "metadata": {"project": "42"},
    "use": {"quantity": 1, "resolution": "2K"},
    "idempotencyKey": "order-1042",
    "code": "AB12-CD34-EF56",
    "BatchRefused.code": "insufficient_credits",
    "Estimate.code": None,
    # what it costs
    "credits": 15,
    "creditsCharged": 15,
    "creditsHeld": 15,
    "creditsRefunded": 15,
    "totalRefunded": 15,
    "creditsReleased": 0,
    "HoldReleased.creditsReleased": 15,
    "credits_charged": 15,
    "shortfall": 0,
    "price": PRICE,
    "ChargeDetail.price": SNAPSHOT,
    "HoldDetail.price": SNAPSHOT,
    "explanation": ["15 credits for each image"],
    "ruleId": "3",
    "description": "generate",
    # the account
    "balance": 985,
    "held": 0,
    "amount": -15,
    "Entry.seq": 12,
    "opening": 1000,
    "closing": 985,
    "net": -15,
    "account": "tenant:7",
    "limit": 1000,
    "used": 15,
    "total_available": 9.85,
    "total_granted": 10.0,
    "total_used": 0.15,
    "total_usage": 15.0,
    "hard_limit_usd": 10.0,
    # how it went
    "success": True,
    "BatchRefused.success": False,
    "allowed": True,
    "BatchCharged.status": 200,
    "BatchRefused.status": 402,
    "DeliveryAttempt.status": 200,
    "url": "https://waule.example.com/media/results/lighthouse.png",
    "WebhookBody.url": "https://shop.example.com/webhooks/waule",
    "OpenAIWebhook.url": "https://shop.example.com/webhooks/waule",
    "progress": 0,
    "date": "2026-11-22",
    "created": 1795334400,
    "created_at": 1795334400,
    "resets_at": 1795363200,
    "access_until": 1826870400,
    "deleted": True,
    "masked": "wk_live_…AB12",
    "key": "wk_live_3fA9…",
}
_BY_FORMAT: dict[str, Any] = {
    "uuid": "01a2297f-5b14-7fdc-9c5f-e194d3e82ba3",
    "date-time": TIMESTAMP,
    "date": "2026-11-22",
    "uri": EXAMPLES["url"],
}
_BY_TYPE: dict[str, Any] = {"string": "text", "integer": 1, "number": 1.0, "boolean": False, "object": {}, "null": None}


def with_examples(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Give an example to each JSON body and success answer of the document."""
    make = _Maker(result["components"]["schemas"])
    for operations in result["paths"].values():
        for operation in operations.values():
            answers = [answer for status, answer in operation["responses"].items() if status.startswith("2")]
            for place in (operation.get("requestBody", {}), *answers):
                for media_type, content in place.get("content", {}).items():
                    if media_type == "application/json":
                        content["example"] = make.value(content["schema"])
    return result


class _Maker:
    def __init__(self, components: dict[str, Any]) -> None:
        self.components = components

    def value(self, schema: dict[str, Any], owner: str = "", name: str = "") -> Any:
        """Return an example of `schema`, which is the field `name` of the component `owner`."""
        for key in (f"{owner}.{name}", name):
            if key in EXAMPLES:
                return EXAMPLES[key]
        if "$ref" in schema:
            component = schema["$ref"].rpartition("/")[2]
            return self.value(self.components[component], owner=component.removesuffix("Request"))
        if "allOf" in schema:
            return self.value(schema["allOf"][0])
        if choices := schema.get("oneOf") or schema.get("anyOf"):
            return None if {"type": "null"} in choices else self.value(choices[0])
        if "properties" in schema:
            return self._object(schema, owner)
        return self._plain(schema)

    def _object(self, schema: dict[str, Any], owner: str) -> dict[str, Any]:
        required = set(schema.get("required", ()))
        return {
            name: self.value(field, owner, name)
            for name, field in schema["properties"].items()
            if name in required or name in EXAMPLES or f"{owner}.{name}" in EXAMPLES
        }

    def _plain(self, schema: dict[str, Any]) -> Any:
        if "const" in schema or "enum" in schema:
            return schema.get("const", schema.get("enum", [None])[0])
        kind = schema.get("type", "string")
        if isinstance(kind, list):
            return None
        if kind == "array":
            return [] if schema.get("maxItems") == 0 else [self.value(schema["items"])]
        return _BY_FORMAT.get(schema.get("format", ""), _BY_TYPE[kind])
