"""Serializer fields that take JSON types and nothing else."""

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.utils.dateparse import parse_datetime
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

SECONDS_SCHEMA = {"type": "number", "exclusiveMinimum": 0, "maximum": 86400}


class BodySerializer(serializers.Serializer[Any]):
    """Fields of a body or query. `null` in an optional field is the same as leaving it out; unknown fields are ignored."""

    def run_validation(self, data: Any = serializers.empty) -> Any:
        if isinstance(data, Mapping):
            optional = self._optional_names
            data = {name: value for name, value in data.items() if value is not None or name not in optional}
            return self.validate(self.to_internal_value(data))
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


class AnswerSerializer(serializers.Serializer[Any]):
    """What an answer looks like, for the OpenAPI document. Nothing is rendered through it; tests compare it with the answers."""


class Constant(serializers.ReadOnlyField):
    """A text in an answer that is always the same, such as `object`."""

    def __init__(self, value: str) -> None:
        self.value = value
        super().__init__()


class Text(serializers.CharField):
    """A JSON string of bounded length."""

    def __init__(self, *, max_length: int, **kwargs: Any) -> None:
        kwargs.setdefault("trim_whitespace", False)
        super().__init__(max_length=max_length, **kwargs)
        self.lengths = range(max(self.min_length or 0, 0 if self.allow_blank else 1), max_length + 1)
        reads_itself = type(self).to_internal_value is not Text.to_internal_value  # a subclass that has more to say
        self.is_plain = not (self.trim_whitespace or "validators" in kwargs or reads_itself)

    def run_validation(self, data: Any = serializers.empty) -> Any:
        """Let through what is right; DRF's way words what is wrong. (`strict_json` has looked at the characters.)"""
        if self.is_plain and type(data) is str and len(data) in self.lengths:
            return data
        return super().run_validation(data)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            raise serializers.ValidationError(_("Send a text."))
        return super().to_internal_value(data)


class Integer(serializers.IntegerField):
    """A JSON integer: no boolean, no text, no 5.0."""

    def run_validation(self, data: Any = serializers.empty) -> Any:
        low, high = self.min_value, self.max_value
        if type(data) is int and (low is None or low <= data) and (high is None or data <= high):
            return data
        return super().run_validation(data)

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
class Timestamp(serializers.Field[datetime, Any, Any, Any]):
    """An ISO 8601 timestamp with a zone."""

    def to_internal_value(self, data: Any) -> datetime:
        try:
            timestamp = parse_datetime(data.replace(" ", "+")) if isinstance(data, str) and len(data) <= 40 else None
        except ValueError:
            timestamp = None
        if timestamp is None or timestamp.tzinfo is None:
            raise serializers.ValidationError(_("Send an ISO 8601 timestamp with its zone, such as 2026-11-22T08:00:00Z."))
        return timestamp

    def to_representation(self, value: datetime) -> str | None:
        return iso(value)


def iso(timestamp: datetime | None) -> str | None:
    """Return how moments are written in answers: UTC, with microseconds."""
    return timestamp.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z") if timestamp else None
