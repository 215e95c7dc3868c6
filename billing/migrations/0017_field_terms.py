"""The code says `DailyStat` and speaks of reconciliation runs; the tables keep their names."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("billing", "0016_alert_model_ends")]

    operations = [
        migrations.AlterModelTable("dailyfigure", "billing_dailyfigure"),
        migrations.RenameModel("DailyFigure", "DailyStat"),
        migrations.AlterModelOptions(
            name="reconcilerun",
            options={"verbose_name": "reconciliation run", "verbose_name_plural": "reconciliation runs"},
        ),
        migrations.AlterField(
            model_name="alert",
            name="kind",
            field=models.CharField(
                choices=[
                    ("balance.low", "Low balance"),
                    ("budget.used", "Budget used"),
                    ("hold.old", "Old hold"),
                    ("reconcile.failed", "The ledger does not add up"),
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
