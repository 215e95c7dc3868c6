"""People of a tenant."""

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

from waule.core.ids import uuid7


class Migration(migrations.Migration):
    dependencies = [("tenants", "0006_erasure_window")]

    operations = [
        migrations.CreateModel(
            name="TenantMember",
            fields=[
                ("id", models.UUIDField(default=uuid7, editable=False, primary_key=True, serialize=False)),
                (
                    "role",
                    models.CharField(
                        choices=[("owner", "Owner"), ("developer", "Developer"), ("billing", "Billing")],
                        default="owner",
                        max_length=9,
                        verbose_name="role",
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="created"),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="members",
                        to="tenants.tenant",
                        verbose_name="tenant",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="memberships",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="user",
                    ),
                ),
            ],
            options={
                "verbose_name": "member",
                "verbose_name_plural": "members",
                "constraints": [
                    models.UniqueConstraint(
                        fields=["tenant", "user"],
                        name="tenants_member_once",
                        violation_error_message="This user is a member of the tenant already.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("role__in", ["owner", "developer", "billing"])), name="tenants_member_role_known"
                    ),
                ],
            },
        ),
    ]
