"""Versions of the catalog, written once."""

import django.utils.timezone
from django.db import migrations, models

from waule.core.db.append_only import create_triggers, drop_triggers

TABLE = "billing_catalogversion"
CLASH = "id = NEW.id OR number = NEW.number"


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0003_books_are_written_once"),
    ]

    operations = [
        migrations.CreateModel(
            name="CatalogVersion",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.BigIntegerField(unique=True, verbose_name="no.")),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, verbose_name="at")),
                ("author", models.CharField(max_length=200, verbose_name="who")),
                ("note", models.CharField(blank=True, default="", max_length=500, verbose_name="what")),
                ("document", models.JSONField(verbose_name="catalog")),
            ],
            options={
                "verbose_name": "catalog version",
                "verbose_name_plural": "catalog versions",
            },
        ),
        migrations.RunPython(create_triggers(TABLE, clash=CLASH), drop_triggers(TABLE)),
    ]
