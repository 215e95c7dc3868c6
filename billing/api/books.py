"""Reading the books: balance, entries, statement."""

from typing import Any

from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing import selectors, statements
from billing.api.uses import TargetTypeField, target_of
from billing.models import Account, LedgerEntry
from waule.api_base import (
    BodySerializer,
    InternalViewSet,
    Moment,
    QueryInteger,
    Text,
    answer,
    iso,
)


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


BALANCE_QUERY, ENTRIES_QUERY, STATEMENT_QUERY = BalanceQuery(), EntriesQuery(), StatementQuery()
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
