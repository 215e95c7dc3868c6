import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("billing", "0018_search_by_pieces")]

    operations = [
        migrations.CreateModel(
            name="ProviderList",
            fields=[
                ("service", models.CharField(max_length=32, primary_key=True, serialize=False)),
                ("names", models.JSONField(default=dict)),
                ("listed_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
        ),
    ]
