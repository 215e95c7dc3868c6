"""Archived months of the ledger: their files and the closing balances; written once, as the ledger is."""

import django.db.models.deletion
import django.db.models.expressions
from django.db import migrations, models

from waule.core.db.append_only import create_triggers, drop_triggers
from waule.core.db.erasure_window import let_through

ENTRY = "billing_ledgerentry"
ENTRY_TEXTS = ("description", "actor", "idempotency_key", "fingerprint", "hash")  # as 0011 says
# A use of an archived month may go; the entry that closes the month, and every other kind, stay.
ARCHIVED = """OLD.kind = 'CONSUME' AND OLD.idempotency_key IS NULL AND OLD.charge_id IS NOT NULL AND EXISTS (
    SELECT 1 FROM billing_ledgerclosing c
    WHERE c.account_id = OLD.account_id AND OLD.seq >= c.first_seq AND OLD.seq < c.last_seq)"""
ARCHIVE, CLOSING = "billing_ledgerarchive", "billing_ledgerclosing"
ARCHIVE_CLASH = "id = NEW.id OR month = NEW.month"
CLOSING_CLASH = (
    "id = NEW.id OR (account_id = NEW.account_id AND last_seq = NEW.last_seq) "
    "OR (account_id = NEW.account_id AND archive_id = NEW.archive_id)"
)


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0019_provider_lists"),
    ]

    operations = [
        migrations.CreateModel(
            name="LedgerArchive",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("month", models.CharField(max_length=7, verbose_name="month")),
                ("until", models.DateTimeField(verbose_name="up to")),
                ("file", models.CharField(max_length=100, verbose_name="file")),
                ("sha256", models.CharField(max_length=64, verbose_name="SHA-256")),
                ("size_bytes", models.BigIntegerField(verbose_name="bytes")),
                ("accounts", models.BigIntegerField(verbose_name="accounts")),
                ("entries", models.BigIntegerField(verbose_name="entries")),
                ("credits", models.BigIntegerField(verbose_name="credits")),
                ("key_id", models.CharField(max_length=32, verbose_name="signing key")),
                ("signature", models.CharField(max_length=64)),
                ("created_at", models.DateTimeField(verbose_name="at")),
            ],
            options={
                "verbose_name": "ledger archive",
                "verbose_name_plural": "ledger archives",
                "constraints": [models.UniqueConstraint(fields=("month",), name="billing_archive_month_once")],
            },
        ),
        migrations.CreateModel(
            name="LedgerClosing",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("first_seq", models.BigIntegerField()),
                ("last_seq", models.BigIntegerField()),
                ("first_at", models.DateTimeField()),
                ("opening", models.BigIntegerField()),
                ("opening_hash", models.CharField(blank=True, default="", max_length=64)),
                ("balance", models.BigIntegerField()),
                ("hash", models.CharField(max_length=64)),
                ("used_count", models.BigIntegerField()),
                ("used_credits", models.BigIntegerField()),
                ("other_count", models.BigIntegerField()),
                ("other_amount", models.BigIntegerField()),
                ("key_id", models.CharField(max_length=32)),
                ("signature", models.CharField(max_length=64)),
                (
                    "account",
                    models.ForeignKey(
                        db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="closings", to="billing.account"
                    ),
                ),
                (
                    "archive",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="closings", to="billing.ledgerarchive"
                    ),
                ),
            ],
            options={
                "verbose_name": "closing balance",
                "verbose_name_plural": "closing balances",
                "default_permissions": ("view",),
                "constraints": [
                    models.UniqueConstraint(fields=("account", "last_seq"), name="billing_closing_number_once"),
                    models.UniqueConstraint(fields=("account", "archive"), name="billing_closing_once_per_month"),
                    models.CheckConstraint(
                        condition=models.Q(("first_seq__gte", 1), ("last_seq__gte", models.F("first_seq"))),
                        name="billing_closing_range",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "balance",
                                django.db.models.expressions.CombinedExpression(
                                    django.db.models.expressions.CombinedExpression(
                                        models.F("opening"), "-", models.F("used_credits")
                                    ),
                                    "+",
                                    models.F("other_amount"),
                                ),
                            )
                        ),
                        name="billing_closing_adds_up",
                    ),
                ],
            },
        ),
        migrations.RunPython(create_triggers(ARCHIVE, clash=ARCHIVE_CLASH), drop_triggers(ARCHIVE)),
        migrations.RunPython(create_triggers(CLOSING, clash=CLOSING_CLASH), drop_triggers(CLOSING)),
        migrations.RunPython(
            let_through(ENTRY, texts=ENTRY_TEXTS, purged_by="created_at", purged_if=ARCHIVED),
            let_through(ENTRY, texts=ENTRY_TEXTS),
        ),
    ]
