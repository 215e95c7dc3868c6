"""`/v1/balance`, `/v1/usage`, `/v1/entries`, `/v1/prices`, `/v1/estimate`: what there is, what it went on, what it costs."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.utils.dateparse import parse_date
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from aiservices.api.openai.authentication import OpenAIViewSet, caller_of, key_of
from aiservices.api.openai.models import models_of
from aiservices.api.tenant import schema
from aiservices.monitoring.tenant_usage import DIMENSIONS, UsageRow, tenant_usage
from billing.api import schema as billing_schema
from billing.api.ledger import entries_answer
from billing.budgets.limits import Standing, standings, zone_of
from billing.ledger import selectors
from billing.ledger.balances import balance_of
from billing.ledger.posting import database_now
from billing.ledger.targets import find_target
from billing.usage_reports.selectors import midnight
from tenants.models import Mode
from waule.core.errors import InvalidRequest
from waule.core.http.api_base import answer
from waule.core.http.fields import BodySerializer, QueryInteger, Text, Timestamp

MAX_USAGE_DAYS = 400
DEFAULT_USAGE_DAYS = 30


class DateOrTimestamp(Timestamp):
    """A date of the tenant's zone, or an ISO 8601 timestamp with its zone."""

    def to_internal_value(self, data: Any) -> Any:
        try:
            day = parse_date(data) if isinstance(data, str) and len(data) == 10 else None
        except ValueError:
            day = None
        return day or super().to_internal_value(data)


class GroupBy(Text):
    """`day`, `model` and `key`, comma-separated; nothing: one row of everything."""

    def to_internal_value(self, data: Any) -> Any:
        names = [name for name in super().to_internal_value(data).split(",") if name]
        if not set(names) <= set(DIMENSIONS):
            raise serializers.ValidationError(_("Group by day, model and key, separated by commas."))
        return names


class UsageQuery(BodySerializer):
    group_by = GroupBy(max_length=32, allow_blank=True, required=False)

    def get_fields(self) -> dict[str, Any]:
        # `from` is a word of Python's own and cannot be an attribute.
        return super().get_fields() | {"from": DateOrTimestamp(required=False), "to": DateOrTimestamp(required=False)}


class EntriesQuery(BodySerializer):
    limit = QueryInteger(min_value=1, max_value=500, required=False)
    cursor = Text(max_length=64, min_length=1, required=False)

    def get_fields(self) -> dict[str, Any]:
        return super().get_fields() | {"from": Timestamp(required=False), "to": Timestamp(required=False)}


USAGE_QUERY, ENTRIES_QUERY = UsageQuery(), EntriesQuery()
FROM_TO = [OpenApiParameter("from", str), OpenApiParameter("to", str)]


class BalanceViewSet(OpenAIViewSet):
    @extend_schema(responses={200: schema.Balance}, operation_id="v1_balance")
    def retrieve(self, request: Request) -> Response:
        key = key_of(request)
        row = find_target(caller_of(request))
        balance = balance_of(row.account_id)
        stands: list[Standing] = []
        if row.has_budgets:
            stands = standings(
                tenant_id=key.tenant_id,
                api_key_id=key.id,
                account_id=row.account_id,
                is_live=key.mode == Mode.LIVE,
                held=balance.held,
            )
        return answer(
            {
                "object": "balance",
                "balance": balance.spendable,
                "held": balance.held,
                "mode": key.mode,
                "budgets": [budget_answer(standing) for standing in stands],
            }
        )


def budget_answer(standing: Standing) -> dict[str, Any]:
    return {
        "scope": "key" if standing.budget.api_key_id else "tenant",
        "period": standing.budget.period,
        "limit": standing.budget.limit_credits,
        "used": standing.used,
        "resets_at": int(standing.opens_at.timestamp()),
    }


class UsageViewSet(OpenAIViewSet):
    @extend_schema(
        parameters=[*FROM_TO, OpenApiParameter("group_by", str, description="Any of day, model, key; default day.")],
        responses={200: schema.Usage},
        operation_id="v1_usage",
    )
    def retrieve(self, request: Request) -> Response:
        fields = self.read_query(request, USAGE_QUERY)
        key = key_of(request)
        since, until = usage_span(fields, key.tenant.time_zone, database_now())
        rows = tenant_usage(tenant=key.tenant, mode=key.mode, since=since, until=until, group_by=fields.get("group_by", ["day"]))
        group_by = fields.get("group_by", ["day"])
        return answer({"object": "list", "data": [usage_answer(row, group_by) for row in rows]})


def usage_span(fields: dict[str, Any], zone_name: str, now: datetime) -> tuple[datetime, datetime]:
    """From when, inclusive, to when, exclusive; the last DEFAULT_USAGE_DAYS days, today among them, where nothing is said.

    Raises:
        InvalidRequest: it ends before it begins, or is longer than MAX_USAGE_DAYS days.
    """
    zone = zone_of(zone_name)

    def at(value: Any) -> datetime:
        return value if isinstance(value, datetime) else midnight(value, zone)

    try:
        given_from, given_to = (at(fields[name]) if name in fields else None for name in ("from", "to"))
        tomorrow = midnight(now.astimezone(zone).date() + timedelta(days=1), zone)
        until = given_to or max(tomorrow, given_from or tomorrow)
        back = until.astimezone(zone).date() - timedelta(days=DEFAULT_USAGE_DAYS)
        since = given_from or midnight(back, zone)
        too_long = midnight(since.astimezone(zone).date() + timedelta(days=MAX_USAGE_DAYS + 1), zone) < until
        since.astimezone(UTC), until.astimezone(UTC)
    except OverflowError:
        raise InvalidRequest.of_field("from", _("This time is out of range.")) from None
    if until < since:
        raise InvalidRequest.of_field("to", _("The end lies before the beginning."))
    if too_long or until - since > timedelta(days=MAX_USAGE_DAYS, hours=2):
        raise InvalidRequest.of_field("from", _("Ask for at most %(limit)s days.") % {"limit": MAX_USAGE_DAYS})
    return since, until


def usage_answer(row: UsageRow, group_by: list[str]) -> dict[str, Any]:
    groups: dict[str, Any] = {}
    if "day" in group_by:
        groups["date"] = row.day.isoformat() if isinstance(row.day, date) else None
    if "model" in group_by:
        groups["model"] = row.model or None
    if "key" in group_by:
        groups["key_id"] = row.key_id or None
    return groups | row.usage.__dict__


class EntryViewSet(OpenAIViewSet):
    @extend_schema(
        parameters=[*FROM_TO, OpenApiParameter("limit", int), OpenApiParameter("cursor", str)],
        responses={200: billing_schema.Entries},
        operation_id="v1_entries",
    )
    def retrieve(self, request: Request) -> Response:
        fields = self.read_query(request, ENTRIES_QUERY)
        page = selectors.entries_page(
            find_target(caller_of(request)).account_id,
            since=fields.get("from"),
            until=fields.get("to"),
            limit=fields.get("limit", 50),
            cursor=fields.get("cursor"),
        )
        return answer(entries_answer(page))


class PriceViewSet(OpenAIViewSet):
    @extend_schema(responses={200: schema.Prices}, operation_id="v1_prices")
    def retrieve(self, request: Request) -> Response:
        return answer({"object": "list", "data": [model.as_price() for model in models_of(key_of(request))]})
