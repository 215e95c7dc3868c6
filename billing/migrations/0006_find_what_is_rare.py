"""Indexes by which lists find what is rare among millions of rows: odd kinds of entries, refunds, shortfalls, unused holds."""

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("billing", "0005_money_permissions")]

    operations = [
        migrations.AddIndex("charge", models.Index(fields=["-id"], condition=Q(refunded__gt=0), name="billing_charge_refunded")),
        migrations.AddIndex(
            "charge", models.Index(fields=["-id"], condition=Q(shortfall__gt=0), name="billing_charge_shortfall")
        ),
        migrations.AddIndex(
            "hold",
            models.Index(fields=["state", "-id"], condition=Q(state__in=["released", "expired"]), name="billing_hold_not_used"),
        ),
        migrations.AddIndex(
            "ledgerentry", models.Index(fields=["kind", "-id"], condition=~Q(kind="CONSUME"), name="billing_entry_rare_kind")
        ),
    ]
