"""The day on which a model's provider ends it, and the model that replaces it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("billing", "0015_indexes_that_are_read")]

    operations = [
        migrations.AddField(
            model_name="aimodel",
            name="retires_at",
            field=models.DateField(
                blank=True,
                help_text="Warned of 30 days ahead; not to be had from this day on.",
                null=True,
                verbose_name="ends on",
            ),
        ),
        migrations.AddField(
            model_name="aimodel",
            name="replaced_by",
            field=models.CharField(
                blank=True,
                default="",
                help_text="The provider's name of the model to use instead.",
                max_length=64,
                verbose_name="replaced by",
            ),
        ),
        migrations.AddField(
            model_name="aimodel",
            name="serve_replacement",
            field=models.BooleanField(
                default=False,
                help_text="From that day on, requests for this model are made, and charged, by the replacement.",
                verbose_name="serve by the replacement",
            ),
        ),
    ]
