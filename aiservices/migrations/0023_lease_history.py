from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("aiservices", "0022_accepted_credentials"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="credentiallease",
            index=models.Index(fields=["credential_id", "-id"], name="aiservices_lease_history"),
        ),
    ]
