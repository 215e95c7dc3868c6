"""Texts of entries, refunds and catalog versions can be replaced when a tenant or user is erased. Their numbers cannot."""

from django.db import migrations

from waule.core.db.erasure_window import let_nothing_through, let_through

TEXTS = {
    "billing_ledgerentry": ("description", "actor", "idempotency_key", "fingerprint", "hash"),
    "billing_refund": ("reason", "actor", "idempotency_key", "fingerprint"),
    "billing_catalogversion": ("author", "note"),
}


class Migration(migrations.Migration):
    dependencies = [("billing", "0010_alerts_of_generations"), ("tenants", "0006_erasure_window")]

    operations = [
        migrations.RunPython(let_through(table, texts=texts), let_nothing_through(table)) for table, texts in TEXTS.items()
    ]
