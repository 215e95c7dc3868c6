"""Drop indexes that nothing reads, and order an account's open holds by their time.

The columns' definitions are changed in the state alone: SQLite would make the tables anew for it, without their triggers.
"""

import django.db.models.deletion
from django.db import migrations, models
from django.db.models import Q

UNREAD = {"billing_charge": "account_id", "billing_ledgerentry": "charge_id"}


def drop(apps, schema_editor):
    connection = schema_editor.connection
    for table, column in UNREAD.items():
        with connection.cursor() as cursor:
            constraints = connection.introspection.get_constraints(cursor, table)
        for name, about in constraints.items():
            is_plain = about["index"] and not about["unique"] and not about["primary_key"]
            if is_plain and about["columns"] == [column] and name.startswith(f"{table}_{column}_"):
                schema_editor.execute(f"DROP INDEX {connection.ops.quote_name(name)}")


def make(apps, schema_editor):
    for table, column in UNREAD.items():
        schema_editor.execute(f"CREATE INDEX {table}_{column}_again ON {table} ({column})")


class Migration(migrations.Migration):
    dependencies = [("billing", "0015_alerts_of_workers")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(drop, make)],
            state_operations=[
                migrations.AlterField(
                    "charge",
                    "account",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="charges",
                        to="billing.account",
                        verbose_name="account",
                    ),
                ),
                migrations.AlterField(
                    "ledgerentry",
                    "charge",
                    models.ForeignKey(
                        blank=True,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="entries",
                        to="billing.charge",
                        verbose_name="charge",
                    ),
                ),
            ],
        ),
        migrations.RemoveIndex("hold", "billing_hold_open_account"),
        migrations.AddIndex(
            "hold",
            models.Index(fields=["account", "expires_at"], condition=Q(state="held"), name="billing_hold_open_by_account"),
        ),
    ]
