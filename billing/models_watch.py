"""What watches the books: proofs that were run, budgets, and alerts that stand."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

MAX_KEPT_PROBLEMS = 100


class ReconcileRun(models.Model):
    """One proof of the books: what was compared and what differed. `problems` keeps the first MAX_KEPT_PROBLEMS."""

    started_at = models.DateTimeField(_("started"))
    finished_at = models.DateTimeField(_("finished"))
    ok = models.BooleanField(_("right"))
    accounts = models.BigIntegerField(_("accounts"))
    entries = models.BigIntegerField(_("entries"))
    holds = models.BigIntegerField(_("holds"))
    charges = models.BigIntegerField(_("charges"))
    problem_count = models.BigIntegerField(_("differences"), default=0)
    problems = models.JSONField(_("what differs"), default=list)

    class Meta:
        verbose_name = _("proof of the books")
        verbose_name_plural = _("proofs of the books")

    def __str__(self) -> str:
        return f"#{self.pk}"


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


class AlertThreshold(models.Model):
    """From how few spendable credits on an account's balance counts as low, where it is not ALERT_LOW_BALANCE."""

    account = models.OneToOneField(
        "billing.Account", on_delete=models.CASCADE, related_name="alert_threshold", verbose_name=_("account")
    )
    low_balance = models.BigIntegerField(_("low from"), help_text=_("0: no alert."))

    class Meta:
        verbose_name = _("low balance")
        verbose_name_plural = _("low balances")
        constraints = [
            models.CheckConstraint(
                condition=Q(low_balance__gte=0),
                name="billing_threshold_not_negative",
                violation_error_message=_("A threshold cannot be negative."),
            )
        ]

    def __str__(self) -> str:
        return str(self.account)


class Alert(models.Model):
    """One thing that is watched, by its key: whether it stands now, and since when. It is raised once per crossing."""

    class Kind(models.TextChoices):
        LOW_BALANCE = "balance.low", _("Low balance")
        BUDGET = "budget.used", _("Budget used")
        OLD_HOLD = "hold.old", _("Old hold")
        RECONCILE = "reconcile.failed", _("The books differ")

    key = models.CharField(_("what"), max_length=100, unique=True)
    kind = models.CharField(_("kind"), max_length=20, choices=Kind)
    is_raised = models.BooleanField(_("standing"), default=False)
    raised_at = models.DateTimeField(_("raised"), null=True, blank=True)
    recovered_at = models.DateTimeField(_("recovered"), null=True, blank=True)
    times = models.IntegerField(_("times"), default=0)
    tenant = models.ForeignKey("tenants.Tenant", null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    details = models.JSONField(_("details"), default=dict)

    class Meta:
        verbose_name = _("alert")
        verbose_name_plural = _("alerts")
        indexes = [models.Index(fields=["kind"], condition=Q(is_raised=True), name="billing_alert_standing")]

    def __str__(self) -> str:
        return self.key


class DailyFigure(models.Model):
    """One figure of one day of BILLING_TIME_ZONE, such as the credits of a model (`billing.figures` names them)."""

    day = models.DateField(_("day"))
    name = models.CharField(_("figure"), max_length=32)
    key = models.CharField(_("of"), max_length=64, blank=True, default="")  # an account, a model, a code, or nothing: of all
    value = models.BigIntegerField(_("value"))

    class Meta:
        verbose_name = _("daily figure")
        verbose_name_plural = _("daily figures")
        constraints = [models.UniqueConstraint(fields=["day", "name", "key"], name="billing_figure_once_a_day")]

    def __str__(self) -> str:
        return f"{self.day} {self.name} {self.key}".strip()
