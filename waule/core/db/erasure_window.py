"""The one way through the triggers of append-only tables: a row that exists only inside of its own transaction.

Erasing a tenant or a user replaces texts, never numbers, in rows that are otherwise written once; purging deletes old
rows of tables that have a retention setting. Both open a window first (`tenants.ErasureWindow`). The triggers look for that row.
Its foreign key leads nowhere and is checked at the end of the transaction, so that a window which is not closed cannot be
committed, whoever wrote it.
"""

from collections.abc import Sequence
from typing import Any

WINDOW = "tenants_erasurewindow"
ERASE, PURGE = "erase", "purge"


def _postgresql(table: str, texts: Sequence[str], purged_by: str, purged_if: str) -> str:
    kept = "ARRAY[" + ", ".join(f"'{column}'" for column in texts) + "]::text[]"
    erasing = f"""
            IF TG_OP = 'UPDATE' THEN
                IF EXISTS (SELECT 1 FROM {WINDOW} WHERE purpose = '{ERASE}')
                        AND to_jsonb(NEW) - {kept} = to_jsonb(OLD) - {kept} THEN
                    RETURN NEW;
                END IF;
            END IF;"""  # noqa: S608  (all of it is written by us)
    purging = f"""
            IF TG_OP = 'DELETE' THEN
                IF EXISTS (SELECT 1 FROM {WINDOW} WHERE purpose = '{PURGE}' AND OLD.{purged_by} < before) AND {purged_if} THEN
                    RETURN OLD;
                END IF;
            END IF;"""  # noqa: S608
    return f"""
        CREATE OR REPLACE FUNCTION {table}_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN{erasing if texts else ""}{purging if purged_by else ""}
            RAISE EXCEPTION '{table} is append-only: % refused', TG_OP USING ERRCODE = 'restrict_violation';
        END $$;
    """


def _sqlite(table: str, columns: Sequence[str], texts: Sequence[str], purged_by: str, purged_if: str) -> list[str]:
    reject = f"SELECT RAISE(ABORT, '{table} is append-only')"
    same = " AND ".join(f"OLD.{column} IS NEW.{column}" for column in columns if column not in texts)
    erasing = f"EXISTS (SELECT 1 FROM {WINDOW} WHERE purpose = '{ERASE}') AND {same}"  # noqa: S608
    in_window = f"EXISTS (SELECT 1 FROM {WINDOW} WHERE purpose = '{PURGE}' AND OLD.{purged_by} < before)"  # noqa: S608
    purging = f"{in_window} AND {purged_if}"
    return [
        f"DROP TRIGGER {table}_no_update",
        f"DROP TRIGGER {table}_no_delete",
        f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table}"
        f"{f' WHEN NOT ({erasing})' if texts else ''} BEGIN {reject}; END",
        f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table}"
        f"{f' WHEN NOT ({purging})' if purged_by else ''} BEGIN {reject}; END",
    ]


def let_through(table: str, *, texts: Sequence[str] = (), purged_by: str = "", purged_if: str = "TRUE") -> Any:
    """Return a migration operation's forward function: the triggers of `table` (`append_only.create_triggers`) then let a
    window change `texts`, and delete what is older, by the column `purged_by`, than the window says, where `purged_if` (SQL
    over OLD) holds. Without either they refuse everything.
    """

    def forwards(apps: Any, schema_editor: Any) -> None:
        if schema_editor.connection.vendor == "postgresql":
            schema_editor.execute(_postgresql(table, texts, purged_by, purged_if), params=None)
            return
        with schema_editor.connection.cursor() as cursor:
            columns = [column.name for column in schema_editor.connection.introspection.get_table_description(cursor, table)]
        for statement in _sqlite(table, columns, texts, purged_by, purged_if):
            schema_editor.execute(statement)

    return forwards


def let_nothing_through(table: str) -> Any:
    """Return the way back."""
    return let_through(table)
