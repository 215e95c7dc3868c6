"""DRF's parser by the rules of `waule.core.http.strict_json`.

In a module of its own: DRF imports it while its views are being defined.
"""

from typing import Any, cast

from django.conf import settings
from django.utils.translation import gettext_lazy as _
from rest_framework.parsers import BaseParser

from waule.core.errors import InvalidRequest, TooLarge, UnsupportedMediaType
from waule.core.http import strict_json


def read_limited(stream: Any, content_length: str | int | None, limit: int) -> bytes:
    """Return the whole body, at most `limit` bytes.

    Raises:
        TooLarge: the body is longer, whatever its Content-Length said.
        InvalidRequest: it is shorter than its Content-Length: the connection was cut.
    """
    try:
        announced = int(content_length or 0)
    except ValueError:
        announced = 0
    if announced > limit:
        raise _too_large(limit)
    raw = cast(bytes, stream.read(limit + 1))
    if len(raw) > limit:
        raise _too_large(limit)
    if len(raw) < announced:
        raise InvalidRequest(_("The request body ended before its Content-Length."))
    return raw


def _too_large(limit: int) -> TooLarge:
    return TooLarge(_("The request body is larger than %(limit)s bytes.") % {"limit": limit}, limitBytes=limit)


def check_charset(content_type: str) -> None:
    """Raise UnsupportedMediaType for any charset but UTF-8."""
    for part in content_type.split(";")[1:]:
        name, _equals, value = part.partition("=")
        if name.strip().lower() == "charset" and value.strip().strip('"').lower() not in {"utf-8", "utf8"}:
            raise UnsupportedMediaType(_("Send UTF-8; this charset is not read here."))


class StrictJSONParser(BaseParser):
    """JSON by the rules of `waule.core.http.strict_json`, of at most MAX_BODY_BYTES."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        request = parser_context["request"]
        limit = getattr(parser_context["view"], "max_body_bytes", settings.MAX_BODY_BYTES)
        check_charset(request.META.get("CONTENT_TYPE", ""))
        return strict_json.parse(read_limited(stream, request.META.get("CONTENT_LENGTH"), limit))
