"""AI models are the catalog's, below the ledger: the model moves to this app, its table stays as it is."""

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

import waule.core.ids

OLD, NEW = "aiservices", "billing"


def _relabel(old, new):
    def relabel(apps, schema_editor):
        """Move the content type, and with it permissions, groups and the admin's log, to the other app."""
        content_types = apps.get_model("contenttypes", "ContentType").objects.using(schema_editor.connection.alias)
        if not content_types.filter(app_label=new, model="aimodel").exists():
            content_types.filter(app_label=old, model="aimodel").update(app_label=new)

    return relabel


def _model(on_delete, related_name="+"):
    return models.ForeignKey(
        blank=True, null=True, on_delete=on_delete, related_name=related_name, to="billing.aimodel", verbose_name="model"
    )


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0008_daily_figures"),
        ("aiservices", "0018_job_deaths"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.CreateModel(
                    name="AIModel",
                    fields=[
                        ("id", models.UUIDField(default=waule.core.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                        ("model_id", models.CharField(max_length=64, verbose_name="provider's name")),
                        ("name", models.CharField(max_length=200, verbose_name="name")),
                        ("provider", models.CharField(max_length=32, verbose_name="provider")),
                        (
                            "type",
                            models.CharField(
                                choices=[
                                    ("IMAGE_GENERATION", "Images"),
                                    ("VIDEO_GENERATION", "Videos"),
                                    ("TEXT_GENERATION", "Text"),
                                    ("VIDEO_EDITING", "Video editing"),
                                    ("AUDIO_SYNTHESIS", "Audio"),
                                ],
                                max_length=20,
                                verbose_name="type",
                            ),
                        ),
                        ("is_active", models.BooleanField(default=True, verbose_name="on")),
                        ("options", models.JSONField(blank=True, default=dict, verbose_name="options")),
                        (
                            "gateway_endpoint",
                            models.CharField(
                                blank=True,
                                choices=[
                                    ("images", "/v1/images/generations"),
                                    ("videos", "/v1/videos/generations"),
                                    ("sora-chat", "/v1/sora/chat/completions"),
                                ],
                                default="",
                                max_length=12,
                                verbose_name="gateway endpoint",
                            ),
                        ),
                        ("disabled_reason", models.CharField(blank=True, default="", max_length=500, verbose_name="why off")),
                        (
                            "disabled_by",
                            models.CharField(
                                blank=True, default="", editable=False, max_length=200, verbose_name="switched off by"
                            ),
                        ),
                        (
                            "disabled_until",
                            models.DateTimeField(
                                blank=True, help_text="Empty: until switched on.", null=True, verbose_name="off until"
                            ),
                        ),
                        (
                            "created_at",
                            models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="created"),
                        ),
                    ],
                    options={
                        "verbose_name": "model",
                        "verbose_name_plural": "models",
                        "db_table": "aiservices_aimodel",
                        "ordering": ["provider", "model_id"],
                        "constraints": [
                            models.UniqueConstraint(
                                fields=("provider", "model_id", "type"),
                                name="aiservices_model_once",
                                violation_error_message="This provider has this model already.",
                            )
                        ],
                    },
                ),
                migrations.AlterField(
                    "billingrule", "model", _model(django.db.models.deletion.CASCADE, related_name="billing_rules")
                ),
                migrations.AlterField("charge", "model", _model(django.db.models.deletion.PROTECT)),
                migrations.AlterField("hold", "model", _model(django.db.models.deletion.PROTECT)),
                migrations.AlterField("modelpermission", "model", _model(django.db.models.deletion.CASCADE)),
            ]
        ),
        migrations.RunPython(_relabel(OLD, NEW), _relabel(NEW, OLD)),
    ]
