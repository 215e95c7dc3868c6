"""`/v1/keys`: the tenant's own keys, for a key with the scope `manage`."""

from collections.abc import Sequence
from typing import Any

from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from aiservices.api.openai.authentication import MANAGING, OpenAIViewSet, key_of
from aiservices.api.tenant import schema
from billing.budgets.models import Budget
from billing.services.api_keys import KeyBudget, budgets_of_keys, create_key, revoke_own_key
from tenants import selectors
from tenants.models import ApiKey, Mode, Scope
from waule.core.errors import InvalidRequest
from waule.core.http.api_base import answer
from waule.core.http.fields import BodySerializer, Integer, QueryInteger, Text, Timestamp, iso
from waule.core.ids import parse_uuid

DEFAULT_PAGE = 50
MAX_PAGE = 200
MAX_MODELS = 200


class BudgetBody(BodySerializer):
    period = serializers.ChoiceField(choices=Budget.Period.values)
    limit = Integer(min_value=0)


class KeyBody(BodySerializer):
    name = Text(max_length=100, min_length=1)
    scopes = serializers.ListField(
        child=serializers.ChoiceField(choices=Scope.values), min_length=1, max_length=len(Scope.values), required=False
    )
    models = serializers.ListField(child=Text(max_length=64, min_length=1), max_length=MAX_MODELS, required=False)
    mode = serializers.ChoiceField(choices=Mode.values, required=False)
    expiresAt = Timestamp(required=False)
    budget = BudgetBody(required=False)


class KeysQuery(BodySerializer):
    limit = QueryInteger(min_value=1, max_value=MAX_PAGE, required=False)
    after = Text(max_length=64, min_length=1, required=False)


KEY, KEYS_QUERY = KeyBody(), KeysQuery()


class KeyViewSet(OpenAIViewSet):
    scopes = {"list": MANAGING, "create": MANAGING, "destroy": MANAGING}

    @extend_schema(
        parameters=schema.page_parameters(),
        responses={200: schema.Keys},
        operation_id="v1_keys",
    )
    def list(self, request: Request) -> Response:
        fields = self.read_query(request, KEYS_QUERY)
        limit = fields.get("limit", DEFAULT_PAGE)
        after = parse_uuid(fields["after"]) if "after" in fields else None
        if "after" in fields and after is None:
            raise InvalidRequest.of_field("after", _("This cursor is not one of ours."))
        own = key_of(request)
        keys = selectors.keys_page(own.tenant_id, mode=visible_mode(own), limit=limit + 1, after=after)
        shown = keys[:limit]
        budgets = budgets_of_keys(shown)
        return answer(
            {
                "object": "list",
                "data": [key_answer(key, budgets[key.id]) for key in shown],
                "has_more": len(keys) > limit,
                "last_id": str(shown[-1].id) if shown else None,
            }
        )

    @extend_schema(request=KeyBody, responses={201: schema.NewKey}, operation_id="v1_keys_create")
    def create(self, request: Request) -> Response:
        fields = self.read_body(request, KEY)
        own = key_of(request)
        key, plaintext = create_key(
            tenant=own.tenant,
            giver=own,
            name=fields["name"],
            mode=fields.get("mode", own.mode),
            scopes=fields.get("scopes"),
            models=fields.get("models", ()),
            expires_at=fields.get("expiresAt"),
            budgets=[KeyBudget(**fields["budget"])] if "budget" in fields else [],
            actor=f"key:{own.id}",
        )
        shown = key_answer(key, budgets_of_keys([key])[key.id])
        response = answer(shown | {"key": plaintext}, status=201)
        response["Cache-Control"] = "no-store"
        return response

    @extend_schema(responses={200: schema.Deleted}, operation_id="v1_keys_delete")
    def destroy(self, request: Request, key_id: str) -> Response:
        own = key_of(request)
        key = selectors.own_key(own.tenant_id, key_id, mode=visible_mode(own))
        revoke_own_key(key=key, giver=own, actor=f"key:{own.id}")
        return answer({"id": str(key.id), "object": "api_key.deleted", "deleted": True})


def visible_mode(own: ApiKey) -> str | None:
    """Return a test key sees test keys only."""
    return Mode.TEST if own.mode == Mode.TEST else None


def key_answer(key: ApiKey, budgets: Sequence[Budget]) -> dict[str, Any]:
    budget = {"period": budgets[0].period, "limit": budgets[0].limit_credits} if budgets else None
    return {
        "id": str(key.id),
        "object": "api_key",
        "name": key.name,
        "masked": key.masked,
        "mode": key.mode,
        "scopes": key.scopes,
        "models": key.allowed_models,
        "budget": budget,
        "createdAt": iso(key.created_at),
        "expiresAt": iso(key.expires_at),
        "lastUsedAt": iso(key.last_used_at),
    }
