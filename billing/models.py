"""The books: accounts, immutable ledger entries, charges, holds and refunds; and the prices they follow.

Only `billing/services` and `billing/ledger.py` write balances. Credits are whole numbers of 64 bits.
"""

import time
from typing import Any

from django.conf import settings
from django.db import models, transaction
from django.db.models import F, Q, Value
from django.db.models.functions import Greatest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from tenants.models import Level, Mode
from waule.append_only import AppendOnlyModel
from waule.ids import uuid7

MAX_CREDITS = 2**53 - 1  # the largest amount of one posting: every JSON reader can still read it
MAX_REASON_LENGTH = 500


class Account(models.Model):
    """The purse of one tenant (live, test) or one user. One narrow row; spendable = balance - held."""

    id = models.BigAutoField(primary_key=True)
    tenant = models.ForeignKey(
        "tenants.Tenant", null=True, blank=True, on_delete=models.PROTECT, related_name="accounts", verbose_name=_("tenant")
    )
    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="account", verbose_name=_("user")
    )
    mode = models.CharField(_("mode"), max_length=4, choices=Mode, default=Mode.LIVE)
    balance = models.BigIntegerField(_("balance"), default=0)
    held = models.BigIntegerField(_("held"), default=0)
    last_seq = models.BigIntegerField(_("entries"), default=0)
    last_entry_at = models.DateTimeField(_("last entry"), null=True, blank=True)
    last_hash = models.CharField(max_length=64, blank=True, default="")

    class Meta:
        verbose_name = _("account")
        verbose_name_plural = _("accounts")
        permissions = [("grant_credits", "Can grant credits"), ("adjust_credits", "Can adjust balances")]
        constraints = [
            models.CheckConstraint(
                condition=Q(balance__gte=0),
                name="billing_account_balance_not_negative",
                violation_error_message=_("A balance cannot be negative."),
            ),
            models.CheckConstraint(
                condition=Q(held__gte=0),
                name="billing_account_held_not_negative",
                violation_error_message=_("Held credits cannot be negative."),
            ),
            models.CheckConstraint(
                condition=Q(held__lte=F("balance")),
                name="billing_account_held_covered",
                violation_error_message=_("No more can be held than there is."),
            ),
            models.CheckConstraint(
                condition=Q(tenant__isnull=False, user__isnull=True) | Q(tenant__isnull=True, user__isnull=False),
                name="billing_account_one_owner",
                violation_error_message=_("An account belongs to one tenant or to one user."),
            ),
            models.CheckConstraint(condition=Q(mode__in=["live", "test"]), name="billing_account_mode_known"),
            models.UniqueConstraint(fields=["tenant", "mode"], name="billing_account_once_per_tenant_and_mode"),
        ]

    def __str__(self) -> str:
        owner = str(self.tenant or self.user)
        return f"{owner} ({self.get_mode_display()})" if self.mode == Mode.TEST else owner

    @property
    def spendable(self) -> int:
        return self.balance - self.held

    @property
    def reference(self) -> str:
        """How reports name the account: `tenant:<id>` or `user:<id>`, a test account with `:test` behind it."""
        name = f"tenant:{self.tenant_id}" if self.tenant_id else f"user:{self.user_id}"
        return f"{name}:test" if self.mode == Mode.TEST else name


class Kind(models.TextChoices):
    """Why an entry moved credits."""

    RECHARGE = "RECHARGE", _("Recharge")
    GIFT = "GIFT", _("Gift")
    ADMIN = "ADMIN", _("Adjustment")
    REDEEM = "REDEEM", _("Redeem")
    CONSUME = "CONSUME", _("Use")
    REFUND = "REFUND", _("Refund")
    EXPIRE = "EXPIRE", _("Expiry")


GRANT_KINDS = (Kind.RECHARGE, Kind.GIFT, Kind.ADMIN, Kind.REDEEM)


class LedgerEntry(AppendOnlyModel):
    """One movement of credits: signed amount, balance after, number within its account, why and who.

    `hash` chains the account's entries: SHA-256 over the entry before and this one (`billing.ledger.entry_hash`).
    """

    id = models.BigAutoField(primary_key=True)
    account = models.ForeignKey(
        Account, on_delete=models.PROTECT, related_name="entries", verbose_name=_("account"), db_index=False
    )
    seq = models.BigIntegerField(_("no."))
    kind = models.CharField(_("kind"), max_length=8, choices=Kind)
    amount = models.BigIntegerField(_("amount"))
    balance = models.BigIntegerField(_("balance after"))
    charge = models.ForeignKey(
        "billing.Charge", null=True, blank=True, on_delete=models.PROTECT, related_name="entries", verbose_name=_("charge")
    )
    description = models.CharField(_("why"), max_length=500, blank=True, default="")
    actor = models.CharField(_("who"), max_length=200, default="")
    idempotency_key = models.CharField(max_length=255, null=True, blank=True)
    fingerprint = models.CharField(max_length=64, blank=True, default="")
    spendable = models.BigIntegerField(_("spendable after"))
    created_at = models.DateTimeField(_("at"))
    hash = models.CharField(max_length=64)

    class Meta:
        verbose_name = _("ledger entry")
        verbose_name_plural = _("ledger")
        constraints = [
            models.UniqueConstraint(fields=["account", "seq"], name="billing_entry_number_once"),
            models.UniqueConstraint(
                fields=["account", "idempotency_key"],
                condition=Q(idempotency_key__isnull=False),
                name="billing_entry_grant_key_once",
            ),
            models.CheckConstraint(condition=Q(seq__gte=1), name="billing_entry_number_positive"),
            models.CheckConstraint(condition=~Q(amount=0), name="billing_entry_amount_not_zero"),
            models.CheckConstraint(condition=Q(balance__gte=0), name="billing_entry_balance_not_negative"),
            models.CheckConstraint(condition=Q(kind__in=[kind.value for kind in Kind]), name="billing_entry_kind_known"),
        ]
        indexes = [
            models.Index(fields=["account", "created_at"], name="billing_entry_at"),
            # Rare kinds are found among millions of uses; a use itself costs nothing here.
            models.Index(fields=["kind", "-id"], condition=~Q(kind="CONSUME"), name="billing_entry_rare_kind"),
        ]

    def __str__(self) -> str:
        return f"#{self.seq} {self.amount:+d}"


class Use(models.Model):
    """What was priced, how, and which daily counters it took: the common part of a charge and a hold."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    model = models.ForeignKey(
        "aiservices.AIModel", null=True, blank=True, on_delete=models.PROTECT, related_name="+", verbose_name=_("model")
    )
    operation = models.CharField(_("operation"), max_length=64, blank=True, default="")
    quantity = models.IntegerField(_("quantity"), default=1)
    is_free = models.BooleanField(_("free"), default=False)
    use = models.JSONField(_("use"), default=dict)  # the inputs of the price; a duration as exact decimal text
    snapshot = models.JSONField(_("price"), default=dict)  # the rule as it was, with the steps of the arithmetic
    counted_day = models.DateField(null=True, blank=True)
    counted_scope = models.CharField(max_length=100, blank=True, default="")
    counted_free = models.BooleanField(default=False)
    metadata = models.JSONField(_("metadata"), null=True, blank=True)
    api_key = models.ForeignKey(
        "tenants.ApiKey",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        verbose_name=_("API key"),
        db_index=False,
    )
    idempotency_key = models.CharField(max_length=255, null=True, blank=True)
    fingerprint = models.CharField(max_length=64, blank=True, default="")
    spendable_after = models.BigIntegerField(default=0)  # what the first answer said, for its replays
    actor = models.CharField(_("who"), max_length=200, blank=True, default="")
    created_at = models.DateTimeField(_("at"))

    class Meta:
        abstract = True


class Hold(Use):
    """Credits set aside before a long job. Ends exactly once: captured, released or expired."""

    class State(models.TextChoices):
        HELD = "held", _("Held")
        CAPTURED = "captured", _("Captured")
        RELEASED = "released", _("Released")
        EXPIRED = "expired", _("Expired")

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="holds", verbose_name=_("account"))
    credits = models.BigIntegerField(_("credits"))
    state = models.CharField(_("state"), max_length=8, choices=State, default=State.HELD)
    expires_at = models.DateTimeField(_("expires"))
    is_pinned = models.BooleanField(_("kept while its generation runs"), default=False)
    is_unknown = models.BooleanField(_("kept for an unknown outcome"), default=False)
    ended_at = models.DateTimeField(_("ended"), null=True, blank=True)
    credits_released = models.BigIntegerField(_("released"), default=0)
    spendable_at_end = models.BigIntegerField(default=0)
    end_reason = models.CharField(_("reason"), max_length=500, blank=True, default="")

    class Meta:
        verbose_name = _("hold")
        verbose_name_plural = _("holds")
        constraints = [
            models.UniqueConstraint(
                fields=["account", "idempotency_key"], condition=Q(idempotency_key__isnull=False), name="billing_hold_key_once"
            ),
            models.CheckConstraint(condition=Q(credits__gte=0), name="billing_hold_credits_not_negative"),
            models.CheckConstraint(
                condition=Q(state__in=["held", "captured", "released", "expired"]), name="billing_hold_state_known"
            ),
        ]
        indexes = [
            models.Index(fields=["expires_at"], condition=Q(state="held"), name="billing_hold_open_expiry"),
            models.Index(fields=["account"], condition=Q(state="held"), name="billing_hold_open_account"),
            models.Index(fields=["state", "-id"], condition=Q(state__in=["released", "expired"]), name="billing_hold_not_used"),
        ]

    def __str__(self) -> str:
        return f"{self.credits} ({self.get_state_display()})"


class Charge(Use):
    """One priced use of a model; its id is the usage record's id. `refunded` never exceeds `credits`."""

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="charges", verbose_name=_("account"))
    credits = models.BigIntegerField(_("credits"))
    refunded = models.BigIntegerField(_("refunded"), default=0)
    shortfall = models.BigIntegerField(_("shortfall"), default=0)
    refunded_at = models.DateTimeField(_("refunded in full"), null=True, blank=True)
    hold = models.OneToOneField(
        Hold, null=True, blank=True, on_delete=models.PROTECT, related_name="charge", verbose_name=_("hold")
    )

    class Meta:
        verbose_name = _("charge")
        verbose_name_plural = _("charges")
        permissions = [("refund_charge", "Can refund charges")]
        constraints = [
            models.UniqueConstraint(
                fields=["account", "idempotency_key"], condition=Q(idempotency_key__isnull=False), name="billing_charge_key_once"
            ),
            models.CheckConstraint(condition=Q(credits__gte=0), name="billing_charge_credits_not_negative"),
            models.CheckConstraint(
                condition=Q(refunded__gte=0, refunded__lte=F("credits")),
                name="billing_charge_refund_within",
                violation_error_message=_("No more can be refunded than was charged."),
            ),
            models.CheckConstraint(condition=Q(shortfall__gte=0), name="billing_charge_shortfall_not_negative"),
        ]
        indexes = [
            models.Index(fields=["account", "created_at"], name="billing_charge_at"),
            models.Index(fields=["-id"], condition=Q(refunded__gt=0), name="billing_charge_refunded"),
            models.Index(fields=["-id"], condition=Q(shortfall__gt=0), name="billing_charge_shortfall"),
        ]

    def __str__(self) -> str:
        return f"{self.operation} {self.credits}".strip()

    @property
    def state(self) -> str:
        """`charged`, `partially_refunded` or `refunded`."""
        if self.refunded_at is not None:
            return "refunded"
        return "partially_refunded" if self.refunded else "charged"


class Refund(AppendOnlyModel):
    """One refund of a charge: how much, why, and what its first answer said."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    charge = models.ForeignKey(Charge, on_delete=models.PROTECT, related_name="refunds", verbose_name=_("charge"))
    credits = models.BigIntegerField(_("credits"))
    total_after = models.BigIntegerField(_("total"))
    is_full = models.BooleanField(_("in full"))  # asked for "all that is left": repeated without a key it is a replay
    reason = models.CharField(_("reason"), max_length=500)
    actor = models.CharField(_("who"), max_length=200, blank=True, default="")
    entry = models.OneToOneField(LedgerEntry, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="+")
    idempotency_key = models.CharField(max_length=255, null=True, blank=True)
    fingerprint = models.CharField(max_length=64, blank=True, default="")
    spendable_after = models.BigIntegerField()
    created_at = models.DateTimeField(_("at"))

    class Meta:
        verbose_name = _("refund")
        verbose_name_plural = _("refunds")
        constraints = [
            models.UniqueConstraint(
                fields=["account", "idempotency_key"], condition=Q(idempotency_key__isnull=False), name="billing_refund_key_once"
            ),
            models.CheckConstraint(condition=Q(credits__gte=0), name="billing_refund_credits_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.credits} ← {self.charge_id}"


# --- prices --------------------------------------------------------------------------------------------------------


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
    """Makes every process read the catalog anew. Call it after a bulk change of catalog rows.

    The number is a time in microseconds, so that a restored or rolled-back database never names another catalog by a
    number that some process remembers.
    """
    number = Greatest(F("version") + 1, Value(time.time_ns() // 1000))
    if not CatalogState.objects.filter(id=1).update(version=number):
        CatalogState.objects.create(id=1, version=time.time_ns() // 1000)


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


class BillingRule(CatalogRow):
    """How a use becomes credits. One rule per scope: a model, a node type or a module type."""

    name = models.CharField(_("name"), max_length=200)
    model = models.ForeignKey(
        "aiservices.AIModel",
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
    """The one text that names a scope: trimmed and in lower case, as scopes are compared."""
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
        "aiservices.AIModel", null=True, blank=True, on_delete=models.CASCADE, related_name="+", verbose_name=_("model")
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
        return f"{self.level} {self.scope}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.scope = scope_of(model_pk=self.model_id, node_type=self.node_type, module_type=self.module_type)
        super().save(*args, **kwargs)


class DailyUsage(models.Model):
    """Uses of one user on one day (in BILLING_TIME_ZONE) within one permission row's scope."""

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="daily_usage")
    day = models.DateField()
    scope = models.CharField(max_length=100)
    uses = models.IntegerField(default=0)
    free_uses = models.IntegerField(default=0)

    class Meta:
        verbose_name = _("daily usage")
        verbose_name_plural = _("daily usage")
        constraints = [
            models.UniqueConstraint(fields=["account", "day", "scope"], name="billing_usage_once_per_day_and_scope"),
            models.CheckConstraint(condition=Q(uses__gte=0, free_uses__gte=0), name="billing_usage_not_negative"),
        ]


from billing.models_watch import (  # noqa: E402  (what watches the books; it names these models only by their names)
    Alert,
    AlertThreshold,
    Budget,
    BudgetCheckpoint,
    DailyFigure,
    ReconcileRun,
)

__all__ = [
    "GRANT_KINDS",
    "MAX_CREDITS",
    "Account",
    "Alert",
    "AlertThreshold",
    "BillingPrice",
    "BillingRule",
    "BillingType",
    "Budget",
    "BudgetCheckpoint",
    "CatalogRow",
    "CatalogState",
    "CatalogVersion",
    "Charge",
    "DailyFigure",
    "DailyUsage",
    "Hold",
    "Kind",
    "LedgerEntry",
    "LevelConfig",
    "ModelPermission",
    "ReconcileRun",
    "Refund",
    "Use",
    "raise_catalog_version",
    "scope_of",
]
