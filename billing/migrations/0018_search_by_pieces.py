"""Let a charge be found by any part of its id (docs/adr/0011-search-by-pieces.md). PostgreSQL alone: SQLite reads newest rows.

The expression is that of `waule.core.db.part_search.uuid_pieces`. Made without locking the table: it may have many rows.
"""

from django.db import migrations

PIECES = (
    "ARRAY[" + ", ".join(f"get_byte(uuid_send(id), {n}) << 8 | get_byte(uuid_send(id), {n + 1})" for n in range(2, 16, 2)) + "]"
)


def make(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        drop(apps, schema_editor)  # what a broken attempt left
        schema_editor.execute(f"CREATE INDEX CONCURRENTLY billing_charge_pieces ON billing_charge USING gin (({PIECES}))")


def drop(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP INDEX IF EXISTS billing_charge_pieces")


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("billing", "0017_field_terms")]
    operations = [migrations.RunPython(make, drop)]
