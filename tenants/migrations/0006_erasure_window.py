"""Texts of audit entries can be replaced when a tenant or user is erased, and old entries deleted when retention says so."""

import django.db.models.deletion
from django.db import migrations, models

from waule.core.db.erasure_window import let_nothing_through, let_through

TABLE = "tenants_auditentry"
TEXTS = ("actor", "target_name", "reason", "address", "request_id", "before", "after")


class Migration(migrations.Migration):
    dependencies = [("tenants", "0005_search_indexes")]

    operations = [
        migrations.CreateModel(
            name="ErasureWindow",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("purpose", models.CharField(max_length=8)),
                ("before", models.DateTimeField(null=True)),
                (
                    "never",
                    models.ForeignKey(
                        db_index=False,
                        default=-1,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tenants.erasurewindow",
                    ),
                ),
            ],
            options={
                "verbose_name": "erasure window",
                "verbose_name_plural": "erasure windows",
                "default_permissions": (),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("id__gt", 0), ("never", -1)), name="tenants_window_never_committed"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("purpose__in", ["erase", "purge"])), name="tenants_window_purpose_known"
                    ),
                ],
            },
        ),
        migrations.RunPython(let_through(TABLE, texts=TEXTS, purged_by="at"), let_nothing_through(TABLE)),
    ]
