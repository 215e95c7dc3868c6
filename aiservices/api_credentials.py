"""Credentials, switches and health: the same resources for the gateway (`/internal`) and for staff (`/api/admin/ai-services`).

A resource is written once; `Internal…` and `Staff…` differ in who may call it and in how the actor is named.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from aiservices import credential_tests, credentials, health, pool, sora_sync, switches
from aiservices.api import model_answer, models_answer
from aiservices.models import AIModel, GeminiKey, Service, SoraToken
from waule import error_handler, second_factor
from waule.api_base import (
    ApiViewSet,
    BodySerializer,
    Flag,
    Integer,
    InternalViewSet,
    Moment,
    QueryInteger,
    Text,
    answer,
    iso,
)
from waule.errors import Forbidden, InvalidRequest, NotFound, Unauthorized, WauleError
from waule.ids import parse_uuid
from waule.internal_auth import HasInternalSecret
from waule.user_auth import USER_AUTHENTICATION

MAX_LIST = 1000
MAX_MESSAGE_LENGTH = 2000
MAX_LIMIT = 2**31 - 1
PROXY_SCHEMES = {"http", "https", "socks5", "socks5h"}


# --- who may -------------------------------------------------------------------------------------------------------


class StaffMay(BasePermission):
    """Staff with Django's own permission for what the method does to the view's `model`."""

    verbs = {"GET": "view", "POST": "add", "PUT": "change", "PATCH": "change", "DELETE": "delete"}

    def has_permission(self, request: Request, view: Any) -> bool:
        user: Any = request.user
        if user is None or not user.is_authenticated:
            raise Unauthorized
        verb = view.verbs.get(view.action) or self.verbs.get(request.method or "", "change")
        options = view.model._meta
        if not user.is_staff or not user.has_perm(f"{options.app_label}.{verb}_{options.model_name}"):
            raise Forbidden
        if second_factor.is_missing_for_api(user, request.auth):
            raise Forbidden(
                _("Prove your second factor: log in at /admin, or send your one-time code as otp when you ask for a token.")
            )
        return True


class StaffViewSet(ApiViewSet):
    """A resource of `/api/admin/ai-services`."""

    authentication_classes = USER_AUTHENTICATION
    permission_classes = [StaffMay]
    verbs: dict[str, str] = {}  # by action, where the method alone does not say which permission it takes


def actor_of(view: Any, request: Request) -> str:
    """Who the audit log says it was."""
    return "gateway" if HasInternalSecret in view.permission_classes else f"admin:{request.user}"


# --- bodies --------------------------------------------------------------------------------------------------------


class ProxyURL(Text):
    def to_internal_value(self, data: Any) -> str:
        url = super().to_internal_value(data).strip()
        try:
            parts = urlsplit(url)
            is_usable = parts.scheme in PROXY_SCHEMES and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            is_usable = False
        if url and (not is_usable or not url.isascii() or not url.isprintable() or " " in url):
            raise serializers.ValidationError(_("Send an address such as http://proxy:8080 or socks5://proxy:1080."))
        return url


class PoolBody(BodySerializer):
    name = Text(max_length=200, allow_blank=True, required=False)
    isActive = Flag(source="is_active", required=False)
    priority = Integer(min_value=-1000, max_value=1000, required=False)
    weight = Integer(min_value=1, max_value=1000, required=False)
    maxInFlight = Integer(source="max_in_flight", min_value=-1, max_value=MAX_LIMIT, required=False)
    dailyLimit = Integer(source="daily_limit", min_value=-1, max_value=MAX_LIMIT, required=False)


class SoraChangeBody(PoolBody):
    token = Text(source="secret", min_length=1, max_length=credentials.MAX_SECRET_LENGTH, required=False)
    st = Text(source="session_token", max_length=credentials.MAX_SECRET_LENGTH, allow_blank=True, required=False)
    rt = Text(source="refresh_token", max_length=credentials.MAX_SECRET_LENGTH, allow_blank=True, required=False)
    clientId = Text(source="client_id", max_length=200, allow_blank=True, required=False)
    proxyUrl = ProxyURL(source="proxy_url", max_length=500, allow_blank=True, required=False)
    remark = Text(max_length=500, allow_blank=True, required=False)
    imageEnabled = Flag(source="image_enabled", required=False)
    videoEnabled = Flag(source="video_enabled", required=False)
    imageConcurrency = Integer(source="image_concurrency", min_value=-1, max_value=MAX_LIMIT, required=False)
    videoConcurrency = Integer(source="video_concurrency", min_value=-1, max_value=MAX_LIMIT, required=False)
    reenableAfterCooldown = Flag(source="reenable_after_cooldown", required=False)
    reason = Text(max_length=credentials.MAX_REASON_LENGTH, allow_blank=True, required=False)


class SoraBody(SoraChangeBody):
    token = Text(source="secret", min_length=1, max_length=credentials.MAX_SECRET_LENGTH)


class GeminiChangeBody(PoolBody):
    apiKey = Text(min_length=1, max_length=credentials.MAX_SECRET_LENGTH, required=False)
    api_key = Text(min_length=1, max_length=credentials.MAX_SECRET_LENGTH, required=False)
    reason = Text(max_length=credentials.MAX_REASON_LENGTH, allow_blank=True, required=False)


class GeminiBody(GeminiChangeBody):
    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "apiKey" not in attrs and "api_key" not in attrs:
            raise serializers.ValidationError({"apiKey": [_("This field is required.")]})
        return attrs


class ReasonBody(BodySerializer):
    reason = Text(max_length=credentials.MAX_REASON_LENGTH, allow_blank=True, required=False)


class TokensBody(BodySerializer):
    tokens = serializers.ListField(allow_empty=False, max_length=credentials.MAX_IMPORT)


class KeysBody(BodySerializer):
    keys = serializers.ListField(allow_empty=False, max_length=credentials.MAX_IMPORT)


class ModelBody(BodySerializer):
    isActive = Flag(source="is_active")
    reason = Text(max_length=switches.MAX_REASON_LENGTH, allow_blank=True, required=False)
    until = Moment(required=False)


class LeaseBody(BodySerializer):
    provider = Text(min_length=1, max_length=32)
    model = Text(max_length=64, allow_blank=True, required=False)
    ttl = Integer(source="ttl_seconds", min_value=pool.MIN_TTL_SECONDS, max_value=pool.MAX_TTL_SECONDS, required=False)
    use = Text(min_length=1, max_length=16, required=False)


@extend_schema_field({"type": "number", "minimum": 0})
class RetryAfter(serializers.Field[float, Any, Any, Any]):
    """A JSON number of seconds, 0 and more."""

    def to_internal_value(self, data: Any) -> float:
        if isinstance(data, bool) or not isinstance(data, int | float) or not math.isfinite(data):
            raise serializers.ValidationError(_("Send a number of seconds."))
        if not 0 <= data <= pool.MAX_RETRY_AFTER_SECONDS:
            raise serializers.ValidationError(_("Send 0 to 2592000 seconds."))
        return float(data)

    def to_representation(self, value: float) -> float:
        return value


class ReportBody(BodySerializer):
    outcome = Text(min_length=1, max_length=32)
    retryAfter = RetryAfter(source="retry_after_seconds", required=False)
    message = Text(max_length=MAX_MESSAGE_LENGTH, allow_blank=True, required=False)


class ListQuery(BodySerializer):
    limit = QueryInteger(min_value=1, max_value=MAX_LIST, required=False)
    cursor = Text(max_length=64, required=False)


SORA_BODY, SORA_CHANGE_BODY = SoraBody(), SoraChangeBody()
GEMINI_BODY, GEMINI_CHANGE_BODY = GeminiBody(), GeminiChangeBody()
REASON_BODY, TOKENS_BODY, KEYS_BODY, MODEL_BODY = ReasonBody(), TokensBody(), KeysBody(), ModelBody()
LEASE_BODY, REPORT_BODY, LIST_QUERY = LeaseBody(), ReportBody(), ListQuery()


def _gemini_fields(body: dict[str, Any]) -> dict[str, Any]:
    """`apiKey`, or `api_key` as older callers spell it, under the name of the house."""
    spelled = {name: body.pop(name) for name in ("api_key", "apiKey") if name in body}
    return body | ({"secret": spelled.get("apiKey", spelled.get("api_key"))} if spelled else {})


def import_item(provider: str, item: Any) -> dict[str, Any]:
    """One item of a bulk body as the verb takes it; a malformed one carries its `error`. A text is a bare Gemini key."""
    if isinstance(item, str) and provider == "gemini":
        item = {"apiKey": item}
    if not isinstance(item, Mapping):
        return {"error": _("Send an object.")}
    try:
        fields: dict[str, Any] = (SORA_BODY if provider == "sora" else GEMINI_BODY).run_validation(item)
    except (serializers.ValidationError, WauleError) as error:
        return {"error": str(error_handler.as_waule_error(error))}
    fields.pop("reason", None)
    return _gemini_fields(fields)


# --- answers -------------------------------------------------------------------------------------------------------


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


def service_answer(row: Service) -> dict[str, Any]:
    return {
        "name": row.name,
        "status": row.status,
        "latencyMs": row.latency_ms,
        "checkedAt": iso(row.checked_at),
        "message": row.message,
    }


# --- credentials ---------------------------------------------------------------------------------------------------


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
        body = _gemini_fields(self.read_body(request, GEMINI_BODY))
        body.pop("reason", None)
        row = credentials.add(provider="gemini", **body, **self.by(request))
        return answer({"success": True} | _credential_answer(row), status=201)

    @extend_schema(request=GeminiChangeBody, responses=dict)
    def partial_update(self, request: Request, credential_id: str) -> Response:
        return self.change(request, credential_id, _gemini_fields(self.read_body(request, GEMINI_CHANGE_BODY)))

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


# --- models and health ---------------------------------------------------------------------------------------------


class Models(ApiViewSet):
    model = AIModel

    @extend_schema(responses=dict)
    def list(self, request: Request) -> Response:
        return answer(models_answer())

    @extend_schema(request=ModelBody, responses=dict)
    def partial_update(self, request: Request, model_id: str) -> Response:
        body = self.read_body(request, MODEL_BODY)
        model_pk = parse_uuid(model_id)
        row = AIModel.objects.filter(pk=model_pk).first() if model_pk else None
        if row is None:
            raise NotFound
        row = switches.switch_model(model=row, **body, actor=actor_of(self, request), request=request._request)
        shown = model_answer(row, is_on=row.is_on(timezone.now()))
        return answer({"success": True} | shown | {"disabledUntil": iso(row.disabled_until)})


class Health(ApiViewSet):
    model = Service
    verbs = {"check": "change"}

    @extend_schema(responses=dict)
    def list(self, request: Request) -> Response:
        return answer({"services": [service_answer(row) for row in health.last_results()]})

    @extend_schema(request=None, responses=dict)
    def check(self, request: Request) -> Response:
        return answer({"services": [service_answer(row) for row in health.check()]})


class InternalSoraTokens(SoraTokens, InternalViewSet):
    pass


class InternalGeminiKeys(GeminiKeys, InternalViewSet):
    pass


class InternalModels(Models, InternalViewSet):
    pass


class InternalHealth(Health, InternalViewSet):
    pass


class StaffSoraTokens(SoraTokens, StaffViewSet):
    pass


class StaffGeminiKeys(GeminiKeys, StaffViewSet):
    pass


class StaffModels(Models, StaffViewSet):
    pass


class StaffHealth(Health, StaffViewSet):
    pass


# --- the pool ------------------------------------------------------------------------------------------------------


class Leases(InternalViewSet):
    @extend_schema(request=LeaseBody, responses=dict, operation_id="lease_credential")
    def create(self, request: Request) -> Response:
        lease = pool.lease(**self.read_body(request, LEASE_BODY))
        response = answer(
            {
                "leaseId": str(lease.lease_id),
                "credentialId": str(lease.credential_id),
                "secret": lease.secret,
                "expiresAt": iso(lease.expires_at),
            }
        )
        response["Cache-Control"] = "no-store"
        return response

    @extend_schema(request=ReportBody, responses=dict, operation_id="report_lease")
    def report(self, request: Request, lease_id: str) -> Response:
        pool.report(lease_id, **self.read_body(request, REPORT_BODY))
        return answer({"success": True, "leaseId": lease_id})
