"""Fields for sizes: what a body says about size is read here, once."""

from typing import Any

from django.utils.translation import gettext_lazy as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from billing.catalog.pricing import READABLE_SIZES, Size, read_size
from waule.core.http.fields import Text

MAX_SIZE_LENGTH = 64


@extend_schema_field(OpenApiTypes.STR)
class PricedSize(Text):
    """A size that only a price depends on. What cannot be read is priced as a size that no row covers."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=MAX_SIZE_LENGTH, allow_blank=True, required=False, **kwargs)

    def run_validation(self, data: Any = serializers.empty) -> Size:
        return read_size(super().run_validation(data))

    def to_representation(self, value: Any) -> str:
        return str(value)


@extend_schema_field({"type": "string", "maxLength": MAX_SIZE_LENGTH, "examples": ["1024x1024", "2K", "720p", "16:9", "auto"]})
class OrderedSize(PricedSize):
    """A size that something is made in: `1024x1024`, `2K`, `720p`, `16:9`, `auto`, or empty for the model's default."""

    def run_validation(self, data: Any = serializers.empty) -> Size:
        size = super().run_validation(data)
        if not size.is_readable:
            raise serializers.ValidationError(
                _("This size cannot be read. Send one such as these: %(sizes)s.") % {"sizes": READABLE_SIZES}
            )
        return size
