"""Reading the ledger: balance, entries, statement."""

from typing import Any

from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing import statements
from billing.api import schema
from billing.api.uses import TargetTypeField, target_of
from billing.ledger import selectors
from billing.ledger.balances import balance_at, find_balance
from billing.ledger.models import Account, LedgerEntry
from billing.ledger.targets import find_target
from waule.core.http.api_base import InternalViewSet, answer
from waule.core.http.fields import BodySerializer, QueryInteger, Text, Timestamp, iso


class BalanceQuery(BodySerializer):
    targetType = TargetTypeField()
    targetId = Text(max_length=64, min_length=1)
    at = Timestamp(required=False)


class EntriesQuery(BodySerializer):
    targetType = TargetTypeField()
    targetId = Text(max_length=64, min_length=1)
    limit = QueryInteger(min_value=1, max_value=500, required=False)
    cursor = Text(max_length=64, min_length=1, required=False)

    def get_fields(self) -> dict[str, Any]:
        # `from` is a word of Python's own and cannot be an attribute.
        return super().get_fields() | {"from": Timestamp(required=False), "to": Timestamp(required=False)}


class StatementQuery(BodySerializer):
    targetType = TargetTypeField()
    targetId = Text(max_length=64, min_length=1)
    format = serializers.ChoiceField(choices=["json", "csv"], required=False)

    def get_fields(self) -> dict[str, Any]:
        return super().get_fields() | {"from": Timestamp(), "to": Timestamp()}


BALANCE_QUERY, ENTRIES_QUERY, STATEMENT_QUERY = BalanceQuery(), EntriesQuery(), StatementQuery()
TARGET_QUERY = [OpenApiParameter("targetType", str, required=True), OpenApiParameter("targetId", str, required=True)]


class BalanceViewSet(InternalViewSet):
    scope = "billing"

    @extend_schema(
        parameters=[*TARGET_QUERY, OpenApiParameter("at", str)], responses={200: schema.AccountBalance}, operation_id="balance"
    )
    def list(self, request: Request) -> Response:
        fields = self.read_query(request, BALANCE_QUERY)
        if "at" in fields:
            row = find_target(target_of(fields))
            return answer({"balance": balance_at(row.account_id, fields["at"]), "held": 0})
        balance = find_balance(target_of(fields))
        return answer({"balance": balance.spendable, "held": balance.held})


class EntryViewSet(InternalViewSet):
    scope = "billing"

    @extend_schema(
        parameters=[
            *TARGET_QUERY,
            OpenApiParameter("from", str),
            OpenApiParameter("to", str),
            OpenApiParameter("limit", int),
            OpenApiParameter("cursor", str),
        ],
        responses={200: schema.Entries},
        operation_id="entries",
    )
    def list(self, request: Request) -> Response:
        fields = self.read_query(request, ENTRIES_QUERY)
        row = find_target(target_of(fields))
        page = selectors.entries_page(
            row.account_id,
            since=fields.get("from"),
            until=fields.get("to"),
            limit=fields.get("limit", 50),
            cursor=fields.get("cursor"),
        )
        return answer(entries_answer(page))


class StatementViewSet(InternalViewSet):
    """One account between two timestamps: opening + entries = closing."""

    scope = "billing"

    @extend_schema(
        parameters=[
            *TARGET_QUERY,
            OpenApiParameter("from", str, required=True),
            OpenApiParameter("to", str, required=True),
            OpenApiParameter("format", str, enum=["json", "csv"]),
        ],
        responses={(200, "application/json"): schema.AccountStatement, (200, "text/csv"): OpenApiTypes.STR},
        operation_id="statement",
    )
    def list(self, request: Request) -> HttpResponseBase:
        fields = self.read_query(request, STATEMENT_QUERY)
        row = find_target(target_of(fields))
        account = Account.objects.get(id=row.account_id)
        made = statements.statement(account=account, since=fields["from"], until=fields["to"])
        if fields.get("format") == "csv":
            return statements.csv_response(made)
        made.check_short()
        return answer({**statements.summary(made), "entries": [entry_answer(entry) for entry in made.entries()]})


def entries_answer(page: selectors.EntriesPage) -> dict[str, Any]:
    made: dict[str, Any] = {"entries": [entry_answer(entry) for entry in page.entries], "nextCursor": page.next_cursor}
    return made | ({"archivedBefore": iso(page.archived_before)} if page.archived_before else {})


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
