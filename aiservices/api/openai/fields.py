"""What OpenAI's clients write in their own way: seconds, pictures, forms with files."""

import base64
import re
from decimal import Decimal
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.parsers import MultiPartParser

from aiservices.api.platform import MAX_REFERENCE_LENGTH
from gateway_client.fetch import IMAGE_TYPES, sniff
from waule.core.errors import InvalidRequest, TooLarge
from waule.core.http import strict_json
from waule.core.http.fields import SECONDS_SCHEMA, Seconds
from waule.core.http.strict_parser import check_charset

_SECONDS = re.compile(r"[0-9]{1,5}(?:\.[0-9]{1,3})?")


@extend_schema_field({"anyOf": [{"type": "string", "pattern": f"^{_SECONDS.pattern}$"}, SECONDS_SCHEMA]})
class SecondsText(Seconds):
    """Seconds as OpenAI's clients send them, as text; a number will do too."""

    def to_internal_value(self, data: Any) -> Decimal:
        if not isinstance(data, str):
            return super().to_internal_value(data)
        text = data.strip()
        if not _SECONDS.fullmatch(text) or not 0 < Decimal(text) <= self.maximum:
            raise serializers.ValidationError(_("Send the seconds as text, such as “4”."))
        return Decimal(text)


IMAGE_REFERENCE_SCHEMA = {
    "oneOf": [
        {"type": "string", "contentMediaType": "application/octet-stream"},
        {"type": "object", "properties": {"image_url": {"type": "string"}}},
    ]
}


@extend_schema_field(IMAGE_REFERENCE_SCHEMA)
class ImageReference(serializers.Field[str, Any, Any, Any]):
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


FORM_INTEGERS = frozenset({"n", "output_compression", "partial_images", "seed"})
FORM_FLAGS = {"true": True, "false": False}
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")


def typed(name: str, value: Any) -> Any:
    """Return a form's text as the JSON value that it stands for, where the field is a number or a flag."""
    if not isinstance(value, str):
        return value
    if name in FORM_INTEGERS and _INTEGER.fullmatch(value):
        return int(value)
    return FORM_FLAGS.get(value, value) if name == "stream" else value


class LimitedMultiPartParser(MultiPartParser):
    """A form with files, of at most the resource's `max_body_bytes`, each field once but those that its `several` names."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        request, limit = parser_context["request"], parser_context["view"].max_body_bytes
        check_charset(request.META.get("CONTENT_TYPE", ""))
        announced = str(request.META.get("CONTENT_LENGTH") or "0")
        if not announced.isdigit() or int(announced) > limit:
            raise TooLarge(limitBytes=limit)
        parsed = super().parse(stream, media_type, parser_context)
        fields: dict[str, Any] = {}
        several: frozenset[str] = getattr(parser_context["view"], "several", frozenset())
        for name, values in [*parsed.data.lists(), *parsed.files.lists()]:
            strict_json.check_text(name)
            if name in fields or (len(values) > 1 and name not in several):
                raise InvalidRequest.of_field(name, _("Give this field once."))
            for value in values:
                if isinstance(value, str):
                    strict_json.check_text(value)
            fields[name] = values if name in several else typed(name, values[0])
        if "input_reference[image_url]" in fields:
            fields["input_reference"] = {"image_url": fields.pop("input_reference[image_url]")}
        return fields
