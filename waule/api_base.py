"""What every REST resource stands on: strict JSON in, one error shape out, and no work that nobody asked for."""

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast

from django.conf import settings
from django.utils.dateparse import parse_datetime
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers, viewsets
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from waule import strict_json
from waule.errors import InvalidRequest
from waule.internal_auth import HasInternalSecret, InternalSecretAuthentication
from waule.strict_parser import StrictJSONParser

MAX_IDEMPOTENCY_KEY_LENGTH = 255


class ApiViewSet(viewsets.ViewSet):
    """A resource. An action reads the body (`read_body`), calls a verb and answers."""

    parser_classes = [StrictJSONParser]
    renderer_classes = [JSONRenderer]
    max_body_bytes: int = settings.MAX_BODY_BYTES

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        renderer = self.renderer_classes[0]()
        return renderer, renderer.media_type

    def read_body(self, request: Request, serializer: "BodySerializer") -> dict[str, Any]:
        """The body's fields as the house names them. `serializer` is built once, at import: it keeps no state."""
        data = request.data
        if not isinstance(data, Mapping):
            raise InvalidRequest.of_field("body", _("Send a JSON object."))
        return cast(dict[str, Any], serializer.run_validation(data))

    def read_query(self, request: Request, serializer: "BodySerializer") -> dict[str, Any]:
        """The query's parameters, each at most once."""
        values: dict[str, str] = {}
        for name, given in request._request.GET.lists():
            strict_json.check_text(name)
            if len(given) > 1:
                raise InvalidRequest.of_field(name, _("Give this parameter once."))
            strict_json.check_text(given[0])
            values[name] = given[0]
        return cast(dict[str, Any], serializer.run_validation(values))


class InternalViewSet(ApiViewSet):
    """A resource of `/internal`."""

    authentication_classes = [InternalSecretAuthentication]
    permission_classes = [HasInternalSecret]


def idempotency_key(request: Request, *, required: bool = False) -> str | None:
    """The `Idempotency-Key` header: 1 to 255 printable ASCII characters without spaces at its ends.

    Raises:
        InvalidRequest: malformed, or missing where it is required.
    """
    sent = request.META.get("HTTP_IDEMPOTENCY_KEY")
    if sent is None:
        if required:
            raise InvalidRequest.of_field("Idempotency-Key", _("This call needs the header Idempotency-Key."))
        return None
    # The server joins a header that came twice with a comma. A key may have a comma; the same key twice is no key.
    half = len(sent) // 2
    if len(sent) % 2 and sent[half] == "," and sent[:half] == sent[half + 1 :]:
        raise InvalidRequest.of_field("Idempotency-Key", _("Send this header once."))
    return check_idempotency_key(sent)


def check_idempotency_key(key: str) -> str:
    """`key`, if it is a legal idempotency key."""
    if not 1 <= len(key) <= MAX_IDEMPOTENCY_KEY_LENGTH or not key.isascii() or not key.isprintable() or key != key.strip():
        raise InvalidRequest.of_field("Idempotency-Key", _("Use 1 to 255 printable ASCII characters without spaces at the ends."))
    return key


def answer(data: Mapping[str, Any], *, status: int = 200, replayed: bool = False) -> Response:
    """A successful answer; a replay says so in `Idempotent-Replayed`."""
    return Response(data, status=status, headers={"Idempotent-Replayed": "true"} if replayed else None)


SECONDS_SCHEMA = {"type": "number", "exclusiveMinimum": 0, "maximum": 86400}


# --- fields: JSON types and nothing else ---------------------------------------------------------------------------


class BodySerializer(serializers.Serializer[Any]):
    """Fields of a body or query. `null` in an optional field is the same as leaving it out; unknown fields are ignored."""

    def run_validation(self, data: Any = serializers.empty) -> Any:
        if isinstance(data, Mapping):
            optional = self._optional_names
            data = {name: value for name, value in data.items() if value is not None or name not in optional}
        return super().run_validation(data)

    def to_internal_value(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """As DRF's, but looks only at fields that were sent or have to be: none here has a default or a path as its source."""
        values: dict[str, Any] = {}
        errors: dict[str, Any] = {}
        for name, field in self._fields_by_name:
            given = data.get(name, serializers.empty)
            if given is serializers.empty and not field.required:
                continue
            try:
                values[field.source or name] = field.run_validation(given)
            except serializers.ValidationError as error:
                errors[name] = error.detail
        if errors:
            raise serializers.ValidationError(errors)
        return values

    @cached_property
    def _fields_by_name(self) -> tuple[tuple[str, serializers.Field], ...]:
        return tuple(self.fields.items())

    @cached_property
    def _optional_names(self) -> frozenset[str]:
        return frozenset(name for name, field in self.fields.items() if not field.required)


class Text(serializers.CharField):
    """A JSON string of bounded length."""

    def __init__(self, *, max_length: int, **kwargs: Any) -> None:
        kwargs.setdefault("trim_whitespace", False)
        super().__init__(max_length=max_length, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            raise serializers.ValidationError(_("Send a text."))
        return super().to_internal_value(data)


class Integer(serializers.IntegerField):
    """A JSON integer: no boolean, no text, no 5.0."""

    def to_internal_value(self, data: Any) -> int:
        if not isinstance(data, int) or isinstance(data, bool):
            raise serializers.ValidationError(_("Send an integer."))
        return data


class QueryInteger(serializers.IntegerField):
    """An integer in a query: ASCII digits and nothing else."""

    def to_internal_value(self, data: Any) -> int:
        if not (isinstance(data, str) and data.isascii() and data.isdigit() and len(data) <= 18):
            raise serializers.ValidationError(_("Send an integer."))
        return int(data)


@extend_schema_field(SECONDS_SCHEMA)
class Seconds(serializers.Field[Decimal, Any, Any, Any]):
    """A JSON number of seconds, 0 < s ≤ 86400, as an exact Decimal of what was written."""

    maximum = 86400

    def to_internal_value(self, data: Any) -> Decimal:
        if isinstance(data, bool) or not isinstance(data, int | float) or not math.isfinite(data):
            raise serializers.ValidationError(_("Send a number of seconds."))
        if not 0 < data <= self.maximum:
            raise serializers.ValidationError(_("Send more than 0 and at most 86400 seconds."))
        return Decimal(repr(data))

    def to_representation(self, value: Any) -> Any:
        return value


class Flag(serializers.BooleanField):
    """true or false, and nothing that merely looks like it."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            raise serializers.ValidationError(_("Send true or false."))
        return data


class JSONObject(serializers.DictField):
    """A JSON object of at most `max_bytes` bytes when written down."""

    def __init__(self, *, max_bytes: int, **kwargs: Any) -> None:
        self.max_bytes = max_bytes
        super().__init__(**kwargs)

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            raise serializers.ValidationError(_("Send an object."))
        if len(as_json(data)) > self.max_bytes:
            raise serializers.ValidationError(_("This object is larger than %(limit)s bytes.") % {"limit": self.max_bytes})
        return data


def as_json(value: Any) -> bytes:
    """`value` as compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


@extend_schema_field(OpenApiTypes.DATETIME)
class Moment(serializers.Field[datetime, Any, Any, Any]):
    """An ISO 8601 moment with a zone."""

    def to_internal_value(self, data: Any) -> datetime:
        try:
            moment = parse_datetime(data.replace(" ", "+")) if isinstance(data, str) and len(data) <= 40 else None
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            raise serializers.ValidationError(_("Send an ISO 8601 moment with its zone, such as 2026-11-22T08:00:00Z."))
        return moment

    def to_representation(self, value: datetime) -> str | None:
        return iso(value)


def iso(moment: datetime | None) -> str | None:
    """How moments are written in answers: UTC, with microseconds."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z") if moment else None
