"""Lists as CSV: streamed, bounded, harmless in a spreadsheet, without secrets."""

import csv
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from django.db import models
from django.http import StreamingHttpResponse

from waule.encryption import EncryptedTextField

MAX_CSV_ROWS = 100_000
_CHUNK_ROWS = 2_000
_NEVER_EXPORTED = frozenset({"password", "key_hash", "fingerprint", "idempotency_key"})
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


class _Line:
    """A file that hands each line back instead of keeping it."""

    def write(self, line: str) -> str:
        return line


def exported_fields(model: type[models.Model]) -> list[models.Field]:
    """The columns of `model` that may leave the house."""
    return [
        field
        for field in model._meta.concrete_fields
        if not isinstance(field, EncryptedTextField) and field.name not in _NEVER_EXPORTED
    ]


def cell(value: Any) -> Any:
    """`value` as a spreadsheet may have it: text that it would calculate gets an apostrophe in front."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, dict | list):
        value = json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS):
        return f"'{value}"
    return "" if value is None else value


def export_csv(queryset: models.QuerySet) -> StreamingHttpResponse:
    """The first `MAX_CSV_ROWS` rows of `queryset` as a download."""
    model = queryset.model
    names = [field.attname for field in exported_fields(model)]
    writer = csv.writer(_Line())
    rows = queryset.select_related(None).values_list(*names)[:MAX_CSV_ROWS].iterator(chunk_size=_CHUNK_ROWS)

    def lines() -> Iterator[str]:
        yield "\ufeff" + writer.writerow(names)  # the mark by which spreadsheets know UTF-8
        for row in rows:
            yield writer.writerow([cell(value) for value in row])

    response = StreamingHttpResponse(lines(), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{model._meta.model_name}.csv"'
    response["Cache-Control"] = "no-store"
    return response
