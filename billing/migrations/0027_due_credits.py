"""What an account's holds past their time still reserve, as a function of PostgreSQL (docs/adr/0006-a-charge-is-one-statement.md)."""

from django.db import migrations

# The rule is `billing.ledger.expiry.due_sql`; a test compares the two. A statement reads tables as they were when it began,
# and may have waited for the account since: a volatile function reads them anew. Its plan is kept, as `waule.core.db.prepared`
# says, so it is made without scans.
CREATE = """
    CREATE FUNCTION billing_due_credits(account bigint, now timestamptz) RETURNS bigint LANGUAGE plpgsql VOLATILE
    SET enable_seqscan = off SET jit = off AS $$
        BEGIN
            RETURN (SELECT coalesce(sum(h.credits), 0) FROM billing_hold AS h
                WHERE h.account_id = account AND h.state = 'held' AND NOT h.is_pinned AND NOT h.is_unknown AND h.expires_at <= now);
        END
    $$;
"""
DROP = "DROP FUNCTION billing_due_credits(bigint, timestamptz)"


def on_postgresql(statement):
    def run(apps, schema_editor):
        if schema_editor.connection.vendor == "postgresql":
            schema_editor.execute(statement, params=None)

    return run


class Migration(migrations.Migration):
    dependencies = [("billing", "0026_entries_by_time")]

    operations = [migrations.RunPython(on_postgresql(CREATE), on_postgresql(DROP))]
