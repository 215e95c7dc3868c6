"""Charges, one or many, and what one would cost."""

from typing import Any

from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing import services
from billing.api import schema
from billing.api.uses import ChargeBody, TargetTypeField, UseBody, owner, priced, target_of, usage_record, use_of
from billing.catalog import pricing
from billing.ledger import selectors
from billing.monitoring import rejections
from waule.core.auth.internal_auth import actor_of
from waule.core.errors import InvalidRequest, NotFound, WauleError
from waule.core.http import error_handler
from waule.core.http.api_base import MAX_IDEMPOTENCY_KEY_LENGTH, InternalViewSet, answer, check_idempotency_key, idempotency_key
from waule.core.http.fields import BodySerializer, Text, iso

MAX_BATCH = 1000


class BatchItemBody(ChargeBody):
    idempotencyKey = Text(min_length=1, max_length=MAX_IDEMPOTENCY_KEY_LENGTH, required=False)


@extend_schema_field(BatchItemBody(many=True))
class BatchItems(serializers.ListField):
    """Any values: what is wrong with one is that item's error."""


class BatchBody(BodySerializer):
    charges = BatchItems(allow_empty=False, max_length=MAX_BATCH)


class EstimateBody(UseBody):
    targetType = TargetTypeField(required=False)
    targetId = Text(max_length=64, min_length=1, required=False)
    apiKeyId = Text(max_length=64, min_length=1, required=False)


CHARGE, BATCH, ESTIMATE = ChargeBody(), BatchBody(), EstimateBody()


def charge_answer(result: services.ChargeResult) -> dict[str, Any]:
    charge = result.charge
    return {
        "success": True,
        "creditsCharged": charge.credits,
        "isFreeUsage": charge.is_free,
        "usageRecord": usage_record(charge),
        "chargeId": str(charge.id) if charge.id else None,
        "balance": result.balance,
    }


def rejection(error: WauleError) -> dict[str, Any]:
    """Return the error body of one charge of a batch that was not made."""
    rejections.note(error.code)
    return error_handler.shape(error) | CHARGE_REFUSED


CHARGE_REFUSED = {"creditsCharged": 0, "isFreeUsage": False}


class ChargeViewSet(InternalViewSet):
    """Charges: one priced use each."""

    scope = "billing"

    @property
    def error_extra(self) -> dict[str, Any]:
        return CHARGE_REFUSED if getattr(self, "action", "") == "create" else {}

    @extend_schema(request=ChargeBody, responses={200: schema.ChargeMade}, operation_id="charge")
    def create(self, request: Request) -> Response:
        fields = self.read_body(request, CHARGE)
        result = services.charge(
            target=target_of(fields), use=use_of(fields), actor=actor_of(request), idempotency_key=idempotency_key(request)
        )
        return answer(charge_answer(result), replayed=result.replayed)

    @extend_schema(request=BatchBody, responses={200: schema.Batch}, operation_id="charge_batch")
    def batch(self, request: Request) -> Response:
        results: list[dict[str, Any] | None] = []
        items: list[services.BatchItem] = []
        for given in self.read_body(request, BATCH)["charges"]:
            try:
                items.append(batch_item(given))
                results.append(None)
            except (WauleError, serializers.ValidationError) as error:
                failure = error_handler.as_waule_error(error)
                assert failure is not None
                results.append({"status": failure.http_status} | rejection(failure))
        done = iter(services.charge_many(items=items, actor=actor_of(request)))
        return answer({"results": [result if result is not None else batch_answer(next(done)) for result in results]})

    @extend_schema(responses={200: schema.ChargeDetail}, operation_id="charge_retrieve")
    def retrieve(self, request: Request, charge_id: str) -> Response:
        charge = selectors.find_charge(charge_id)
        if charge is None:
            raise NotFound(_("There is no such charge."))
        return answer(
            {
                "id": str(charge.id),
                "chargeId": str(charge.id),
                "state": charge.state,
                **owner(charge),
                "creditsCharged": charge.credits,
                "totalRefunded": charge.refunded,
                "shortfall": charge.shortfall,
                "holdId": str(charge.hold_id) if charge.hold_id else None,
                "usageRecord": usage_record(charge),
                "metadata": charge.metadata,
                "createdAt": iso(charge.created_at),
                **priced(charge),
            }
        )


def batch_item(given: Any) -> services.BatchItem:
    """Return one item of a batch; what is wrong with it is that item's 400."""
    if not isinstance(given, dict):
        raise InvalidRequest.of_field("charges", _("Send an object for each charge."))
    fields = CHARGE.run_validation(given)
    key = given.get("idempotencyKey")
    if key is not None and not isinstance(key, str):
        raise InvalidRequest.of_field("idempotencyKey", _("Send a text."))
    return services.BatchItem(target_of(fields), use_of(fields), None if key is None else check_idempotency_key(key))


def batch_answer(result: services.ChargeResult | WauleError) -> dict[str, Any]:
    if isinstance(result, WauleError):
        return {"status": result.http_status} | rejection(result)
    return {"status": 200} | charge_answer(result) | ({"replayed": True} if result.replayed else {})


class EstimateViewSet(InternalViewSet):
    scope = "billing"

    @extend_schema(request=EstimateBody, responses={200: schema.ChargeEstimate}, operation_id="estimate")
    def create(self, request: Request) -> Response:
        fields = self.read_body(request, ESTIMATE)
        if ("targetType" in fields) != ("targetId" in fields):
            missing = "targetId" if "targetType" in fields else "targetType"
            raise InvalidRequest.of_field(missing, _("targetType and targetId belong together."))
        target = target_of(fields) if "targetType" in fields else None
        result = services.estimate(target=target, use=use_of(fields))
        refused = result.rejection
        why = {"code": refused.code, "error": str(refused), "details": refused.details} if refused else {}
        return answer(
            {
                "credits": result.credits,
                "isFreeUsage": result.is_free,
                "allowed": refused is None,
                **why,
                "explanation": pricing.explain(result.steps) + ([str(refused)] if refused else []),
                "ruleId": str(result.rule.id) if result.rule else None,
            }
        )
