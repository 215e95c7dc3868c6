"""What watches the ledger: reconciliation runs, thresholds, and open alerts."""

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

MAX_KEPT_PROBLEMS = 100


class ReconcileRun(models.Model):
    """One reconciliation: what was compared and what differed. `problems` keeps the first MAX_KEPT_PROBLEMS."""

    started_at = models.DateTimeField(_("started"))
    finished_at = models.DateTimeField(_("finished"))
    ok = models.BooleanField(_("right"))
    accounts = models.BigIntegerField(_("accounts"))
    entries = models.BigIntegerField(_("entries"))
    holds = models.BigIntegerField(_("holds"))
    charges = models.BigIntegerField(_("charges"))
    problem_count = models.BigIntegerField(_("differences"), default=0)
    problems = models.JSONField(_("what differs"), default=list)
    is_full = models.BooleanField(_("all of it"), default=True, db_default=True)  # else what was new

    class Meta:
        verbose_name = _("reconciliation run")
        verbose_name_plural = _("reconciliation runs")

    def __str__(self) -> str:
        return f"#{self.pk}"


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
        RECONCILE = "reconcile.failed", _("The ledger does not add up")
        MODEL_ENDS = "model.ends", _("Model ends")
        DOUBLE_CHARGE = "double_charge_suspected", _("Charged twice?")
        NOT_CHARGED = "not_charged", _("Delivered without a charge")
        UNKNOWN_RELEASED = "unknown_released", _("Unknown outcomes released")
        NO_WORKER = "workers.none", _("No worker is alive")
        BROKER_DOWN = "broker.down", _("The broker is away")

    key = models.CharField(_("what"), max_length=100, unique=True)
    kind = models.CharField(_("kind"), max_length=40, choices=Kind)
    is_raised = models.BooleanField(_("standing"), default=False)
    raised_at = models.DateTimeField(_("raised"), null=True, blank=True)
    recovered_at = models.DateTimeField(_("recovered"), null=True, blank=True)
    times = models.IntegerField(_("times"), default=0)
    tenant = models.ForeignKey("tenants.Tenant", null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    details = models.JSONField(_("details"), default=dict)
    # Somebody has seen it, since it was raised; until `silenced_until` it is raised again without a message.
    acknowledged_at = models.DateTimeField(_("acknowledged"), null=True, blank=True)
    acknowledged_by = models.CharField(_("acknowledged by"), max_length=200, blank=True, default="")
    silenced_until = models.DateTimeField(_("silent until"), null=True, blank=True)

    class Meta:
        verbose_name = _("alert")
        verbose_name_plural = _("alerts")
        indexes = [models.Index(fields=["kind"], condition=Q(is_raised=True), name="billing_alert_standing")]

    def __str__(self) -> str:
        return self.key


class DailyStat(models.Model):
    """One figure of one day of BILLING_TIME_ZONE, such as the credits of a model (`monitoring/daily_stats.py` names them)."""

    day = models.DateField(_("day"))
    name = models.CharField(_("figure"), max_length=32)
    key = models.CharField(_("of"), max_length=64, blank=True, default="")  # an account, a model, a code, or nothing: of all
    value = models.BigIntegerField(_("value"))

    class Meta:
        db_table = "billing_dailyfigure"
        verbose_name = _("daily figure")
        verbose_name_plural = _("daily figures")
        constraints = [models.UniqueConstraint(fields=["day", "name", "key"], name="billing_figure_once_a_day")]

    def __str__(self) -> str:
        return f"{self.day} {self.name} {self.key}".strip()
