from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("aiservices", "0020_pending_results"),
    ]

    operations = [
        migrations.CreateModel(
            name="ModelCooldown",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("credential_id", models.UUIDField(verbose_name="credential")),
                ("model", models.CharField(max_length=64, verbose_name="model")),
                ("cooling_until", models.DateTimeField(db_index=True, verbose_name="cooling until")),
                (
                    "outcome",
                    models.CharField(
                        choices=[
                            ("ok", "Ok"),
                            ("rate_limited", "Rate limited"),
                            ("quota_exhausted", "Quota exhausted"),
                            ("invalid", "Invalid credential"),
                            ("overloaded", "Service overloaded"),
                            ("content_refused", "Content refused"),
                            ("error", "Other error"),
                            ("expired", "Never reported"),
                        ],
                        max_length=16,
                        verbose_name="outcome",
                    ),
                ),
                ("offences", models.SmallIntegerField(default=1, verbose_name="limits in a row")),
                ("message", models.CharField(blank=True, default="", max_length=500, verbose_name="message")),
            ],
            options={"verbose_name": "model cooldown", "verbose_name_plural": "model cooldowns"},
        ),
        migrations.AddConstraint(
            model_name="modelcooldown",
            constraint=models.UniqueConstraint(fields=("credential_id", "model"), name="aiservices_model_cooldown_once"),
        ),
    ]
