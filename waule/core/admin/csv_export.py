"""Lists as CSV: streamed, bounded, harmless in a spreadsheet, without secrets. Times are the reader's; their columns say so."""

import csv
import json
import tempfile
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from django.db import models
from django.http import StreamingHttpResponse
from django.utils import timezone

from waule.core.crypto.encryption import EncryptedTextField

MAX_CSV_ROWS = 100_000
_CHUNK_ROWS = 2_000
_MEMORY_BYTES = 256 << 10
_NEVER_EXPORTED = frozenset({"password", "key_hash", "fingerprint", "idempotency_key", "list_preferences"})
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


class LineWriter:
    """A file that hands each line back instead of keeping it."""

    def write(self, line: str) -> str:
        return line


def exported_fields(model: type[models.Model]) -> list[models.Field]:
    """Return the columns of `model` that may leave the house."""
    return [
        field
        for field in model._meta.concrete_fields
        if not isinstance(field, EncryptedTextField) and field.name not in _NEVER_EXPORTED
    ]


def cell(value: Any) -> Any:
    """`value` as a spreadsheet may have it: text that it would calculate gets an apostrophe in front."""
    if isinstance(value, datetime):
        return f"{timezone.localtime(value):%Y-%m-%d %H:%M:%S}"
    if isinstance(value, dict | list):
        value = json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS):
        return f"'{value}"
    return "" if value is None else value


def written_out(lines: Iterable[str]) -> Iterator[bytes]:
    """Write `lines` to a temporary file now, with whatever they need of the database, and return its content for sending."""
    file = tempfile.SpooledTemporaryFile(max_size=_MEMORY_BYTES)  # noqa: SIM115  (closed when it was sent, or dropped)
    for line in lines:
        file.write(line.encode())
    file.seek(0)
    return iter(lambda: file.read(_MEMORY_BYTES), b"")


def export_csv(queryset: models.QuerySet) -> StreamingHttpResponse:
    """The first `MAX_CSV_ROWS` rows of `queryset` as a download."""
    model = queryset.model
    fields = exported_fields(model)
    names = [field.attname for field in fields]
    zone = timezone.get_current_timezone_name()
    heads = [f"{field.attname} ({zone})" if isinstance(field, models.DateTimeField) else field.attname for field in fields]
    writer = csv.writer(LineWriter())
    rows = queryset.select_related(None).values_list(*names)[:MAX_CSV_ROWS].iterator(chunk_size=_CHUNK_ROWS)

    def lines() -> Iterator[str]:
        yield "\ufeff" + writer.writerow(heads)  # the mark by which spreadsheets know UTF-8
        for row in rows:
            yield writer.writerow([cell(value) for value in row])

    response = StreamingHttpResponse(written_out(lines()), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{model._meta.model_name}.csv"'
    response["Cache-Control"] = "no-store"
    return response
