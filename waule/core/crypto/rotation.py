"""Re-encryption of every stored secret under the newest key."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import connection, models

from waule.core.crypto.encryption import EncryptedTextField, SecretUnreadable, is_bound, key_number, open_sealed, place_of, seal
from waule.core.fail_points import failpoint

PAGE = 500  # rows read at a time


@dataclass
class Rotation:
    """What was done: secrets sealed anew, secrets that were right already, and those that no key opens.

    `in_use` counts, for each of ENCRYPTION_KEYS, the secrets that need it afterwards: a key is dropped only when that is 0.
    """

    rotated: int = 0
    current: int = 0
    unreadable: list[str] = field(default_factory=list)
    in_use: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Cell:
    """One sealed secret: the bytes as they lie in the row, and the place that they belong to."""

    model: type[models.Model]
    column: EncryptedTextField
    pk: Any
    place: str
    sealed: bytes

    def __str__(self) -> str:
        return f"{self.model._meta.label} {self.pk} {self.column.name}"


def encrypted_columns() -> Iterator[tuple[type[models.Model], EncryptedTextField]]:
    """Yield every column that holds secrets, of every model."""
    for model in apps.get_models():
        for column in model._meta.concrete_fields:
            if isinstance(column, EncryptedTextField):
                yield model, column


def cells() -> Iterator[Cell | None]:
    """Yield every stored secret; None for a row without one."""
    for model, column in encrypted_columns():
        yield from _cells(model, column)


def rotate(progress: Callable[[int, int], None] = lambda done, total: None) -> Rotation:
    """Seal every secret under the newest of ENCRYPTION_KEYS, for its own row and column.

    Can be stopped and run again: each row is its own step. A secret that somebody changes meanwhile is left as they wrote it.
    """
    result = Rotation()
    total = sum(model._default_manager.count() for model, _column in encrypted_columns())
    for done, cell in enumerate(cells(), 1):
        progress(done, total)
        if cell is None:
            continue
        try:
            value = open_sealed(cell.sealed, cell.place)
        except SecretUnreadable:
            result.unreadable.append(str(cell))
            continue
        if key_number(cell.sealed) == 0 and is_bound(cell.sealed):
            result.current += 1
        else:
            result.rotated += _replace(cell, seal(value, cell.place))
            failpoint("rotation.between_rows")
    result.in_use = keys_in_use()
    return result


def keys_in_use() -> list[int]:
    """Return how many stored secrets need each of ENCRYPTION_KEYS, newest key first."""
    found = Counter(key_number(cell.sealed) for cell in cells() if cell is not None)
    return [found[number] for number in range(len(settings.ENCRYPTION_KEYS))]


def _cells(model: type[models.Model], column: EncryptedTextField) -> Iterator[Cell | None]:
    """Page by page in the order of the primary keys."""
    rows = model._default_manager.order_by("pk").annotate(
        sealed_bytes=models.expressions.RawSQL(  # noqa: S611  (our own column's name)
            connection.ops.quote_name(str(column.column)), [], output_field=models.BinaryField()
        )
    )
    names = ("pk", column.bound_to, "sealed_bytes")
    page = list(rows.values_list(*names)[:PAGE])
    while page:
        for pk, bound, sealed in page:
            place = place_of(model, str(column.column), bound)
            yield Cell(model, column, pk, place, bytes(sealed)) if sealed else None
        page = list(rows.filter(pk__gt=page[-1][0]).values_list(*names)[:PAGE])


def _replace(cell: Cell, new: bytes) -> int:
    """Write `new` where the old bytes still stand; how many rows that were."""
    quoted = connection.ops.quote_name
    key = cell.model._meta.pk
    assert key is not None
    name = quoted(str(cell.column.column))
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {quoted(cell.model._meta.db_table)} SET {name} = %s "  # noqa: S608  (our own names)
            f"WHERE {quoted(str(key.column))} = %s AND {name} = %s",
            [_binary(new), key.get_db_prep_value(cell.pk, connection), _binary(cell.sealed)],
        )
        return int(cursor.rowcount)


def _binary(value: bytes) -> Any:
    database: Any = connection.Database  # type: ignore[attr-defined]
    return database.Binary(value)
