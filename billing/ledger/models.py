"""The ledger: accounts, immutable ledger entries, charges, holds, refunds and daily counters.

Prices are in `billing/catalog/models.py`, what watches the ledger in `billing/monitoring/models.py`; all are imported from here.

Only `billing/services` and `billing/ledger/posting.py` write balances. Credits are whole numbers of 64 bits.
"""

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop

from tenants.models import Mode
from waule.core.db.append_only import AppendOnlyModel
from waule.core.ids import uuid7

MAX_CREDITS = 2**53 - 1  # the largest amount of one posting: every JSON reader can still read it
MAX_REASON_LENGTH = 500


class Account(models.Model):
    """The credits of one tenant (live, test) or one user. One narrow row; spendable = balance - held."""

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
        permissions = [
            ("grant_credits", gettext_noop("Can grant credits")),
            ("adjust_credits", gettext_noop("Can adjust balances")),
        ]
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
        "billing.Charge",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="entries",
        verbose_name=_("charge"),
        db_index=False,  # nobody looks an entry up by its charge
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
            models.Index(  # what an account got, for its statements
                fields=["account", "seq"],
                include=["kind", "amount"],
                condition=~Q(kind="CONSUME"),
                name="billing_entry_but_uses",
            ),
        ]

    def __str__(self) -> str:
        return f"#{self.seq} {self.amount:+,}"


class Use(models.Model):
    """What was priced, how, and which daily counters it took: the common part of a charge and a hold."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    model = models.ForeignKey(
        "billing.AIModel", null=True, blank=True, on_delete=models.PROTECT, related_name="+", verbose_name=_("model")
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
            # Those of an account that are past their time are found without looking at the others, however many are open.
            models.Index(fields=["account", "expires_at"], condition=Q(state="held"), name="billing_hold_open_by_account"),
            models.Index(fields=["state", "-id"], condition=Q(state__in=["released", "expired"]), name="billing_hold_not_used"),
        ]

    def __str__(self) -> str:
        return f"{self.credits} ({self.get_state_display()})"


class Charge(Use):
    """One priced use of a model; its id is the usage record's id. `refunded` never exceeds `credits`."""

    account = models.ForeignKey(  # its index is `billing_charge_at`
        Account, on_delete=models.PROTECT, related_name="charges", verbose_name=_("account"), db_index=False
    )
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
        permissions = [("refund_charge", gettext_noop("Can refund charges"))]
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
            models.Index(fields=["account", "created_at"], condition=Q(credits=0), name="billing_charge_free"),
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


class ProvenEntry(models.Model):
    """Up to which entry an account's ledger was proven, and what that entry said (`billing.reconciliation.incremental`)."""

    account = models.OneToOneField(Account, on_delete=models.CASCADE, related_name="+", primary_key=True)
    seq = models.BigIntegerField()
    balance = models.BigIntegerField()
    hash = models.CharField(max_length=64)
    entry_at = models.DateTimeField()
    proven_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.account_id} {self.seq}"
