"""What OpenAI's clients write in their own way: sizes, seconds, pictures, forms with files."""

import base64
import re
from decimal import Decimal
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.parsers import MultiPartParser

from aiservices.api_platform import MAX_REFERENCE_LENGTH
from gateway_client.fetch import IMAGE_TYPES, sniff
from waule import strict_json
from waule.api_base import Seconds, Text
from waule.errors import InvalidRequest, TooLarge
from waule.strict_parser import check_charset

_SIZE = re.compile(r"(?i)[1-9][0-9]{0,4}[x*×][1-9][0-9]{0,4}|[1248]k|u?hd|fhd|[1-9][0-9]{1,4}p|[0-9]{1,3}:[0-9]{1,3}|auto")
_SECONDS = re.compile(r"[0-9]{1,5}(?:\.[0-9]{1,3})?")


class Size(Text):
    """`1024x1024`, or a name such as `2K` or `720p`: the resolution that is made and priced."""

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data).strip()
        if text and not _SIZE.fullmatch(text):
            raise serializers.ValidationError(_("Send a size such as 1024x1024."))
        return text


class SecondsText(Seconds):
    """Seconds as OpenAI's clients send them, as text; a number will do too."""

    def to_internal_value(self, data: Any) -> Decimal:
        if not isinstance(data, str):
            return super().to_internal_value(data)
        text = data.strip()
        if not _SECONDS.fullmatch(text) or not 0 < Decimal(text) <= self.maximum:
            raise serializers.ValidationError(_("Send the seconds as text, such as “4”."))
        return Decimal(text)


@extend_schema_field(
    {
        "oneOf": [
            {"type": "string", "contentMediaType": "application/octet-stream"},
            {"type": "object", "properties": {"image_url": {"type": "string"}}},
        ]
    }
)
class InputReference(serializers.Field[str, Any, Any, Any]):
    """An uploaded picture, or `{"image_url": …}`, or the URL itself; as a URL or data URI."""

    def to_internal_value(self, data: Any) -> str:
        if isinstance(data, UploadedFile):
            picture = data.read()
            content_type = sniff(picture[:32])
            if content_type not in IMAGE_TYPES:
                raise serializers.ValidationError(_("This file is no picture (PNG, JPEG, WebP or GIF)."))
            return f"data:{content_type};base64,{base64.b64encode(picture).decode()}"
        if isinstance(data, dict):
            data = data.get("image_url")
        if not isinstance(data, str) or not 1 <= len(data) <= MAX_REFERENCE_LENGTH:
            raise serializers.ValidationError(_("Send a picture, or an object with its image_url."))
        return data

    def to_representation(self, value: str) -> str:
        return value


class LimitedMultiPartParser(MultiPartParser):
    """A form with files, of at most the resource's `max_body_bytes`, each field once."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        request, limit = parser_context["request"], parser_context["view"].max_body_bytes
        check_charset(request.META.get("CONTENT_TYPE", ""))
        announced = str(request.META.get("CONTENT_LENGTH") or "0")
        if not announced.isdigit() or int(announced) > limit:
            raise TooLarge(limitBytes=limit)
        parsed = super().parse(stream, media_type, parser_context)
        fields: dict[str, Any] = {}
        for name, values in [*parsed.data.lists(), *parsed.files.lists()]:
            strict_json.check_text(name)
            if len(values) > 1 or name in fields:
                raise InvalidRequest.of_field(name, _("Give this field once."))
            if isinstance(values[0], str):
                strict_json.check_text(values[0])
            fields[name] = values[0]
        if "input_reference[image_url]" in fields:
            fields["input_reference"] = {"image_url": fields.pop("input_reference[image_url]")}
        return fields
