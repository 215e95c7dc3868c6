"""Roll-ups of a tenant's ledger by day, model and key, and how far they reach."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class UsageDay(models.Model):
    """What the ledger took from one account on one day of its tenant's zone, for one model and key."""

    account = models.ForeignKey("billing.Account", on_delete=models.CASCADE, related_name="+", db_index=False)
    day = models.DateField(_("day"))
    model = models.CharField(_("model"), max_length=36, blank=True, default="")  # the id's text; "" for none
    api_key = models.CharField(_("API key"), max_length=36, blank=True, default="")
    requests = models.BigIntegerField(_("requests"), default=0)
    credits = models.BigIntegerField(_("credits"), default=0)  # before refunds
    refunded = models.BigIntegerField(_("refunded"), default=0)

    class Meta:
        verbose_name = _("usage of a day")
        verbose_name_plural = _("usage by day")
        constraints = [
            models.UniqueConstraint(fields=["account", "day", "model", "api_key"], name="billing_usageday_once"),
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.credits}"


class UsageProgress(models.Model):
    """Up to which entry an account's ledger is rolled up, and by the days of which zone."""

    account = models.OneToOneField("billing.Account", on_delete=models.CASCADE, related_name="+", primary_key=True)
    seq = models.BigIntegerField(default=0)
    time_zone = models.CharField(max_length=64)

    def __str__(self) -> str:
        return f"{self.account_id} #{self.seq}"
