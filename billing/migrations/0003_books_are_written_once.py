"""Triggers: entries and refunds are never changed or deleted; on SQLite, money columns hold integers and nothing else."""

from django.db import migrations

from waule.core.db.append_only import create_triggers, drop_triggers

ENTRY = "billing_ledgerentry"
ENTRY_CLASH = (
    "id = NEW.id OR (account_id = NEW.account_id AND seq = NEW.seq) "
    "OR (account_id = NEW.account_id AND idempotency_key = NEW.idempotency_key)"
)
REFUND = "billing_refund"
REFUND_CLASH = "id = NEW.id OR entry_id = NEW.entry_id OR (account_id = NEW.account_id AND idempotency_key = NEW.idempotency_key)"

INTEGERS = {
    "billing_account": ("balance", "held", "last_seq"),
    "billing_ledgerentry": ("seq", "amount", "balance", "spendable"),
    "billing_charge": ("credits", "refunded", "shortfall"),
    "billing_hold": ("credits", "credits_released"),
    "billing_refund": ("credits", "total_after"),
}


def require_integers(apps, schema_editor):
    if schema_editor.connection.vendor != "sqlite":
        return
    for table, columns in INTEGERS.items():
        wrong = " OR ".join(f"typeof(NEW.{column}) <> 'integer'" for column in columns)
        for event in ("INSERT", "UPDATE"):
            schema_editor.execute(
                f"CREATE TRIGGER {table}_integers_{event.lower()} AFTER {event} ON {table} WHEN {wrong} "
                f"BEGIN SELECT RAISE(ABORT, 'CHECK constraint failed: {table} amounts are integers'); END"
            )


def forget_integers(apps, schema_editor):
    if schema_editor.connection.vendor != "sqlite":
        return
    for table in INTEGERS:
        for event in ("insert", "update"):
            schema_editor.execute(f"DROP TRIGGER {table}_integers_{event}")


def first_catalog(apps, schema_editor):
    apps.get_model("billing", "CatalogState").objects.get_or_create(id=1)


class Migration(migrations.Migration):
    dependencies = [("billing", "0002_links")]

    operations = [
        migrations.RunPython(create_triggers(ENTRY, clash=ENTRY_CLASH), drop_triggers(ENTRY)),
        migrations.RunPython(create_triggers(REFUND, clash=REFUND_CLASH), drop_triggers(REFUND)),
        migrations.RunPython(require_integers, forget_integers),
        migrations.RunPython(first_catalog, migrations.RunPython.noop),
    ]
