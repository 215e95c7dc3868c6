"""Alerts that somebody has seen, or that are silent for a while."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0020_ledger_archive"),
    ]

    operations = [
        migrations.AddField(
            model_name="alert",
            name="acknowledged_at",
            field=models.DateTimeField(blank=True, null=True, verbose_name="acknowledged"),
        ),
        migrations.AddField(
            model_name="alert",
            name="acknowledged_by",
            field=models.CharField(blank=True, default="", max_length=200, verbose_name="acknowledged by"),
        ),
        migrations.AddField(
            model_name="alert",
            name="silenced_until",
            field=models.DateTimeField(blank=True, null=True, verbose_name="silent until"),
        ),
    ]
