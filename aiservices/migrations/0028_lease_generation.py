"""A lease says for which generation it was, where it was for one of ours."""

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("aiservices", "0027_field_terms")]

    operations = [
        migrations.AddField(
            "credentiallease", "generation_id", models.UUIDField(blank=True, null=True, verbose_name="generation")
        ),
        migrations.AddIndex(
            "credentiallease",
            models.Index(
                condition=Q(("generation_id__isnull", False)), fields=["generation_id"], name="aiservices_lease_generation"
            ),
        ),
    ]
