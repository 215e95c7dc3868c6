"""The hash of a ledger entry as a function of PostgreSQL, and as an aggregate that chains many (docs/adr/0006-…)."""

from django.db import migrations

# `billing.ledger.posting.entry_hash` is the same in Python; a test compares the two.
CREATE = """
    CREATE FUNCTION billing_entry_hash(
        before text, account_id bigint, seq bigint, kind text, amount bigint, balance bigint, charge_id uuid,
        created_at timestamptz, actor text, description text
    ) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
        SELECT encode(sha256(convert_to(concat_ws(E'\\x1f', before, account_id, seq, kind, amount, balance,
            coalesce(charge_id::text, ''), (extract(epoch FROM created_at) * 1000000)::bigint, actor, description),
            'UTF8')), 'hex')
    $$;
    CREATE FUNCTION billing_entry_chain_step(
        so_far text, before text, account_id bigint, seq bigint, kind text, amount bigint, balance bigint, charge_id uuid,
        created_at timestamptz, actor text, description text
    ) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
        SELECT billing_entry_hash(coalesce(so_far, before), account_id, seq, kind, amount, balance, charge_id,
            created_at, actor, description)
    $$;
    CREATE AGGREGATE billing_entry_chain(text, bigint, bigint, text, bigint, bigint, uuid, timestamptz, text, text) (
        SFUNC = billing_entry_chain_step, STYPE = text
    );
"""
DROP = """
    DROP AGGREGATE billing_entry_chain(text, bigint, bigint, text, bigint, bigint, uuid, timestamptz, text, text);
    DROP FUNCTION billing_entry_chain_step(
        text, text, bigint, bigint, text, bigint, bigint, uuid, timestamptz, text, text);
    DROP FUNCTION billing_entry_hash(text, bigint, bigint, text, bigint, bigint, uuid, timestamptz, text, text);
"""


def on_postgresql(statement):
    def run(apps, schema_editor):
        if schema_editor.connection.vendor == "postgresql":
            schema_editor.execute(statement, params=None)

    return run


class Migration(migrations.Migration):
    dependencies = [("billing", "0014_find_free_charges")]

    operations = [migrations.RunPython(on_postgresql(CREATE), on_postgresql(DROP))]
