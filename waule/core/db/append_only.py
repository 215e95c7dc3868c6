"""Rows that are written once. The ORM refuses to change them; triggers (see the migrations) refuse for everyone else."""

from typing import Any, NoReturn

from django.db import models


class AppendOnlyQuerySet(models.QuerySet[Any]):
    def update(self, **kwargs: Any) -> NoReturn:
        raise TypeError(f"{self.model._meta.label} rows are written once and never changed.")

    def delete(self) -> NoReturn:
        raise TypeError(f"{self.model._meta.label} rows are never deleted.")

    def bulk_update(self, *args: Any, **kwargs: Any) -> NoReturn:
        self.update()


class AppendOnlyModel(models.Model):
    objects = AppendOnlyQuerySet.as_manager()

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError(f"{self._meta.label} rows are written once and never changed.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(f"{self._meta.label} rows are never deleted.")


def postgresql_triggers(table: str) -> str:
    """SQL that makes PostgreSQL refuse UPDATE, DELETE and TRUNCATE of `table`."""
    return f"""
        CREATE FUNCTION {table}_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION '{table} is append-only: % refused', TG_OP USING ERRCODE = 'restrict_violation';
        END $$;
        CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table}
            FOR EACH ROW EXECUTE FUNCTION {table}_refuse();
        CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION {table}_refuse();
    """


def sqlite_triggers(table: str, *, clash: str) -> list[str]:
    """Return the same for SQLite, one statement each.

    `INSERT OR REPLACE` deletes the row it replaces without telling delete triggers (unless a pragma of the writer's
    connection says so); `clash` is the condition under which a NEW row would replace an old one.
    """
    clashes = f"EXISTS (SELECT 1 FROM {table} WHERE {clash})"  # noqa: S608  (both are written by us)
    reject = f"SELECT RAISE(ABORT, '{table} is append-only')"
    return [
        f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} BEGIN {reject}; END",
        f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} BEGIN {reject}; END",
        f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} WHEN {clashes} BEGIN {reject}; END",
    ]


def create_triggers(table: str, *, clash: str) -> Any:
    """Return a migration operation's forward function."""

    def forwards(apps: Any, schema_editor: Any) -> None:
        if schema_editor.connection.vendor == "postgresql":
            schema_editor.execute(postgresql_triggers(table), params=None)
        else:
            for statement in sqlite_triggers(table, clash=clash):
                schema_editor.execute(statement)

    return forwards


def drop_triggers(table: str) -> Any:
    """Return the way back of `create_triggers`."""

    def backwards(apps: Any, schema_editor: Any) -> None:
        if schema_editor.connection.vendor == "postgresql":
            schema_editor.execute(f"DROP TRIGGER {table}_append_only ON {table}")
            schema_editor.execute(f"DROP TRIGGER {table}_no_truncate ON {table}")
            schema_editor.execute(f"DROP FUNCTION {table}_refuse()")
        else:
            for name in ("no_update", "no_delete", "no_replace"):
                schema_editor.execute(f"DROP TRIGGER {table}_{name}")

    return backwards
