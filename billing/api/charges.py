"""Charges, one or many, and what one would cost."""

from typing import Any

from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing import pricing, refusals, selectors, services
from billing.api.uses import ACTOR, ChargeBody, TargetTypeField, UseBody, owner, priced, target_of, usage_record, use_of
from waule import error_handler
from waule.api_base import (
    BodySerializer,
    InternalViewSet,
    Text,
    answer,
    check_idempotency_key,
    idempotency_key,
    iso,
)
from waule.errors import InvalidRequest, NotFound, WauleError

MAX_BATCH = 1000


class BatchBody(BodySerializer):
    charges = serializers.ListField(allow_empty=False, max_length=MAX_BATCH)


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
        "chargeId": str(charge.id),
        "balance": result.balance,
    }


def refusal(error: WauleError) -> dict[str, Any]:
    """The error body of one charge of a batch that was not made."""
    refusals.note(error.code)
    return error_handler.shape(error) | CHARGE_REFUSED


CHARGE_REFUSED = {"creditsCharged": 0, "isFreeUsage": False}


class ChargeViewSet(InternalViewSet):
    """Charges: one priced use each."""

    @property
    def error_extra(self) -> dict[str, Any]:
        return CHARGE_REFUSED if getattr(self, "action", "") == "create" else {}

    @extend_schema(request=ChargeBody, responses=dict, operation_id="charge")
    def create(self, request: Request) -> Response:
        fields = self.read_body(request, CHARGE)
        result = services.charge(
            target=target_of(fields), use=use_of(fields), actor=ACTOR, idempotency_key=idempotency_key(request)
        )
        return answer(charge_answer(result), replayed=result.replayed)

    @extend_schema(request=BatchBody, responses=dict, operation_id="charge_batch")
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
                results.append({"status": failure.http_status} | refusal(failure))
        done = iter(services.charge_many(items=items, actor=ACTOR))
        return answer({"results": [result if result is not None else batch_answer(next(done)) for result in results]})

    @extend_schema(responses=dict, operation_id="charge_retrieve")
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
    """One item of a batch; what is wrong with it is that item's 400."""
    if not isinstance(given, dict):
        raise InvalidRequest.of_field("charges", _("Send an object for each charge."))
    fields = CHARGE.run_validation(given)
    key = given.get("idempotencyKey")
    if key is not None and not isinstance(key, str):
        raise InvalidRequest.of_field("idempotencyKey", _("Send a text."))
    return services.BatchItem(target_of(fields), use_of(fields), None if key is None else check_idempotency_key(key))


def batch_answer(result: services.ChargeResult | WauleError) -> dict[str, Any]:
    if isinstance(result, WauleError):
        return {"status": result.http_status} | refusal(result)
    return {"status": 200} | charge_answer(result) | ({"replayed": True} if result.replayed else {})


class EstimateViewSet(InternalViewSet):
    @extend_schema(request=EstimateBody, responses=dict, operation_id="estimate")
    def create(self, request: Request) -> Response:
        fields = self.read_body(request, ESTIMATE)
        if ("targetType" in fields) != ("targetId" in fields):
            missing = "targetId" if "targetType" in fields else "targetType"
            raise InvalidRequest.of_field(missing, _("targetType and targetId belong together."))
        target = target_of(fields) if "targetType" in fields else None
        result = services.estimate(target=target, use=use_of(fields))
        refused = result.refusal
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
