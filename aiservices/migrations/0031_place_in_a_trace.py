"""A job goes on with the trace that its request began. The default of the database lets older processes write rows meanwhile."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("aiservices", "0030_pending_results_of_own_addresses")]

    operations = [
        migrations.AddField(
            model_name="generationinput",
            name="trace_parent",
            field=models.CharField(blank=True, db_default="", default="", max_length=55),
        ),
    ]
