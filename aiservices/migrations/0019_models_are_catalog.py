"""AI models live in the app `billing` now (see its 0009); nothing changes in the database."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("aiservices", "0018_job_deaths"),
        ("billing", "0009_models_are_catalog"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField(
                    "generation",
                    "model",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="generations",
                        to="billing.aimodel",
                        verbose_name="model",
                    ),
                ),
                migrations.DeleteModel("AIModel"),
            ]
        ),
    ]
