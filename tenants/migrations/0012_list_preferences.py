"""The lists of the admin as each person wants them."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0011_alert_mails"),
    ]

    operations = [
        migrations.AddField(
            model_name="user",
            name="list_preferences",
            field=models.JSONField(blank=True, default=dict, editable=False),
        ),
    ]
