"""Every webhook signs with a secret: those that had none get one, which their page reveals."""

import secrets

from django.db import migrations


def fill(apps, schema_editor):
    for webhook in apps.get_model("tenants", "Webhook")._base_manager.all():
        if not webhook.secret:
            webhook.secret = "whsec_" + secrets.token_urlsafe(32)
            webhook.save(update_fields=["secret"])


class Migration(migrations.Migration):
    dependencies = [("tenants", "0009_sealed_second_factors")]

    operations = [
        migrations.RunPython(fill, migrations.RunPython.noop),
        migrations.AlterModelManagers("user", managers=[]),
    ]
