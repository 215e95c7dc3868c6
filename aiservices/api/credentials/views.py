"""Sora tokens and Gemini keys."""

from abc import abstractmethod
from typing import Any

from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from aiservices.api.credentials import schema
from aiservices.api.credentials.answers import (
    TEST_STATUS,
    attempt_answer,
    credential_answer,
    rest_answer,
    sync_answer,
    token_answer,
)
from aiservices.api.credentials.authentication import StaffViewSet, actor_of
from aiservices.api.credentials.serializers import (
    GEMINI_BODY,
    GEMINI_CHANGE_BODY,
    KEYS_BODY,
    LIST_QUERY,
    MAX_LIST,
    REASON_BODY,
    SORA_BODY,
    SORA_CHANGE_BODY,
    TOKENS_BODY,
    GeminiBody,
    GeminiChangeBody,
    KeysBody,
    ListQuery,
    ReasonBody,
    SoraBody,
    SoraChangeBody,
    TokensBody,
    gemini_fields,
    import_item,
)
from aiservices.credentials import checks as credential_tests
from aiservices.credentials import pool
from aiservices.credentials import services as credentials
from aiservices.credentials import sora as sora_sync
from aiservices.credentials.bulk import import_many
from aiservices.credentials.models import GeminiKey, SoraToken
from waule.core.errors import InvalidRequest
from waule.core.http.api_base import ApiViewSet, InternalViewSet, answer, expected_version, versioned_answer
from waule.core.ids import parse_uuid


class _Credentials(ApiViewSet):
    """What Sora tokens and Gemini keys have in common."""

    provider: str
    list_name: str
    verbs = {"enable": "change", "disable": "change", "use_again": "change", "test": "change", "sync": "change"}

    @abstractmethod
    def show(self, row: Any) -> dict[str, Any]:
        """Return what an answer says of `row`."""

    def pushed(self, row: Any) -> Any:
        """The row after its change was pushed to the Sora service."""
        row.refresh_from_db()
        return row

    def by(self, request: Request) -> dict[str, Any]:
        return {"actor": actor_of(self, request), "request": request._request}

    @extend_schema(parameters=[ListQuery])
    def list(self, request: Request) -> Response:
        query = self.read_query(request, LIST_QUERY)
        rows = credentials.rows(self.provider).defer("secret").order_by("id")
        if "cursor" in query:
            after = parse_uuid(query["cursor"])
            if after is None:
                raise InvalidRequest.of_field("cursor", _("This is no cursor of this list."))
            rows = rows.filter(pk__gt=after)
        limit = query.get("limit", MAX_LIST)
        found = list(rows[: limit + 1])
        more = str(found[limit - 1].pk) if len(found) > limit else None
        resting = pool.model_cooldowns(row.pk for row in found[:limit])
        shown = [self.show(row) | {"modelCooldowns": list(map(rest_answer, resting.get(row.pk, [])))} for row in found[:limit]]
        return answer({self.list_name: shown, "nextCursor": more})

    def retrieve(self, request: Request, credential_id: str) -> Response:
        row = credentials.find(self.provider, credential_id)
        resting = pool.model_cooldowns([row.pk]).get(row.pk, [])
        history = {"attempts": list(map(attempt_answer, credentials.attempts(row)))}
        return versioned_answer(self.show(row) | history | {"modelCooldowns": list(map(rest_answer, resting))})

    @extend_schema(request=None, responses={200: schema.CredentialDeleted})
    def destroy(self, request: Request, credential_id: str) -> Response:
        row = credentials.find(self.provider, credential_id)
        credentials.delete(credential=row, **self.by(request))
        self.deleted(row.pk)
        return answer({"success": True, "id": credential_id})

    def deleted(self, credential_pk: Any) -> None:
        """Tell whoever else has to know."""

    @extend_schema(request=ReasonBody)
    def enable(self, request: Request, credential_id: str) -> Response:
        body = _reason(self, request)
        row = credentials.find(self.provider, credential_id)
        row = credentials.enable(credential=row, **body, **self.by(request))
        return answer({"success": True} | self.show(self.pushed(row)))

    @extend_schema(request=ReasonBody)
    def disable(self, request: Request, credential_id: str) -> Response:
        body = _reason(self, request)
        row = credentials.find(self.provider, credential_id)
        row = credentials.disable(credential=row, **body, **self.by(request))
        return answer({"success": True} | self.show(self.pushed(row)))

    @extend_schema(request=ReasonBody)
    def use_again(self, request: Request, credential_id: str) -> Response:
        body = _reason(self, request)
        row = credentials.use_again(credential=credentials.find(self.provider, credential_id), **body, **self.by(request))
        return answer({"success": True} | self.show(row))

    @extend_schema(request=None, responses={200: schema.CredentialTest})
    def test(self, request: Request, credential_id: str) -> Response:
        row = credentials.find(self.provider, credential_id)
        result = credential_tests.test(credential=row, **self.by(request))
        row.refresh_from_db()
        return answer(
            {
                "success": bool(result.is_working),
                "status": TEST_STATUS[result.is_working],
                "outcome": result.outcome,
                "message": result.message,
                "latencyMs": result.latency_ms,
                "state": row.state,
            }
        )

    def change(self, request: Request, credential_id: str, body: dict[str, Any]) -> Response:
        row = credentials.find(self.provider, credential_id)
        reason = body.pop("reason", "")
        expected = expected_version(request, body)
        row = credentials.edit(credential=row, changes=body, reason=reason, expected_version=expected, **self.by(request))
        return versioned_answer({"success": True} | self.show(self.pushed(row)))


def _answers(*, listed: type, read: type, changed: type) -> dict[str, dict[int, type]]:
    """Return what the actions of a kind of credentials answer, for the OpenAPI document."""
    changes = {action: {200: changed} for action in ("partial_update", "enable", "disable", "use_again")}
    return {"list": {200: listed}, "retrieve": {200: read}, "create": {201: changed}, **changes}


def _reason(view: ApiViewSet, request: Request) -> dict[str, Any]:
    """Return the optional body of a switch; no body at all will do."""
    has_body = request.META.get("CONTENT_LENGTH") not in (None, "", "0")
    return view.read_body(request, REASON_BODY) if has_body else {}


class SoraTokens(_Credentials):
    provider = "sora"
    list_name = "tokens"
    model = SoraToken
    answers = _answers(listed=schema.SoraTokenList, read=schema.SoraTokenDetail, changed=schema.SoraTokenChanged)

    def show(self, row: SoraToken) -> dict[str, Any]:
        return token_answer(row)

    def pushed(self, row: SoraToken) -> SoraToken:
        sora_sync.push_quietly([row.pk])
        row.refresh_from_db()
        return row

    def deleted(self, credential_pk: Any) -> None:
        sora_sync.push_quietly([credential_pk])

    @extend_schema(request=SoraBody)
    def create(self, request: Request) -> Response:
        body = self.read_body(request, SORA_BODY)
        body.pop("reason", None)
        body.pop("version", None)
        row = sora_sync.add(**body, **self.by(request))
        return answer({"success": True} | token_answer(row), status=201)

    @extend_schema(request=SoraChangeBody)
    def partial_update(self, request: Request, credential_id: str) -> Response:
        return self.change(request, credential_id, self.read_body(request, SORA_CHANGE_BODY))

    @extend_schema(request=TokensBody, responses={200: schema.SoraTokensImported})
    def import_many(self, request: Request) -> Response:
        items = [import_item("sora", item) for item in self.read_body(request, TOKENS_BODY)["tokens"]]
        result = import_many(provider="sora", items=items, **self.by(request))
        if result.touched:
            sora_sync.push_quietly(result.touched)
        return answer(
            {
                "success": True,
                "added": result.added,
                "updated": result.updated,
                "failed": result.failed,
                "results": result.results,
            }
        )

    @extend_schema(request=None, responses={200: schema.SoraSync})
    def sync(self, request: Request) -> Response:
        return answer(sync_answer(sora_sync.sync()))


class GeminiKeys(_Credentials):
    provider = "gemini"
    list_name = "keys"
    model = GeminiKey
    answers = _answers(listed=schema.GeminiKeyList, read=schema.GeminiKeyDetail, changed=schema.GeminiKeyChanged)

    def show(self, row: GeminiKey) -> dict[str, Any]:
        return credential_answer(row)

    @extend_schema(request=GeminiBody)
    def create(self, request: Request) -> Response:
        body = gemini_fields(self.read_body(request, GEMINI_BODY))
        body.pop("reason", None)
        body.pop("version", None)
        row = credentials.add(provider="gemini", **body, **self.by(request))
        return answer({"success": True} | credential_answer(row), status=201)

    @extend_schema(request=GeminiChangeBody)
    def partial_update(self, request: Request, credential_id: str) -> Response:
        return self.change(request, credential_id, gemini_fields(self.read_body(request, GEMINI_CHANGE_BODY)))

    @extend_schema(request=KeysBody, responses={200: schema.GeminiKeysImported})
    def batch(self, request: Request) -> Response:
        items = [import_item("gemini", item) for item in self.read_body(request, KEYS_BODY)["keys"]]
        result = import_many(provider="gemini", items=items, **self.by(request))
        return answer(
            {
                "success": True,
                "added": result.added,
                "skipped": result.skipped,
                "failed": result.failed,
                "results": result.results,
            }
        )


class InternalSoraTokens(SoraTokens, InternalViewSet):
    scope = "credentials"


class InternalGeminiKeys(GeminiKeys, InternalViewSet):
    scope = "credentials"


class StaffSoraTokens(SoraTokens, StaffViewSet):
    pass


class StaffGeminiKeys(GeminiKeys, StaffViewSet):
    pass
