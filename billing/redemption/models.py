"""Batches of redemption codes, their codes, who redeemed them, and wrong codes."""

from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from waule.core.db.append_only import AppendOnlyModel
from waule.core.ids import uuid7

MAX_BATCH_NAME = 100


class RedemptionBatch(models.Model):
    """Codes that were made together: each gives `credits`, `uses` times, once per account and batch."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(_("name"), max_length=MAX_BATCH_NAME, unique=True)
    credits = models.BigIntegerField(_("credits"))
    uses = models.IntegerField(_("uses of each code"), default=1)
    code_count = models.IntegerField(_("codes"))
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    closed_at = models.DateTimeField(_("closed"), null=True, blank=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    created_by = models.CharField(_("created by"), max_length=200, blank=True, default="")

    class Meta:
        verbose_name = _("redemption batch")
        verbose_name_plural = _("redemption codes")
        constraints = [
            models.CheckConstraint(condition=Q(credits__gte=1), name="billing_redemption_credits_positive"),
            models.CheckConstraint(condition=Q(uses__gte=1), name="billing_redemption_uses_positive"),
        ]

    def __str__(self) -> str:
        return self.name


class RedemptionCode(models.Model):
    """One code, known by its keyed hash alone."""

    batch = models.ForeignKey(RedemptionBatch, on_delete=models.PROTECT, related_name="codes", verbose_name=_("batch"))
    code_hash = models.CharField(max_length=64, unique=True, editable=False)
    masked = models.CharField(_("code"), max_length=32)
    used = models.IntegerField(_("used"), default=0)
    # Of the batch, so that one conditional update decides who gets the last use.
    uses = models.IntegerField(_("uses"), default=1)

    class Meta:
        verbose_name = _("redemption code")
        verbose_name_plural = _("redemption codes")
        constraints = [
            models.CheckConstraint(condition=Q(used__gte=0, used__lte=F("uses")), name="billing_redemption_used_within"),
        ]

    def __str__(self) -> str:
        return self.masked


class Redemption(AppendOnlyModel):
    """One use of a code: which account got the credits, by which ledger entry, on whose request."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    code = models.ForeignKey(RedemptionCode, on_delete=models.PROTECT, related_name="redemptions", verbose_name=_("code"))
    batch = models.ForeignKey(RedemptionBatch, on_delete=models.PROTECT, related_name="redemptions", verbose_name=_("batch"))
    account = models.ForeignKey("billing.Account", on_delete=models.PROTECT, related_name="+", verbose_name=_("account"))
    entry = models.OneToOneField("billing.LedgerEntry", on_delete=models.PROTECT, related_name="+", verbose_name=_("entry"))
    idempotency_key = models.CharField(max_length=255, null=True, blank=True)
    balance_after = models.BigIntegerField()  # what could be spent then, for replays
    actor = models.CharField(_("who"), max_length=200, blank=True, default="")
    created_at = models.DateTimeField(_("at"))

    class Meta:
        verbose_name = _("redemption")
        verbose_name_plural = _("redemptions")
        constraints = [
            models.UniqueConstraint(fields=["account", "batch"], name="billing_redemption_once_per_account_and_batch"),
            models.UniqueConstraint(
                fields=["account", "idempotency_key"],
                condition=Q(idempotency_key__isnull=False),
                name="billing_redemption_key_once",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.batch_id} → {self.account_id}"


class WrongCode(models.Model):
    """A code that nobody made, sent for an account: too many within an hour close the door for a while."""

    account = models.ForeignKey("billing.Account", on_delete=models.CASCADE, related_name="+", db_index=False)
    at = models.DateTimeField()

    class Meta:
        verbose_name = _("wrong code")
        verbose_name_plural = _("wrong codes")
        indexes = [models.Index(fields=["account", "at"], name="billing_wrong_code_recent")]

    def __str__(self) -> str:
        return str(self.account_id)
