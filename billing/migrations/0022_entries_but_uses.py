"""Find what an account got beside its uses, for its statements."""

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("billing", "0021_alerts_acknowledged")]

    operations = [
        migrations.AddIndex(
            model_name="ledgerentry",
            index=models.Index(
                fields=["account", "seq"],
                include=["kind", "amount"],
                condition=~Q(kind="CONSUME"),
                name="billing_entry_but_uses",
            ),
        ),
    ]
