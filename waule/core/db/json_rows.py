"""Rows of a model as JSON documents: one parameter carries a row, or any number of them, into a prepared statement.

PostgreSQL reads them with `json_to_record` and `json_to_recordset`, whose columns `record_of` spells.
"""

import json
from collections.abc import Iterable
from functools import cache
from operator import attrgetter
from typing import Any

from django.db import connection, models


def as_json(rows: Any) -> str:
    return json.dumps(rows, default=str, separators=(",", ":"))


def objects(model: type[models.Model], rows: Iterable[models.Model]) -> list[dict[str, Any]]:
    names = [field.column for field in _fields(model)]
    values_of = attrgetter(*[field.attname for field in _fields(model)])
    return [dict(zip(names, values_of(row), strict=True)) for row in rows]


@cache
def _fields(model: type[models.Model]) -> tuple[Any, ...]:
    """Return its columns but a number that the database gives."""
    return tuple(field for field in model._meta.concrete_fields if not isinstance(field, models.AutoField))


def record_of(model: type[models.Model]) -> str:
    """Return how PostgreSQL reads a row from a document of `objects`: json_to_record(…) AS ‹this›."""
    return f"v({', '.join(f'{field.column} {field.db_type(connection)}' for field in _fields(model))})"


def columns_of(model: type[models.Model]) -> list[str]:
    return [field.column for field in _fields(model)]
