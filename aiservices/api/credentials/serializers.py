"""What may be sent about Sora tokens and Gemini keys, one or many."""

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from aiservices.credentials import services as credentials
from aiservices.credentials.bulk import MAX_IMPORT
from aiservices.credentials.pasted import Pasted, read
from aiservices.credentials.secrets import MAX_SECRET_LENGTH, check_proxy_url
from waule.core.errors import InvalidRequest, WauleError
from waule.core.http import error_handler
from waule.core.http.api_base import MAX_VERSION_LENGTH
from waule.core.http.fields import BodySerializer, Flag, Integer, QueryInteger, Text

MAX_LIST = 1000
MAX_LIMIT = 2**31 - 1


class ProxyURL(Text):
    def to_internal_value(self, data: Any) -> str:
        try:
            return check_proxy_url(super().to_internal_value(data))
        except InvalidRequest as error:
            raise serializers.ValidationError(error.details["fields"]["proxy_url"]) from None


class VersionedBody(BodySerializer):
    """A change, with the version of the row that the caller has read."""

    version = Text(max_length=MAX_VERSION_LENGTH, required=False)


class PoolBody(VersionedBody):
    name = Text(max_length=200, allow_blank=True, required=False)
    isActive = Flag(source="is_active", required=False)
    priority = Integer(min_value=-1000, max_value=1000, required=False)
    weight = Integer(min_value=1, max_value=1000, required=False)
    maxInFlight = Integer(source="max_in_flight", min_value=-1, max_value=MAX_LIMIT, required=False)
    dailyLimit = Integer(source="daily_limit", min_value=-1, max_value=MAX_LIMIT, required=False)


class SoraChangeBody(PoolBody):
    token = Text(source="secret", min_length=1, max_length=MAX_SECRET_LENGTH, required=False)
    st = Text(source="session_token", max_length=MAX_SECRET_LENGTH, allow_blank=True, required=False)
    rt = Text(source="refresh_token", max_length=MAX_SECRET_LENGTH, allow_blank=True, required=False)
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
    token = Text(source="secret", min_length=1, max_length=MAX_SECRET_LENGTH)


class GeminiChangeBody(PoolBody):
    apiKey = Text(min_length=1, max_length=MAX_SECRET_LENGTH, required=False)
    api_key = Text(min_length=1, max_length=MAX_SECRET_LENGTH, required=False)
    reason = Text(max_length=credentials.MAX_REASON_LENGTH, allow_blank=True, required=False)


class GeminiBody(GeminiChangeBody):
    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "apiKey" not in attrs and "api_key" not in attrs:
            raise serializers.ValidationError({"apiKey": [_("This field is required.")]})
        return attrs


class ReasonBody(BodySerializer):
    reason = Text(max_length=credentials.MAX_REASON_LENGTH, allow_blank=True, required=False)


class TokensBody(BodySerializer):
    tokens = serializers.ListField(allow_empty=False, max_length=MAX_IMPORT)


class KeysBody(BodySerializer):
    keys = serializers.ListField(allow_empty=False, max_length=MAX_IMPORT)


class ListQuery(BodySerializer):
    limit = QueryInteger(min_value=1, max_value=MAX_LIST, required=False)
    cursor = Text(max_length=64, required=False)


SORA_BODY, SORA_CHANGE_BODY = SoraBody(), SoraChangeBody()
GEMINI_BODY, GEMINI_CHANGE_BODY = GeminiBody(), GeminiChangeBody()
REASON_BODY, TOKENS_BODY, KEYS_BODY, LIST_QUERY = ReasonBody(), TokensBody(), KeysBody(), ListQuery()


def gemini_fields(body: dict[str, Any]) -> dict[str, Any]:
    """`apiKey`, or `api_key` as older callers spell it, under the name of the house."""
    spelled = {name: body.pop(name) for name in ("api_key", "apiKey") if name in body}
    return body | ({"secret": spelled.get("apiKey", spelled.get("api_key"))} if spelled else {})


def import_item(provider: str, item: Any) -> dict[str, Any]:
    """Return one item of a bulk body, or one line of a file, as the verb takes it; a malformed one carries its `error`."""
    if isinstance(item, str) and provider == "gemini":
        item = read(provider, item)
    if isinstance(item, Pasted):
        return item.item(provider)
    if not isinstance(item, Mapping):
        return {"error": _("Send an object.")}
    try:
        fields: dict[str, Any] = (SORA_BODY if provider == "sora" else GEMINI_BODY).run_validation(item)
    except (serializers.ValidationError, WauleError) as error:
        return {"error": str(error_handler.as_waule_error(error))}
    fields.pop("reason", None)
    fields.pop("version", None)
    fields = gemini_fields(fields)
    if "secret" not in fields:
        return fields
    return read(provider, fields.pop("secret")).item(provider) | fields
