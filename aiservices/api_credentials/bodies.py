"""What may be sent about Sora tokens and Gemini keys, one or many."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from aiservices import credentials
from waule import error_handler
from waule.api_base import (
    BodySerializer,
    Flag,
    Integer,
    QueryInteger,
    Text,
)
from waule.errors import WauleError

MAX_LIST = 1000
MAX_LIMIT = 2**31 - 1
PROXY_SCHEMES = {"http", "https", "socks5", "socks5h"}


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
    return gemini_fields(fields)
