"""Sora tokens and Gemini keys."""

from abc import abstractmethod
from typing import Any

from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from aiservices import credential_tests, credentials, sora_sync
from aiservices.api_credentials.bodies import (
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
from aiservices.api_credentials.callers import StaffViewSet, actor_of
from aiservices.models import GeminiKey, SoraToken
from waule.api_base import (
    ApiViewSet,
    InternalViewSet,
    answer,
    iso,
)
from waule.errors import InvalidRequest
from waule.ids import parse_uuid


def _credential_answer(row: GeminiKey | SoraToken) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "name": row.name,
        "secret": row.masked,
        "isActive": row.is_active,
        "state": row.state,
        "disabledReason": row.disabled_reason or None,
        "coolingUntil": iso(row.cooling_until),
        "priority": row.priority,
        "weight": row.weight,
        "maxInFlight": row.max_in_flight,
        "dailyLimit": row.daily_limit,
        "inFlight": row.in_flight,
        "useCount": row.use_count,
        "errorCount": row.error_count,
        "lastUsedAt": iso(row.last_used_at),
        "lastError": row.last_error or None,
        "lastErrorAt": iso(row.last_error_at),
        "createdAt": iso(row.created_at),
    }


def token_answer(row: SoraToken) -> dict[str, Any]:
    remaining = row.remote.get("sora2_remaining_count")
    return _credential_answer(row) | {
        "email": row.email,
        "remark": row.remark,
        "disabledReason": row.shown_reason or None,
        "expiresAt": iso(row.expires_at),
        "clientId": row.client_id,
        "proxyUrl": credentials.shown_url(row.proxy_url),
        "imageEnabled": row.image_enabled,
        "videoEnabled": row.video_enabled,
        "imageConcurrency": row.image_concurrency,
        "videoConcurrency": row.video_concurrency,
        "remaining": remaining,
        "inStep": row.is_in_step,
        "toPush": row.to_push,
        "pushError": row.push_error or None,
        "missingThere": row.is_missing_there,
        "conflict": row.conflict or None,
        "remoteId": row.remote_id,
        "probablyQuota": row.is_probably_quota,
        "reenableAfterCooldown": row.reenable_after_cooldown,
        "plan": row.remote.get("plan_title") or row.remote.get("plan_type"),
        "imageCount": row.remote.get("image_count"),
        "videoCount": row.remote.get("video_count"),
    }


class _Credentials(ApiViewSet):
    """What Sora tokens and Gemini keys have in common."""

    provider: str
    list_name: str
    verbs = {"enable": "change", "disable": "change", "test": "change", "sync": "change"}

    @abstractmethod
    def show(self, row: Any) -> dict[str, Any]:
        """What an answer says of `row`."""

    def told(self, row: Any) -> Any:
        """The row as it is after whoever else has to know was told."""
        row.refresh_from_db()
        return row

    def by(self, request: Request) -> dict[str, Any]:
        return {"actor": actor_of(self, request), "request": request._request}

    @extend_schema(parameters=[ListQuery], responses=dict)
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
        return answer({self.list_name: [self.show(row) for row in found[:limit]], "nextCursor": more})

    @extend_schema(responses=dict)
    def retrieve(self, request: Request, credential_id: str) -> Response:
        return answer(self.show(credentials.find(self.provider, credential_id)))

    @extend_schema(request=None, responses=dict)
    def destroy(self, request: Request, credential_id: str) -> Response:
        row = credentials.find(self.provider, credential_id)
        credentials.delete(credential=row, **self.by(request))
        self.deleted(row.pk)
        return answer({"success": True, "id": credential_id})

    def deleted(self, credential_pk: Any) -> None:
        """Tells whoever else has to know."""

    @extend_schema(request=ReasonBody, responses=dict)
    def enable(self, request: Request, credential_id: str) -> Response:
        body = _reason(self, request)
        row = credentials.find(self.provider, credential_id)
        row = credentials.enable(credential=row, **body, **self.by(request))
        return answer({"success": True} | self.show(self.told(row)))

    @extend_schema(request=ReasonBody, responses=dict)
    def disable(self, request: Request, credential_id: str) -> Response:
        body = _reason(self, request)
        row = credentials.find(self.provider, credential_id)
        row = credentials.disable(credential=row, **body, **self.by(request))
        return answer({"success": True} | self.show(self.told(row)))

    @extend_schema(request=None, responses=dict)
    def test(self, request: Request, credential_id: str) -> Response:
        row = credentials.find(self.provider, credential_id)
        result = credential_tests.test(credential=row, **self.by(request))
        row.refresh_from_db()
        return answer(
            {
                "success": bool(result.is_working),
                "status": "success" if result.is_working else "failed",
                "outcome": result.outcome,
                "message": result.message,
                "latencyMs": result.latency_ms,
                "state": row.state,
            }
        )

    def change(self, request: Request, credential_id: str, body: dict[str, Any]) -> Response:
        row = credentials.find(self.provider, credential_id)
        reason = body.pop("reason", "")
        row = credentials.edit(credential=row, changes=body, reason=reason, **self.by(request))
        return answer({"success": True} | self.show(self.told(row)))


def _reason(view: ApiViewSet, request: Request) -> dict[str, Any]:
    """The optional body of a switch; no body at all will do."""
    has_body = request.META.get("CONTENT_LENGTH") not in (None, "", "0")
    return view.read_body(request, REASON_BODY) if has_body else {}


class SoraTokens(_Credentials):
    provider = "sora"
    list_name = "tokens"
    model = SoraToken

    def show(self, row: SoraToken) -> dict[str, Any]:
        return token_answer(row)

    def told(self, row: SoraToken) -> SoraToken:
        sora_sync.push_quietly([row.pk])
        row.refresh_from_db()
        return row

    def deleted(self, credential_pk: Any) -> None:
        sora_sync.push_quietly([credential_pk])

    @extend_schema(request=SoraBody, responses={201: dict})
    def create(self, request: Request) -> Response:
        body = self.read_body(request, SORA_BODY)
        body.pop("reason", None)
        row = sora_sync.add(**body, **self.by(request))
        return answer({"success": True} | token_answer(row), status=201)

    @extend_schema(request=SoraChangeBody, responses=dict)
    def partial_update(self, request: Request, credential_id: str) -> Response:
        return self.change(request, credential_id, self.read_body(request, SORA_CHANGE_BODY))

    @extend_schema(request=TokensBody, responses=dict)
    def import_many(self, request: Request) -> Response:
        items = [import_item("sora", item) for item in self.read_body(request, TOKENS_BODY)["tokens"]]
        result = credentials.import_many(provider="sora", items=items, **self.by(request))
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

    @extend_schema(request=None, responses=dict)
    def sync(self, request: Request) -> Response:
        return answer(sync_answer(sora_sync.sync()))


def sync_answer(result: sora_sync.SyncResult) -> dict[str, Any]:
    """How a sync went: a number for each thing done, and the lists behind them."""
    lists = {name: getattr(result, name) for name in ("adopted", "updated", "pushed", "missing", "conflicts", "failed")}
    return {"success": True} | {name: len(found) for name, found in lists.items()} | {"results": lists}


class GeminiKeys(_Credentials):
    provider = "gemini"
    list_name = "keys"
    model = GeminiKey

    def show(self, row: GeminiKey) -> dict[str, Any]:
        return _credential_answer(row)

    @extend_schema(request=GeminiBody, responses={201: dict})
    def create(self, request: Request) -> Response:
        body = gemini_fields(self.read_body(request, GEMINI_BODY))
        body.pop("reason", None)
        row = credentials.add(provider="gemini", **body, **self.by(request))
        return answer({"success": True} | _credential_answer(row), status=201)

    @extend_schema(request=GeminiChangeBody, responses=dict)
    def partial_update(self, request: Request, credential_id: str) -> Response:
        return self.change(request, credential_id, gemini_fields(self.read_body(request, GEMINI_CHANGE_BODY)))

    @extend_schema(request=KeysBody, responses=dict)
    def batch(self, request: Request) -> Response:
        items = [import_item("gemini", item) for item in self.read_body(request, KEYS_BODY)["keys"]]
        result = credentials.import_many(provider="gemini", items=items, **self.by(request))
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
    pass


class InternalGeminiKeys(GeminiKeys, InternalViewSet):
    pass


class StaffSoraTokens(SoraTokens, StaffViewSet):
    pass


class StaffGeminiKeys(GeminiKeys, StaffViewSet):
    pass
