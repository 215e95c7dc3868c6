"""Indexes by which the list of generations finds one type, and what went wrong, among millions of rows."""

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("aiservices", "0013_housekeeping_chores")]

    operations = [
        migrations.AddIndex("generation", models.Index(fields=["type", "-id"], name="aiservices_gen_type")),
        migrations.AddIndex(
            "generation",
            models.Index(
                fields=["state", "-id"],
                condition=Q(state__in=["failed", "canceled", "unknown"]),
                name="aiservices_gen_trouble",
            ),
        ),
    ]
