"""Permissions of their own for granting, adjusting and refunding."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("billing", "0004_catalog_versions")]

    operations = [
        migrations.AlterModelOptions(
            name="account",
            options={
                "permissions": [("grant_credits", "Can grant credits"), ("adjust_credits", "Can adjust balances")],
                "verbose_name": "account",
                "verbose_name_plural": "accounts",
            },
        ),
        migrations.AlterModelOptions(
            name="charge",
            options={
                "permissions": [("refund_charge", "Can refund charges")],
                "verbose_name": "charge",
                "verbose_name_plural": "charges",
            },
        ),
    ]
