"""Alerts of models that end."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("billing", "0015_model_retirement")]

    operations = [
        migrations.AlterField(
            model_name="alert",
            name="kind",
            field=models.CharField(
                choices=[
                    ("balance.low", "Low balance"),
                    ("budget.used", "Budget used"),
                    ("hold.old", "Old hold"),
                    ("reconcile.failed", "The books differ"),
                    ("model.ends", "Model ends"),
                    ("double_charge_suspected", "Charged twice?"),
                    ("not_charged", "Delivered without a charge"),
                    ("unknown_released", "Unknown outcomes released"),
                    ("workers.none", "No worker is alive"),
                    ("broker.down", "The broker is away"),
                ],
                max_length=40,
                verbose_name="kind",
            ),
        ),
    ]
