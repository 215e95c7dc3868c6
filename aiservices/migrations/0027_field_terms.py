"""The code says `outcome`, `crash_count` and `PeriodicTask`; the columns and the table keep their names."""

from django.db import migrations, models

STATES = [
    ("new", "Being admitted"),
    ("queued", "Queued"),
    ("running", "Running"),
    ("succeeded", "Succeeded"),
    ("failed", "Failed"),
    ("canceled", "Canceled"),
    ("unknown", "Unknown outcome"),
]


class Migration(migrations.Migration):
    dependencies = [("aiservices", "0026_worker_processes")]

    operations = [
        migrations.AlterField(
            "generation",
            "verdict",
            models.CharField(blank=True, choices=STATES, db_column="verdict", default="", max_length=9),
        ),
        migrations.RenameField("generation", "verdict", "outcome"),
        migrations.AlterField(
            "generation",
            "deaths",
            models.SmallIntegerField(db_column="deaths", default=0, verbose_name="workers lost"),
        ),
        migrations.RenameField("generation", "deaths", "crash_count"),
        migrations.AlterModelTable("chore", "aiservices_chore"),
        migrations.RenameModel("Chore", "PeriodicTask"),
    ]
