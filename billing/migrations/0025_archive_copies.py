"""Note which archived months lie in the platform's bucket, and give a right to download them."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0024_proven_entries"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="ledgerarchive",
            options={
                "permissions": [("download_ledgerarchive", "Can download archived months")],
                "verbose_name": "ledger archive",
                "verbose_name_plural": "ledger archives",
            },
        ),
        migrations.CreateModel(
            name="LedgerArchiveCopy",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("bucket", models.CharField(max_length=255, verbose_name="bucket")),
                ("object_key", models.CharField(max_length=255, verbose_name="object")),
                ("created_at", models.DateTimeField(verbose_name="at")),
                (
                    "archive",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="copies",
                        to="billing.ledgerarchive",
                        verbose_name="month",
                    ),
                ),
            ],
            options={
                "default_permissions": (),
                "constraints": [models.UniqueConstraint(fields=("archive", "bucket"), name="billing_archive_copy_once")],
            },
        ),
    ]
