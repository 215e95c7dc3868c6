"""What a use costs and who may have it: rules, prices and permissions, and the catalog's number that changes with them."""

from datetime import date, datetime, time, timedelta
from time import time_ns
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import models, transaction
from django.db.models import F, Q, Value
from django.db.models.functions import Greatest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from tenants.models import Level
from waule.core.db.append_only import AppendOnlyModel
from waule.core.ids import uuid7

MODEL_ENDS_DAYS = 30  # so many days ahead an operator is warned


def last_warned_day(now: datetime) -> date:
    """Models that end on this day or before are warned of."""
    return now.astimezone(ZoneInfo(settings.BILLING_TIME_ZONE)).date() + timedelta(days=MODEL_ENDS_DAYS)


class CatalogState(models.Model):
    """One row: the number of the catalog that holds now. Every change of a model, rule, price or permission raises it."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    version = models.BigIntegerField(default=1)

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(id=1), name="billing_catalogstate_one_row")]


class CatalogRow(models.Model):
    """A row that belongs to the catalog: saving or deleting it raises the catalog's version in the same transaction."""

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        # The number's row is locked first, as everywhere, so that two editors wait instead of deadlocking.
        with transaction.atomic():
            raise_catalog_version()
            super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        with transaction.atomic():
            raise_catalog_version()
            return super().delete(*args, **kwargs)


def raise_catalog_version() -> None:
    """Make every process read the catalog anew. Call it after a bulk change of catalog rows.

    The number is a time in microseconds, so that a restored or rolled-back database never names another catalog by a
    number that some process remembers.
    """
    number = Greatest(F("version") + 1, Value(time_ns() // 1000))
    if not CatalogState.objects.filter(id=1).update(version=number):
        CatalogState.objects.create(id=1, version=time_ns() // 1000)


class OnOrOff:
    """Whether a model is there to be used: for its row, and for the catalog that is kept in memory."""

    is_active: bool
    disabled_until: datetime | None
    retires_at: date | None

    def is_on(self, now: datetime) -> bool:
        """Not retired; and switched on, or switched off only until a time that has passed."""
        is_switched_on = self.is_active or (self.disabled_until is not None and self.disabled_until <= now)
        return is_switched_on and not self.is_retired(now)

    def is_retired(self, now: datetime) -> bool:
        """From the day on, in BILLING_TIME_ZONE, on which its provider ends it."""
        return self.retires_at is not None and now >= datetime.combine(
            self.retires_at, time(), ZoneInfo(settings.BILLING_TIME_ZONE)
        )


class AIModel(OnOrOff, CatalogRow):
    """A model that can be generated with. `model_id` is the provider's name; our id is what callers may use as well."""

    class Type(models.TextChoices):
        IMAGE_GENERATION = "IMAGE_GENERATION", _("Images")
        VIDEO_GENERATION = "VIDEO_GENERATION", _("Videos")
        TEXT_GENERATION = "TEXT_GENERATION", _("Text")
        VIDEO_EDITING = "VIDEO_EDITING", _("Video editing")
        AUDIO_SYNTHESIS = "AUDIO_SYNTHESIS", _("Audio")

    class Endpoint(models.TextChoices):
        IMAGES = "images", "/v1/images/generations"
        VIDEOS = "videos", "/v1/videos/generations"
        SORA_CHAT = "sora-chat", "/v1/sora/chat/completions"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    model_id = models.CharField(_("provider's name"), max_length=64)
    name = models.CharField(_("name"), max_length=200)
    provider = models.CharField(_("provider"), max_length=32)
    type = models.CharField(_("type"), max_length=20, choices=Type)
    is_active = models.BooleanField(_("on"), default=True)
    options = models.JSONField(_("options"), default=dict, blank=True)
    gateway_endpoint = models.CharField(_("gateway endpoint"), max_length=12, choices=Endpoint, blank=True, default="")
    disabled_reason = models.CharField(_("why off"), max_length=500, blank=True, default="")
    disabled_by = models.CharField(_("switched off by"), max_length=200, blank=True, default="", editable=False)
    disabled_until = models.DateTimeField(_("off until"), null=True, blank=True, help_text=_("Empty: until switched on."))
    retires_at = models.DateField(
        _("ends on"), null=True, blank=True, help_text=_("Warned of 30 days ahead; not to be had from this day on.")
    )
    replaced_by = models.CharField(
        _("replaced by"), max_length=64, blank=True, default="", help_text=_("The provider's name of the model to use instead.")
    )
    serve_replacement = models.BooleanField(
        _("serve by the replacement"),
        default=False,
        help_text=_("From that day on, requests for this model are made, and charged, by the replacement."),
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    class Meta:
        db_table = "aiservices_aimodel"
        verbose_name = _("model")
        verbose_name_plural = _("models")
        ordering = ["provider", "model_id"]
        constraints = [
            models.UniqueConstraint(
                fields=["provider", "model_id", "type"],
                name="aiservices_model_once",
                violation_error_message=_("This provider has this model already."),
            ),
        ]

    def __str__(self) -> str:
        return self.name


class CatalogVersion(AppendOnlyModel):
    """The whole catalog as it stood after a change: what prices, limits and models were, and who made them so."""

    number = models.BigIntegerField(_("no."), unique=True)
    created_at = models.DateTimeField(_("at"), default=timezone.now)
    author = models.CharField(_("who"), max_length=200)
    note = models.CharField(_("what"), max_length=500, blank=True, default="")
    document = models.JSONField(_("catalog"))  # in the form of the catalog file

    class Meta:
        verbose_name = _("catalog version")
        verbose_name_plural = _("catalog versions")

    def __str__(self) -> str:
        return f"#{self.number}"


class BillingType(models.TextChoices):
    PER_REQUEST = "PER_REQUEST", _("Per request")
    PER_IMAGE = "PER_IMAGE", _("Per image")
    PER_DURATION = "PER_DURATION", _("Per second")
    DURATION_RESOLUTION = "DURATION_RESOLUTION", _("Seconds by resolution")
    PER_CHARACTER = "PER_CHARACTER", _("Per character")
    DURATION_MODE = "DURATION_MODE", _("Seconds by mode")
    OPERATION_MODE = "OPERATION_MODE", _("Operation by mode")


class ProviderList(models.Model):
    """The models that a service listed when it was last asked (`billing.catalog.provider_lists`)."""

    service = models.CharField(max_length=32, primary_key=True)
    names = models.JSONField(default=dict)  # with the day on which the service ends each, or nothing
    listed_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.service


class BillingRule(CatalogRow):
    """How a use becomes credits. One rule per scope: a model, a node type or a module type."""

    name = models.CharField(_("name"), max_length=200)
    model = models.ForeignKey(
        "billing.AIModel",
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="billing_rules",
        verbose_name=_("model"),
    )
    node_type = models.CharField(_("node type"), max_length=64, blank=True, default="")
    module_type = models.CharField(_("module type"), max_length=64, blank=True, default="")
    scope = models.CharField(max_length=100, unique=True, editable=False)  # `model:<id>`, `node:<type>` or `module:<type>`
    billing_type = models.CharField(_("billing type"), max_length=24, choices=BillingType)
    base_credits = models.BigIntegerField(_("base credits"), default=0)
    is_free = models.BooleanField(_("free"), default=False)
    round_up = models.BooleanField(_("whole seconds"), null=True, blank=True, help_text=_("Empty: as the billing type says."))
    pricing_unit = models.CharField(
        _("pricing unit"),
        max_length=16,
        blank=True,
        default="",
        choices=[("per_second", _("per second")), ("per_request", _("per request"))],
    )
    is_active = models.BooleanField(_("active"), default=True)
    version = models.IntegerField(_("version"), default=1, editable=False)
    updated_at = models.DateTimeField(_("changed"), auto_now=True)

    class Meta:
        verbose_name = _("price rule")
        verbose_name_plural = _("prices")
        constraints = [
            models.CheckConstraint(
                condition=Q(base_credits__gte=0),
                name="billing_rule_base_not_negative",
                violation_error_message=_("A price cannot be negative."),
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.scope = scope_of(model_pk=self.model_id, node_type=self.node_type, module_type=self.module_type)
        super().save(*args, **kwargs)


def scope_of(*, model_pk: Any = None, node_type: str = "", module_type: str = "") -> str:
    """Return the one text that names a scope: trimmed and in lower case, as scopes are compared."""
    if node_type.strip():
        return f"node:{node_type.strip().lower()}"
    if module_type.strip():
        return f"module:{module_type.strip().lower()}"
    return f"model:{model_pk}"


class BillingPrice(CatalogRow):
    """One row of a rule's prices."""

    class Dimension(models.TextChoices):
        RESOLUTION = "resolution", _("Resolution")
        MODE = "mode", _("Mode")
        OPERATION_TYPE = "operationType", _("Operation type")
        CHARACTER = "character", _("Characters")

    rule = models.ForeignKey(BillingRule, on_delete=models.CASCADE, related_name="prices", verbose_name=_("rule"))
    dimension = models.CharField(_("dimension"), max_length=16, choices=Dimension)
    value = models.CharField(_("value"), max_length=64, blank=True, default="")
    credits = models.BigIntegerField(_("credits"), null=True, blank=True)
    multiplier = models.DecimalField(_("multiplier"), max_digits=12, decimal_places=6, null=True, blank=True)
    unit_size = models.BigIntegerField(_("unit size"), null=True, blank=True)

    class Meta:
        verbose_name = _("price row")
        verbose_name_plural = _("price rows")
        constraints = [
            models.UniqueConstraint(fields=["rule", "dimension", "value"], name="billing_price_once_per_value"),
        ]

    def __str__(self) -> str:
        return f"{self.dimension} {self.value}".strip()


class LevelConfig(CatalogRow):
    """What a level may do at once."""

    level = models.CharField(_("level"), max_length=16, choices=Level, unique=True)
    max_concurrency = models.IntegerField(_("at once"), default=-1, help_text=_("-1: no limit."))

    class Meta:
        verbose_name = _("level")
        verbose_name_plural = _("levels")
        constraints = [
            models.CheckConstraint(
                condition=Q(max_concurrency__gte=-1),
                name="billing_level_concurrency_sane",
                violation_error_message=_("Give -1 for no limit, or 0 and more."),
            ),
        ]

    def __str__(self) -> str:
        return self.get_level_display()


class ModelPermission(CatalogRow):
    """What a level may do with a model, node type or module type. No row: allowed and paid."""

    level = models.ForeignKey(LevelConfig, on_delete=models.CASCADE, related_name="permissions", verbose_name=_("level"))
    model = models.ForeignKey(
        "billing.AIModel", null=True, blank=True, on_delete=models.CASCADE, related_name="+", verbose_name=_("model")
    )
    node_type = models.CharField(_("node type"), max_length=64, blank=True, default="")
    module_type = models.CharField(_("module type"), max_length=64, blank=True, default="")
    scope = models.CharField(max_length=100, editable=False)
    is_allowed = models.BooleanField(_("allowed"), default=True)
    daily_limit = models.IntegerField(_("uses a day"), default=-1, help_text=_("-1: no limit, 0: none."))
    is_free_for_member = models.BooleanField(_("free for members"), default=False)
    free_daily_limit = models.IntegerField(_("free uses a day"), default=0, help_text=_("-1: no limit, 0: none."))

    class Meta:
        verbose_name = _("permission")
        verbose_name_plural = _("permissions")
        constraints = [
            models.UniqueConstraint(fields=["level", "scope"], name="billing_permission_once_per_scope"),
            models.CheckConstraint(
                condition=Q(daily_limit__gte=-1, free_daily_limit__gte=-1),
                name="billing_permission_limits_sane",
                violation_error_message=_("Give -1 for no limit, or 0 and more."),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.level} · {self.model or self.node_type or self.module_type}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.scope = scope_of(model_pk=self.model_id, node_type=self.node_type, module_type=self.module_type)
        super().save(*args, **kwargs)
