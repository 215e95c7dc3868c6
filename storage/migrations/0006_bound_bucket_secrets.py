"""A bucket's secret is sealed for its tenant's row: what is copied to another tenant's does not open. Nothing changes in the table."""

from django.db import migrations

import waule.core.crypto.encryption


class Migration(migrations.Migration):
    dependencies = [("storage", "0005_search_indexes")]

    operations = [
        migrations.AlterField(
            "ossconfig",
            "access_key_secret",
            waule.core.crypto.encryption.EncryptedTextField("access key secret", blank=True, bound_to="tenant", default=""),
        ),
    ]
