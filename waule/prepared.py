"""Statements that are parsed and planned once for each connection, not at each call.

PostgreSQL alone has them; elsewhere, and with `DATABASE_PREPARED_STATEMENTS` off (behind a pooler that hands out
connections by the transaction), the same text is sent as it is.
"""

import itertools
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connection
from django.db.models import QuerySet

_numbers = itertools.count(1)
_prepared: "WeakKeyDictionary[Any, set[str]]" = WeakKeyDictionary()  # by psycopg2's connection


class Prepared:
    """One statement. `types` are PostgreSQL's names of its parameters' types, in order; in `sql` they are written `%s`."""

    def __init__(self, sql: str, types: Sequence[str]) -> None:
        self.sql = sql
        self.name = f"waule_{next(_numbers)}"
        parts = sql.split("%s")
        assert len(parts) == len(types) + 1, "a type for each parameter"
        numbered = parts[0] + "".join(f"${number}{part}" for number, part in enumerate(parts[1:], 1))
        self.preparation = f"PREPARE {self.name} ({', '.join(types)}) AS {numbered}"
        self.execution = f"EXECUTE {self.name} ({', '.join(['%s'] * len(types))})"

    def run(self, cursor: Any, parameters: Sequence[Any]) -> None:
        """Executes it on a cursor of Django's."""
        database = cursor.db
        if database.vendor != "postgresql" or not settings.DATABASE_PREPARED_STATEMENTS:
            cursor.execute(self.sql, parameters)
            return
        known = _prepared.setdefault(database.connection, set())
        if self.name not in known:
            cursor.execute(self.preparation)
            known.add(self.name)
        cursor.execute(self.execution, parameters)


class PreparedQuery:
    """A query of `values_list`, compiled from Django's models once and then prepared.

    `make` builds the queryset from its parameters, which must come up in its SQL once each and in their order; `stand_ins`
    are values of the right kinds to compile it with, unlike any other value in it: those are written into the statement, so
    that the planner can tell which partial index answers. Django's own way (elsewhere than on PostgreSQL) asks the same.
    """

    def __init__(
        self, make: Callable[..., QuerySet[Any, tuple[Any, ...]]], stand_ins: Sequence[Any], types: Sequence[str]
    ) -> None:
        self.make, self.stand_ins, self.types = make, tuple(stand_ins), types

    def first(self, *parameters: Any) -> tuple[Any, ...] | None:
        """The only row; None where there is none."""
        if connection.vendor != "postgresql":
            return next(iter(self.make(*parameters)[:1]), None)
        prepared, compiler, converters = self._compiled
        with connection.cursor() as cursor:
            prepared.run(cursor, parameters)
            row = cursor.fetchone()
        return None if row is None else tuple(next(compiler.apply_converters([row], converters)))

    @cached_property
    def _compiled(self) -> tuple[Prepared, Any, Any]:
        compiler: Any = self.make(*self.stand_ins).query.get_compiler(DEFAULT_DB_ALIAS)
        sql, values = compiler.as_sql()
        assert [value for value in values if value in self.stand_ins] == list(self.stand_ins), "each once, in their order"
        first, *rest = sql.split("%s")
        operations: Any = connection.ops
        written = ["%s" if value in self.stand_ins else operations.compose_sql("%s", [value]) for value in values]
        sql = first + "".join(value + part for value, part in zip(written, rest, strict=True))
        return Prepared(sql, self.types), compiler, compiler.get_converters([selected for selected, *_rest in compiler.select])
