from typing import Any

from django.db import migrations, models
from django.db.models import F
from django.db.models.functions import Coalesce

FIELD = models.DateTimeField(blank=True, editable=False, null=True, verbose_name="first accepted")


def those_that_have_worked(apps: Any, _schema_editor: Any) -> None:
    """A credential with more uses than errors has been accepted; when it was first is not known any more."""
    for name in ("GeminiKey", "SoraToken"):
        rows = apps.get_model("aiservices", name).objects.filter(use_count__gt=F("error_count") + F("in_flight"))
        rows.update(accepted_at=Coalesce("last_used_at", "created_at"))


class Migration(migrations.Migration):
    dependencies = [
        ("aiservices", "0021_model_cooldowns"),
    ]

    operations = [
        migrations.AddField(model_name="geminikey", name="accepted_at", field=FIELD.clone()),
        migrations.AddField(model_name="soratoken", name="accepted_at", field=FIELD.clone()),
        migrations.RunPython(those_that_have_worked, migrations.RunPython.noop),
    ]
