"""Let the entries of a range of days be found among all accounts (the admin's ledger).

PostgreSQL alone, and made without locking the table: it may have many rows. A BRIN index keeps the first and the last time of
every 32 pages: it costs an insert nothing that can be measured, and is a thousandth of a B-tree's size.
"""

from django.db import migrations

INDEX = "billing_entry_time"


def make(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        drop(apps, schema_editor)  # what a broken attempt left
        schema_editor.execute(
            f"CREATE INDEX CONCURRENTLY {INDEX} ON billing_ledgerentry USING brin (created_at) "
            "WITH (pages_per_range = 32, autosummarize = on)"
        )


def drop(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(f"DROP INDEX IF EXISTS {INDEX}")


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("billing", "0025_archive_copies")]
    operations = [migrations.RunPython(make, drop)]
