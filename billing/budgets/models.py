"""Budgets of tenants and of their keys."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class Budget(models.Model):
    """How many live credits a tenant, or one of its keys, may use in a calendar period of the tenant's time zone.

    What was used is read from the ledger (`billing.budgets`): nothing resets it.
    """

    class Period(models.TextChoices):
        DAY = "day", _("Day")
        WEEK = "week", _("Week")
        MONTH = "month", _("Month")

    tenant = models.ForeignKey(
        "tenants.Tenant", on_delete=models.CASCADE, related_name="budgets", verbose_name=_("tenant"), db_index=False
    )
    api_key = models.ForeignKey(
        "tenants.ApiKey",
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="budgets",
        verbose_name=_("API key"),
        help_text=_("Empty: all uses of the tenant."),
    )
    period = models.CharField(_("period"), max_length=5, choices=Period)
    limit_credits = models.BigIntegerField(_("credits"))
    is_active = models.BooleanField(_("active"), default=True)

    class Meta:
        verbose_name = _("budget")
        verbose_name_plural = _("budgets")
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "period"],
                condition=Q(api_key__isnull=True),
                name="billing_budget_once_per_tenant_and_period",
                violation_error_message=_("The tenant has a budget for this period already."),
            ),
            models.UniqueConstraint(
                fields=["api_key", "period"],
                condition=Q(api_key__isnull=False),
                name="billing_budget_once_per_key_and_period",
                violation_error_message=_("The key has a budget for this period already."),
            ),
            models.CheckConstraint(
                condition=Q(limit_credits__gte=0),
                name="billing_budget_limit_not_negative",
                violation_error_message=_("A budget cannot be negative."),
            ),
            models.CheckConstraint(condition=Q(period__in=["day", "week", "month"]), name="billing_budget_period_known"),
        ]
        indexes = [models.Index(fields=["tenant"], condition=Q(is_active=True), name="billing_budget_active")]

    def __str__(self) -> str:
        return f"{self.tenant} · {self.get_period_display()}"

    def clean(self) -> None:
        key: Any = self.api_key
        if key is not None and key.tenant_id != self.tenant_id:
            raise ValidationError({"api_key": _("This key belongs to another tenant.")})


class BudgetCheckpoint(models.Model):
    """What a budget's ledger made up to one entry of its period, so that the next look adds only the entries since."""

    budget = models.OneToOneField(Budget, on_delete=models.CASCADE, related_name="checkpoint")
    period_start = models.DateTimeField()
    seq = models.BigIntegerField()
    used = models.BigIntegerField()
