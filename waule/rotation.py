"""Re-encryption of every stored secret under the newest key."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from django.apps import apps
from django.db import connection, models

from waule.encryption import EncryptedTextField, Unreadable, is_sealed_by_newest_key, open_sealed, seal
from waule.fail_points import reach

PAGE = 500  # rows read at a time


@dataclass
class Rotation:
    """What was done: secrets sealed anew, secrets that had the newest key already, and those that no key opens."""

    rotated: int = 0
    current: int = 0
    unreadable: list[str] = field(default_factory=list)


def encrypted_columns() -> Iterator[tuple[type[models.Model], EncryptedTextField]]:
    """Every column that holds secrets, of every model."""
    for model in apps.get_models():
        for column in model._meta.concrete_fields:
            if isinstance(column, EncryptedTextField):
                yield model, column


def rotate(progress: Callable[[int, int], None] = lambda done, total: None) -> Rotation:
    """Seals every secret under the newest of ENCRYPTION_KEYS. Can be stopped and run again: each row is its own step.

    A secret that somebody changes meanwhile is left as they wrote it.
    """
    result = Rotation()
    columns = list(encrypted_columns())
    total = sum(model._default_manager.count() for model, _column in columns)
    done = 0
    for model, column in columns:
        for pk, sealed in _sealed_values(model, column):
            done += 1
            progress(done, total)
            if sealed is None:
                continue
            if is_sealed_by_newest_key(sealed):
                result.current += 1
            elif isinstance(value := open_sealed(sealed), Unreadable):
                result.unreadable.append(f"{model._meta.label} {pk} {column.name}")
            else:
                result.rotated += _replace(model, column, pk, sealed, seal(value))
                reach("rotation.between_rows")
    return result


def _sealed_values(model: type[models.Model], column: EncryptedTextField) -> Iterator[tuple[object, bytes | None]]:
    """Primary keys with the bytes as they lie in the row, page by page in the order of the keys."""
    rows = model._default_manager.order_by("pk").annotate(
        sealed=models.expressions.RawSQL(  # noqa: S611  (our own column's name)
            connection.ops.quote_name(str(column.column)), [], output_field=models.BinaryField()
        )
    )
    page = list(rows.values_list("pk", "sealed")[:PAGE])
    while page:
        for pk, sealed in page:
            yield pk, None if sealed is None else bytes(sealed)
        page = list(rows.filter(pk__gt=page[-1][0]).values_list("pk", "sealed")[:PAGE])


def _replace(model: type[models.Model], column: EncryptedTextField, pk: Any, old: bytes, new: bytes) -> int:
    """Writes `new` where `old` still stands; how many rows that were."""
    table, name = connection.ops.quote_name(model._meta.db_table), connection.ops.quote_name(str(column.column))
    key = model._meta.pk
    assert key is not None
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {table} SET {name} = %s "  # noqa: S608  (our own names)
            f"WHERE {connection.ops.quote_name(str(key.column))} = %s AND {name} = %s",
            [_binary(new), key.get_db_prep_value(pk, connection), _binary(old)],
        )
        return int(cursor.rowcount)


def _binary(value: bytes) -> Any:
    database: Any = connection.Database  # type: ignore[attr-defined]
    return database.Binary(value)
