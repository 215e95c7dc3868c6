"""`/internal/billing`: the gateway's view of the books."""

from decimal import Decimal
from typing import Any

from django.http.response import HttpResponseBase
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing import pricing, refusals, selectors, services, statements
from billing.models import GRANT_KINDS, Account, Charge, Hold, Kind, LedgerEntry, Use
from billing.uses import Target, UseRequest
from tenants.selectors import find_key_of
from waule import error_handler
from waule.api_base import (
    BodySerializer,
    Integer,
    InternalViewSet,
    JSONObject,
    Moment,
    QueryInteger,
    Seconds,
    Text,
    answer,
    check_idempotency_key,
    idempotency_key,
    iso,
)
from waule.errors import InvalidRequest, NotFound, WauleError

MAX_BATCH = 1000
MAX_METADATA_BYTES = 4096
ACTOR = "gateway"


# --- bodies --------------------------------------------------------------------------------------------------------


@extend_schema_field({"type": "string", "enum": ["user", "tenant"]})
class TargetTypeField(serializers.Field[str, Any, Any, Any]):
    """`user` or `tenant`; the text of its refusal is the contract's."""

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
    resolution = Text(max_length=64, allow_blank=True, required=False)
    mode = Text(max_length=64, allow_blank=True, required=False)
    operationType = Text(max_length=64, allow_blank=True, required=False)
    characterCount = Integer(min_value=1, max_value=10_000_000, required=False)
    nodeType = Text(max_length=64, allow_blank=True, required=False)
    moduleType = Text(max_length=64, allow_blank=True, required=False)
    metadata = JSONObject(max_bytes=MAX_METADATA_BYTES, required=False)


class ChargeBody(BuyerBody, UseBody):
    pass


class BatchBody(BodySerializer):
    charges = serializers.ListField(allow_empty=False, max_length=MAX_BATCH)


class EstimateBody(UseBody):
    targetType = TargetTypeField(required=False)
    targetId = Text(max_length=64, min_length=1, required=False)
    apiKeyId = Text(max_length=64, min_length=1, required=False)


class HoldBody(ChargeBody):
    expiresIn = Integer(min_value=60, max_value=86_400, required=False)


class CaptureBody(BodySerializer):
    quantity = Integer(min_value=1, max_value=1000, required=False)
    duration = Seconds(required=False)
    resolution = Text(max_length=64, allow_blank=True, required=False)
    mode = Text(max_length=64, allow_blank=True, required=False)
    operationType = Text(max_length=64, allow_blank=True, required=False)
    characterCount = Integer(min_value=1, max_value=10_000_000, required=False)


class HoldReleaseBody(BodySerializer):
    reason = Text(max_length=500, allow_blank=True, required=False)


class RefundBody(BodySerializer):
    chargeId = Text(max_length=64, min_length=1)
    reason = Text(max_length=500, min_length=1)
    credits = Integer(min_value=1, required=False)


class GrantBody(TargetBody):
    credits = Integer(min_value=1)
    type = serializers.ChoiceField(choices=[kind.value for kind in GRANT_KINDS])
    reason = Text(max_length=500, min_length=1)


class BalanceQuery(BodySerializer):
    targetType = TargetTypeField()
    targetId = Text(max_length=64, min_length=1)
    at = Moment(required=False)


class EntriesQuery(BodySerializer):
    targetType = TargetTypeField()
    targetId = Text(max_length=64, min_length=1)
    limit = QueryInteger(min_value=1, max_value=500, required=False)
    cursor = Text(max_length=64, min_length=1, required=False)

    def get_fields(self) -> dict[str, Any]:
        # `from` is a word of Python's own and cannot be an attribute.
        return super().get_fields() | {"from": Moment(required=False), "to": Moment(required=False)}


class StatementQuery(BodySerializer):
    targetType = TargetTypeField()
    targetId = Text(max_length=64, min_length=1)
    format = serializers.ChoiceField(choices=["json", "csv"], required=False)

    def get_fields(self) -> dict[str, Any]:
        return super().get_fields() | {"from": Moment(), "to": Moment()}


TARGET, CHARGE, BATCH, ESTIMATE, HOLD = TargetBody(), ChargeBody(), BatchBody(), EstimateBody(), HoldBody()
CAPTURE, RELEASE, REFUND, GRANT = CaptureBody(), HoldReleaseBody(), RefundBody(), GrantBody()
BALANCE_QUERY, ENTRIES_QUERY, STATEMENT_QUERY = BalanceQuery(), EntriesQuery(), StatementQuery()

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


def target_of(fields: dict[str, Any]) -> Target:
    """Whose account it is.

    Raises:
        InvalidRequest: `apiKeyId` is no key of this tenant.
    """
    kind, owner_id, key_id = fields["targetType"], fields["targetId"], fields.get("apiKeyId")
    if key_id is None:
        return Target(kind, owner_id)
    key = find_key_of(owner_id, key_id) if kind == "tenant" else None
    if key is None:
        raise InvalidRequest.of_field("apiKeyId", _("This tenant has no key %(key)s.") % {"key": key_id})
    return Target(kind, owner_id, key.mode, key.id)


def use_of(fields: dict[str, Any]) -> UseRequest:
    return UseRequest(**{house: fields[wire] for wire, house in WIRE_USE.items() if wire in fields})


# --- answers -------------------------------------------------------------------------------------------------------


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


def usage_record(use: Use) -> dict[str, Any]:
    inputs = pricing.inputs_from_json(use.use)
    return {
        "id": str(use.id),
        "modelId": str(use.model_id) if use.model_id else None,
        "operation": use.operation,
        "quantity": use.quantity,
        "duration": plain_number(inputs.duration),
        "resolution": inputs.resolution or None,
        "creditsCharged": use.credits,  # type: ignore[attr-defined]
        "createdAt": iso(use.created_at),
    }


def plain_number(value: Decimal | None) -> int | float | None:
    """A duration as JSON writes it: 5, not 5.0."""
    if value is None:
        return None
    return int(value) if value == value.to_integral_value() else float(value)


def priced(use: Use) -> dict[str, Any]:
    """The price snapshot and what it says in words."""
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


def refusal(error: WauleError) -> dict[str, Any]:
    """The error body of one charge of a batch that was not made."""
    refusals.note(error.code)
    return error_handler.shape(error) | CHARGE_REFUSED


CHARGE_REFUSED = {"creditsCharged": 0, "isFreeUsage": False}


# --- resources -----------------------------------------------------------------------------------------------------


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


class HoldViewSet(InternalViewSet):
    """Holds: credits set aside before a long job."""

    @extend_schema(request=HoldBody, responses=dict, operation_id="hold")
    def create(self, request: Request) -> Response:
        fields = self.read_body(request, HOLD)
        result = services.hold(
            target=target_of(fields),
            use=use_of(fields),
            actor=ACTOR,
            expires_in_seconds=fields.get("expiresIn", 3600),
            idempotency_key=idempotency_key(request),
        )
        return answer(
            {
                "success": True,
                "holdId": str(result.hold.id),
                "creditsHeld": result.hold.credits,
                "isFreeUsage": result.hold.is_free,
                "expiresAt": iso(result.hold.expires_at),
                "balance": result.balance,
            },
            status=201,
            replayed=result.replayed,
        )

    @extend_schema(request=CaptureBody, responses=dict, operation_id="hold_capture")
    def capture(self, request: Request, hold_id: str) -> Response:
        fields = self.read_body(request, CAPTURE) if has_body(request) else {}
        changes = {house: fields[wire] for wire, house in WIRE_INPUTS.items() if wire in fields}
        result = services.capture(hold_id=hold_id, use_changes=changes, actor=ACTOR)
        return answer(
            {
                "success": True,
                "chargeId": str(result.charge.id),
                "creditsCharged": result.charge.credits,
                "creditsReleased": result.credits_released,
                "shortfall": result.charge.shortfall,
                "balance": result.balance,
            },
            replayed=result.replayed,
        )

    @extend_schema(request=HoldReleaseBody, responses=dict, operation_id="hold_release")
    def release(self, request: Request, hold_id: str) -> Response:
        fields = self.read_body(request, RELEASE) if has_body(request) else {}
        result = services.release(hold_id=hold_id, reason=fields.get("reason", ""), actor=ACTOR)
        return answer(
            {"success": True, "creditsReleased": result.credits_released, "balance": result.balance}, replayed=result.replayed
        )

    @extend_schema(responses=dict, operation_id="hold_retrieve")
    def retrieve(self, request: Request, hold_id: str) -> Response:
        hold = selectors.find_hold(hold_id)
        if hold is None:
            raise NotFound(_("There is no such hold."))
        charge = Charge.objects.filter(hold=hold).first()
        return answer(
            {
                "id": str(hold.id),
                "holdId": str(hold.id),
                "state": hold.state,
                **owner(hold),
                "creditsHeld": hold.credits,
                "creditsReleased": hold.credits_released,
                "expiresAt": iso(hold.expires_at),
                "endedAt": iso(hold.ended_at),
                "reason": hold.end_reason or None,
                "chargeId": str(charge.id) if charge else None,
                "operation": hold.operation,
                "quantity": hold.quantity,
                "metadata": hold.metadata,
                "createdAt": iso(hold.created_at),
                **priced(hold),
            }
        )


def has_body(request: Request) -> bool:
    """Whether anything was sent: the endings of a hold need no body."""
    meta = request.META
    return meta.get("CONTENT_LENGTH") not in (None, "", "0") or "HTTP_TRANSFER_ENCODING" in meta


class RefundViewSet(InternalViewSet):
    @extend_schema(request=RefundBody, responses=dict, operation_id="refund")
    def create(self, request: Request) -> Response:
        fields = self.read_body(request, REFUND)
        result = services.refund(
            charge_id=fields["chargeId"],
            credits=fields.get("credits"),
            reason=fields["reason"],
            actor=ACTOR,
            idempotency_key=idempotency_key(request, required="credits" in fields),
        )
        return answer(
            {
                "success": True,
                "creditsRefunded": result.credits_refunded,
                "totalRefunded": result.total_refunded,
                "balance": result.balance,
            },
            replayed=result.replayed,
        )


class GrantViewSet(InternalViewSet):
    @extend_schema(request=GrantBody, responses=dict, operation_id="grant")
    def create(self, request: Request) -> Response:
        fields = self.read_body(request, GRANT)
        result = services.grant(
            target=target_of(fields),
            credits=fields["credits"],
            kind=Kind(fields["type"]),
            reason=fields["reason"],
            actor=ACTOR,
            idempotency_key=idempotency_key(request, required=True),
        )
        return answer({"success": True, "entryId": str(result.entry.id), "balance": result.balance}, replayed=result.replayed)


TARGET_QUERY = [OpenApiParameter("targetType", str, required=True), OpenApiParameter("targetId", str, required=True)]


class BalanceViewSet(InternalViewSet):
    @extend_schema(parameters=[*TARGET_QUERY, OpenApiParameter("at", str)], responses=dict, operation_id="balance")
    def list(self, request: Request) -> Response:
        fields = self.read_query(request, BALANCE_QUERY)
        row = selectors.find_target(target_of(fields))
        if "at" in fields:
            return answer({"balance": selectors.balance_at(row.account_id, fields["at"]), "held": 0})
        balance = selectors.current_balance(row)
        return answer({"balance": balance.spendable, "held": balance.held})


class EntryViewSet(InternalViewSet):
    @extend_schema(
        parameters=[
            *TARGET_QUERY,
            OpenApiParameter("from", str),
            OpenApiParameter("to", str),
            OpenApiParameter("limit", int),
            OpenApiParameter("cursor", str),
        ],
        responses=dict,
        operation_id="entries",
    )
    def list(self, request: Request) -> Response:
        fields = self.read_query(request, ENTRIES_QUERY)
        row = selectors.find_target(target_of(fields))
        page = selectors.entries_page(
            row.account_id,
            since=fields.get("from"),
            until=fields.get("to"),
            limit=fields.get("limit", 50),
            cursor=fields.get("cursor"),
        )
        return answer({"entries": [entry_answer(entry) for entry in page.entries], "nextCursor": page.next_cursor})


class StatementViewSet(InternalViewSet):
    """One account between two moments: opening + entries = closing."""

    @extend_schema(
        parameters=[
            *TARGET_QUERY,
            OpenApiParameter("from", str, required=True),
            OpenApiParameter("to", str, required=True),
            OpenApiParameter("format", str, enum=["json", "csv"]),
        ],
        responses=dict,
        operation_id="statement",
    )
    def list(self, request: Request) -> HttpResponseBase:
        fields = self.read_query(request, STATEMENT_QUERY)
        row = selectors.find_target(target_of(fields))
        account = Account.objects.get(id=row.account_id)
        made = statements.statement(account=account, since=fields["from"], until=fields["to"])
        if fields.get("format") == "csv":
            return statements.csv_response(made)
        made.check_short()
        return answer({**statements.summary(made), "entries": [entry_answer(entry) for entry in made.entries()]})


def entry_answer(entry: LedgerEntry) -> dict[str, Any]:
    return {
        "id": str(entry.id),
        "seq": entry.seq,
        "type": entry.kind,
        "amount": entry.amount,
        "balance": entry.balance,
        "chargeId": str(entry.charge_id) if entry.charge_id else None,
        "description": entry.description,
        "createdAt": iso(entry.created_at),
    }
