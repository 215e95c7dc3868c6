"""Statements that are parsed and planned once for each connection, not at each call.

PostgreSQL alone has them; elsewhere, and with `DATABASE_PREPARED_STATEMENTS` off (behind a pooler that hands out
connections by the transaction), the same text is sent as it is.

A plan is made when a statement is prepared, which may be while a table is still empty: a scan of an empty table is cheap,
and the same plan would read the whole of it later. So plans are made with sequential scans off (`_prepare`). Where one is
needed all the same it looks so dear that PostgreSQL would compile the statement at each call, which takes a second: not so.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connection, connections, transaction
from django.db.models import QuerySet

IS_POSTGRESQL = settings.DATABASES[DEFAULT_DB_ALIAS]["ENGINE"].endswith("postgresql")
_numbers = itertools.count(1)
_prepared: "WeakKeyDictionary[Any, set[str]]" = WeakKeyDictionary()  # by psycopg2's connection


class Prepared:
    """One statement. `types` are PostgreSQL's names of its parameters' types, in order; in `sql` they are written `%s`.

    Where `types` names its parameters, they are written `%(name)s`, as often as they are needed.
    """

    def __init__(self, sql: str, types: Sequence[str] | Mapping[str, str]) -> None:
        self.sql = sql
        self.name = f"waule_{next(_numbers)}"
        self.names: tuple[str, ...] | None = None
        if isinstance(types, Mapping):
            self.names, types = tuple(types), tuple(types.values())
            written = sql.replace("%%", "%") % {name: f"${number}" for number, name in enumerate(self.names, 1)}
            self.sql = sql % {name: f"%({name})s::{kind}" for name, kind in zip(self.names, types, strict=True)}
        else:
            parts = sql.split("%s")
            assert len(parts) == len(types) + 1, "a type for each parameter"
            written = parts[0] + "".join(f"${number}{part}" for number, part in enumerate(parts[1:], 1))
        self.preparation = f"PREPARE {self.name} ({', '.join(types)}) AS {written}"
        self.execution = f"EXECUTE {self.name} ({', '.join(f'%s::{kind}' if kind.endswith('[]') else '%s' for kind in types)})"
        self.plan = f"EXECUTE {self.name} ({', '.join(['NULL'] * len(types))})"

    def run(self, cursor: Any, parameters: Sequence[Any]) -> None:
        """Execute it on a cursor of Django's."""
        database = cursor.db
        if database.vendor != "postgresql" or not settings.DATABASE_PREPARED_STATEMENTS:
            cursor.execute(self.sql, self._named(parameters))
            return
        self._prepare(database.connection, cursor)
        cursor.execute(self.execution, parameters)

    def rows(self, *parameters: Any) -> list[tuple[Any, ...]]:
        """Return all rows, without the layers of Django's cursor: for the calls that are made most.

        Raises:
            Django's exceptions (`django.db.utils`).
        """
        database: Any = connections[DEFAULT_DB_ALIAS]
        if database.connection is None:
            database.ensure_connection()  # first: behind a pooler a new connection gets its wrapper here
        if database.execute_wrappers or database.queries_logged or database.vendor != "postgresql":  # somebody listens
            with database.cursor() as cursor:
                self.run(cursor, parameters)
                return list(cursor.fetchall())
        with database.wrap_database_errors, database.connection.cursor() as cursor:
            if settings.DATABASE_PREPARED_STATEMENTS:
                self._prepare(database.connection, cursor)
                cursor.execute(self.execution, parameters)
            else:
                cursor.execute(self.sql, self._named(parameters))
            return list(cursor.fetchall())

    def first(self, *parameters: Any) -> tuple[Any, ...] | None:
        """Return the first row of `rows`, or None."""
        return next(iter(self.rows(*parameters)), None)

    def named(self, values: Mapping[str, Any]) -> tuple[Any, ...] | None:
        """As `first`, with the parameters by name; further values are left out."""
        assert self.names is not None
        chosen = [values[name] for name in self.names]
        return self.first(*[str(value) if isinstance(value, UUID) else value for value in chosen])

    def write(self, *parameters: Any) -> tuple[Any, ...] | None:
        """As `first`, of a statement that may fail: inside of a caller's transaction that takes back this statement alone."""
        if not connections[DEFAULT_DB_ALIAS].in_atomic_block:
            return self.first(*parameters)
        with transaction.atomic():
            return self.first(*parameters)

    def _named(self, parameters: Sequence[Any]) -> Any:
        return parameters if self.names is None else dict(zip(self.names, parameters, strict=True))

    def _prepare(self, session: Any, cursor: Any) -> None:
        """Parse and plan it, once for each connection. EXPLAIN makes the plan and runs nothing."""
        known = _prepared.get(session)
        if known is None:
            known = _prepared[session] = set()
        if self.name not in known:
            settled = "SET enable_seqscan = off; SET jit = off"
            cursor.execute(f"{settled}; {self.preparation}; EXPLAIN {self.plan}; RESET enable_seqscan; RESET jit")
            known.add(self.name)


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
        """Return the only row; None where there is none."""
        if connection.vendor != "postgresql":
            return next(iter(self.make(*parameters)[:1]), None)
        prepared, compiler, converters = self._compiled
        row = prepared.first(*parameters)
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
