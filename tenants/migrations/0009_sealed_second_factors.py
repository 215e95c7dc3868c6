"""Second factors move to a table of our own, in which their keys are sealed."""

import django.db.models.deletion
from django.conf import settings
from django.db import connection, migrations, models

import tenants.authenticator
import waule.core.crypto.encryption

OLD_TABLE = "otp_totp_totpdevice"  # django-otp's, with the keys in clear; absent where it was never installed


def _is_there():
    with connection.cursor() as cursor:
        return OLD_TABLE in connection.introspection.table_names(cursor)


def seal(apps, schema_editor):
    if not _is_there():
        return
    device = apps.get_model("tenants", "AuthenticatorDevice")
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT user_id, key, drift, last_t FROM {OLD_TABLE} WHERE confirmed ORDER BY id")  # noqa: S608
        rows = cursor.fetchall()
    user = apps.get_model("tenants", "User")._meta.pk
    for user_id, key, drift, last_t in rows:
        values = {"name": "authenticator", "key": key, "drift": drift, "last_t": last_t}
        device._base_manager.update_or_create(user_id=user.to_python(user_id), defaults=values)
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {OLD_TABLE}")  # noqa: S608


def unseal(apps, schema_editor):
    if not _is_there():
        return
    user = apps.get_model("tenants", "User")._meta.pk
    with connection.cursor() as cursor:
        for device in apps.get_model("tenants", "AuthenticatorDevice")._base_manager.all():
            cursor.execute(
                f"INSERT INTO {OLD_TABLE} (user_id, name, confirmed, key, step, t0, digits, tolerance, drift, last_t, "  # noqa: S608
                "throttling_failure_count) VALUES (%s, 'authenticator', %s, %s, 30, 0, 6, 1, %s, %s, 0)",
                [user.get_db_prep_value(device.user_id, connection), True, device.key.reveal(), device.drift, device.last_t],
            )


class Migration(migrations.Migration):
    dependencies = [("tenants", "0008_key_scopes")]

    operations = [
        migrations.CreateModel(
            name="AuthenticatorDevice",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "name",
                    models.CharField(help_text="The human-readable name of this device.", max_length=64),
                ),
                ("confirmed", models.BooleanField(default=True, help_text="Is this device ready for use?")),
                (
                    "throttling_failure_timestamp",
                    models.DateTimeField(
                        blank=True,
                        default=None,
                        help_text="A timestamp of the last failed verification attempt. Null if last attempt succeeded.",
                        null=True,
                    ),
                ),
                (
                    "throttling_failure_count",
                    models.PositiveIntegerField(default=0, help_text="Number of successive failed attempts."),
                ),
                (
                    "key",
                    waule.core.crypto.encryption.EncryptedTextField(
                        bound_to="user", default=tenants.authenticator.new_key, editable=False, verbose_name="key"
                    ),
                ),
                ("drift", models.SmallIntegerField(default=0, editable=False)),
                ("last_t", models.BigIntegerField(default=-1, editable=False)),
                (
                    "user",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="authenticator",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="user",
                    ),
                ),
            ],
            options={"verbose_name": "second factor", "verbose_name_plural": "second factors"},
        ),
        migrations.RunPython(seal, unseal),
        migrations.AlterField(
            "webhook",
            "secret",
            waule.core.crypto.encryption.EncryptedTextField("secret", blank=True, bound_to="tenant", default=""),
        ),
    ]
