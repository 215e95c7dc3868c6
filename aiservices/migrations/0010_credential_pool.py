"""What the pool, the Sora service and the health probes need to remember."""

import django.utils.timezone
from django.db import migrations, models

import waule.core.ids


class Migration(migrations.Migration):
    dependencies = [
        ("aiservices", "0002_links"),
    ]

    operations = [
        migrations.CreateModel(
            name="CredentialLease",
            fields=[
                ("id", models.UUIDField(default=waule.core.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("provider", models.CharField(max_length=8, verbose_name="provider")),
                ("credential_id", models.UUIDField(verbose_name="credential")),
                ("model", models.CharField(blank=True, default="", max_length=64, verbose_name="model")),
                ("use", models.CharField(blank=True, default="", max_length=5, verbose_name="use")),
                ("is_trial", models.BooleanField(default=False, verbose_name="trial")),
                ("created_at", models.DateTimeField(verbose_name="at")),
                ("expires_at", models.DateTimeField(verbose_name="expires")),
                ("ended_at", models.DateTimeField(blank=True, null=True, verbose_name="ended")),
                (
                    "outcome",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("ok", "Ok"),
                            ("rate_limited", "Rate limited"),
                            ("quota_exhausted", "Quota exhausted"),
                            ("invalid", "Invalid credential"),
                            ("overloaded", "Service overloaded"),
                            ("content_refused", "Content refused"),
                            ("error", "Other error"),
                            ("expired", "Never reported"),
                        ],
                        default="",
                        max_length=16,
                        verbose_name="outcome",
                    ),
                ),
                ("message", models.CharField(blank=True, default="", max_length=500, verbose_name="message")),
            ],
            options={
                "verbose_name": "lease",
                "verbose_name_plural": "leases",
            },
        ),
        migrations.CreateModel(
            name="HealthCheck",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("service", models.CharField(max_length=32, verbose_name="service")),
                (
                    "status",
                    models.CharField(
                        choices=[("ok", "Ok"), ("degraded", "Degraded"), ("down", "Down"), ("unknown", "Unknown")],
                        max_length=8,
                        verbose_name="status",
                    ),
                ),
                ("latency_ms", models.IntegerField(blank=True, null=True, verbose_name="latency (ms)")),
                ("message", models.CharField(blank=True, default="", max_length=500, verbose_name="message")),
                ("checked_at", models.DateTimeField(verbose_name="checked")),
            ],
            options={
                "verbose_name": "health check",
                "verbose_name_plural": "health checks",
            },
        ),
        migrations.CreateModel(
            name="Service",
            fields=[
                ("name", models.CharField(max_length=32, primary_key=True, serialize=False, verbose_name="service")),
                (
                    "status",
                    models.CharField(
                        choices=[("ok", "Ok"), ("degraded", "Degraded"), ("down", "Down"), ("unknown", "Unknown")],
                        default="unknown",
                        max_length=8,
                        verbose_name="status",
                    ),
                ),
                ("latency_ms", models.IntegerField(blank=True, null=True, verbose_name="latency (ms)")),
                ("message", models.CharField(blank=True, default="", max_length=500, verbose_name="message")),
                ("checked_at", models.DateTimeField(blank=True, null=True, verbose_name="checked")),
                ("next_probe_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "verbose_name": "service",
                "verbose_name_plural": "services",
                "ordering": ["name"],
            },
        ),
        migrations.AddField(
            model_name="geminikey",
            name="daily_limit",
            field=models.IntegerField(default=-1, help_text="-1: no limit.", verbose_name="leases a day"),
        ),
        migrations.AddField(
            model_name="geminikey",
            name="day",
            field=models.DateField(blank=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name="geminikey",
            name="error_count",
            field=models.BigIntegerField(default=0, editable=False, verbose_name="errors"),
        ),
        migrations.AddField(
            model_name="geminikey",
            name="errors_today",
            field=models.IntegerField(default=0, editable=False, verbose_name="errors today"),
        ),
        migrations.AddField(
            model_name="geminikey",
            name="in_flight",
            field=models.IntegerField(default=0, editable=False, verbose_name="leased now"),
        ),
        migrations.AddField(
            model_name="geminikey",
            name="last_error",
            field=models.CharField(blank=True, default="", editable=False, max_length=500, verbose_name="last error"),
        ),
        migrations.AddField(
            model_name="geminikey",
            name="last_error_at",
            field=models.DateTimeField(blank=True, editable=False, null=True, verbose_name="last error at"),
        ),
        migrations.AddField(
            model_name="geminikey",
            name="max_in_flight",
            field=models.IntegerField(default=-1, help_text="-1: no limit.", verbose_name="leases at once"),
        ),
        migrations.AddField(
            model_name="geminikey",
            name="priority",
            field=models.IntegerField(default=0, help_text="Higher goes first.", verbose_name="priority"),
        ),
        migrations.AddField(
            model_name="geminikey",
            name="recent",
            field=models.CharField(blank=True, default="", editable=False, max_length=16, verbose_name="last outcomes"),
        ),
        migrations.AddField(
            model_name="geminikey",
            name="trial_until",
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name="geminikey",
            name="use_count",
            field=models.BigIntegerField(default=0, editable=False, verbose_name="uses"),
        ),
        migrations.AddField(
            model_name="geminikey",
            name="uses_today",
            field=models.IntegerField(default=0, editable=False, verbose_name="uses today"),
        ),
        migrations.AddField(
            model_name="geminikey",
            name="weight",
            field=models.IntegerField(
                default=1, help_text="A key of weight 2 carries twice as much as one of 1.", verbose_name="weight"
            ),
        ),
        migrations.AddField(
            model_name="soratoken",
            name="conflict",
            field=models.JSONField(blank=True, default=dict, editable=False, verbose_name="conflict"),
        ),
        migrations.AddField(
            model_name="soratoken",
            name="daily_limit",
            field=models.IntegerField(default=-1, help_text="-1: no limit.", verbose_name="leases a day"),
        ),
        migrations.AddField(
            model_name="soratoken",
            name="day",
            field=models.DateField(blank=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name="soratoken",
            name="error_count",
            field=models.BigIntegerField(default=0, editable=False, verbose_name="errors"),
        ),
        migrations.AddField(
            model_name="soratoken",
            name="errors_today",
            field=models.IntegerField(default=0, editable=False, verbose_name="errors today"),
        ),
        migrations.AddField(
            model_name="soratoken",
            name="in_flight",
            field=models.IntegerField(default=0, editable=False, verbose_name="leased now"),
        ),
        migrations.AddField(
            model_name="soratoken",
            name="in_flight_images",
            field=models.IntegerField(default=0, editable=False),
        ),
        migrations.AddField(
            model_name="soratoken",
            name="in_flight_videos",
            field=models.IntegerField(default=0, editable=False),
        ),
        migrations.AddField(
            model_name="soratoken",
            name="is_deleted",
            field=models.BooleanField(default=False, editable=False),
        ),
        migrations.AddField(
            model_name="soratoken",
            name="is_missing_there",
            field=models.BooleanField(default=False, editable=False, verbose_name="missing there"),
        ),
        migrations.AddField(
            model_name="soratoken",
            name="is_probably_quota",
            field=models.BooleanField(default=False, editable=False, verbose_name="probably quota"),
        ),
        migrations.AddField(
            model_name="soratoken",
            name="last_error",
            field=models.CharField(blank=True, default="", editable=False, max_length=500, verbose_name="last error"),
        ),
        migrations.AddField(
            model_name="soratoken",
            name="last_error_at",
            field=models.DateTimeField(blank=True, editable=False, null=True, verbose_name="last error at"),
        ),
        migrations.AddField(
            model_name="soratoken",
            name="max_in_flight",
            field=models.IntegerField(default=-1, help_text="-1: no limit.", verbose_name="leases at once"),
        ),
        migrations.AddField(
            model_name="soratoken",
            name="priority",
            field=models.IntegerField(default=0, help_text="Higher goes first.", verbose_name="priority"),
        ),
        migrations.AddField(
            model_name="soratoken",
            name="push_error",
            field=models.CharField(blank=True, default="", editable=False, max_length=500, verbose_name="why not pushed"),
        ),
        migrations.AddField(
            model_name="soratoken",
            name="pushed_at",
            field=models.DateTimeField(blank=True, editable=False, null=True, verbose_name="in step since"),
        ),
        migrations.AddField(
            model_name="soratoken",
            name="recent",
            field=models.CharField(blank=True, default="", editable=False, max_length=16, verbose_name="last outcomes"),
        ),
        migrations.AddField(
            model_name="soratoken",
            name="reenable_after_cooldown",
            field=models.BooleanField(default=False, verbose_name="re-enable when the cooldown has passed"),
        ),
        migrations.AddField(
            model_name="soratoken",
            name="remote",
            field=models.JSONField(blank=True, default=dict, editable=False),
        ),
        migrations.AddField(
            model_name="soratoken",
            name="revision",
            field=models.BigIntegerField(default=0, editable=False),
        ),
        migrations.AddField(
            model_name="soratoken",
            name="to_push",
            field=models.JSONField(blank=True, default=list, editable=False, verbose_name="to be pushed"),
        ),
        migrations.AddField(
            model_name="soratoken",
            name="trial_until",
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name="soratoken",
            name="use_count",
            field=models.BigIntegerField(default=0, editable=False, verbose_name="uses"),
        ),
        migrations.AddField(
            model_name="soratoken",
            name="uses_today",
            field=models.IntegerField(default=0, editable=False, verbose_name="uses today"),
        ),
        migrations.AddField(
            model_name="soratoken",
            name="weight",
            field=models.IntegerField(
                default=1, help_text="A key of weight 2 carries twice as much as one of 1.", verbose_name="weight"
            ),
        ),
        migrations.AddConstraint(
            model_name="geminikey",
            constraint=models.CheckConstraint(
                condition=models.Q(("weight__gte", 1), ("weight__lte", 1000)),
                name="aiservices_geminikey_weight_sane",
                violation_error_message="Give a weight from 1 to 1000.",
            ),
        ),
        migrations.AddConstraint(
            model_name="geminikey",
            constraint=models.CheckConstraint(
                condition=models.Q(("daily_limit__gte", -1), ("max_in_flight__gte", -1)),
                name="aiservices_geminikey_limits_sane",
                violation_error_message="Give -1 for no limit, or 0 and more.",
            ),
        ),
        migrations.AddConstraint(
            model_name="geminikey",
            constraint=models.CheckConstraint(
                condition=models.Q(("in_flight__gte", 0)), name="aiservices_geminikey_in_flight_not_negative"
            ),
        ),
        migrations.AddConstraint(
            model_name="soratoken",
            constraint=models.CheckConstraint(
                condition=models.Q(("weight__gte", 1), ("weight__lte", 1000)),
                name="aiservices_soratoken_weight_sane",
                violation_error_message="Give a weight from 1 to 1000.",
            ),
        ),
        migrations.AddConstraint(
            model_name="soratoken",
            constraint=models.CheckConstraint(
                condition=models.Q(("daily_limit__gte", -1), ("max_in_flight__gte", -1)),
                name="aiservices_soratoken_limits_sane",
                violation_error_message="Give -1 for no limit, or 0 and more.",
            ),
        ),
        migrations.AddConstraint(
            model_name="soratoken",
            constraint=models.CheckConstraint(
                condition=models.Q(("in_flight__gte", 0)), name="aiservices_soratoken_in_flight_not_negative"
            ),
        ),
        migrations.AddIndex(
            model_name="credentiallease",
            index=models.Index(
                condition=models.Q(("ended_at__isnull", True)), fields=["expires_at"], name="aiservices_lease_open"
            ),
        ),
        migrations.AddIndex(
            model_name="credentiallease",
            index=models.Index(fields=["ended_at"], name="aiservices_lease_ended"),
        ),
        migrations.AddIndex(
            model_name="healthcheck",
            index=models.Index(fields=["service", "checked_at"], name="aiservices_health_service"),
        ),
    ]
