"""Requests to move credits that wait for a second person, and what became of them."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from billing.ledger.models import MAX_REASON_LENGTH
from waule.core.ids import uuid7


class ApprovalRequest(models.Model):
    """What is to be done once a second person agrees. `params` are its arguments, by kind; `result` what it answered.

    States: pending → approved → done or failed; or rejected; or expired. Approved is written before anything moves, so
    that a process that dies in between leaves a row from which the next one goes on.
    """

    class Kind(models.TextChoices):
        GRANT = "grant", _("Grant")
        ADJUST = "adjust", _("Adjustment")
        REFUND = "refund", _("Refund")
        REDEMPTION = "redemption", _("Redemption codes")
        SETTLE = "settle", _("Settlement")

    class State(models.TextChoices):
        PENDING = "pending", _("Waits for approval")
        APPROVED = "approved", _("Approved, being done")
        DONE = "done", _("Approved and done")
        FAILED = "failed", _("Approved, but refused")
        REJECTED = "rejected", _("Rejected")
        EXPIRED = "expired", _("Expired")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    kind = models.CharField(_("kind"), max_length=10, choices=Kind)
    credits = models.BigIntegerField(_("credits"))
    account = models.ForeignKey(
        "billing.Account", null=True, blank=True, on_delete=models.PROTECT, related_name="+", verbose_name=_("account")
    )
    params = models.JSONField(default=dict)
    reason = models.CharField(_("reason"), max_length=MAX_REASON_LENGTH, blank=True, default="")
    state = models.CharField(_("state"), max_length=8, choices=State, default=State.PENDING)
    asked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+", verbose_name=_("asked by")
    )
    asked_at = models.DateTimeField(_("asked"))
    expires_at = models.DateTimeField(_("expires"))
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+", verbose_name=_("decided by")
    )
    decided_at = models.DateTimeField(_("decided"), null=True, blank=True)
    decision_reason = models.CharField(
        pgettext_lazy("of a decision", "why"), max_length=MAX_REASON_LENGTH, blank=True, default=""
    )
    problem = models.CharField(_("problem"), max_length=500, blank=True, default="")
    result = models.JSONField(_("result"), default=dict, blank=True)
    idempotency_key = models.CharField(max_length=255, unique=True)

    class Meta:
        verbose_name = _("approval")
        verbose_name_plural = _("approvals")
        default_permissions = ("view",)
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=["pending", "approved", "done", "failed", "rejected", "expired"]),
                name="billing_approval_state_known",
            ),
            models.CheckConstraint(
                condition=Q(asked_by__isnull=True) | Q(decided_by__isnull=True) | ~Q(asked_by=models.F("decided_by")),
                name="billing_approval_by_two_persons",
                violation_error_message=_("Whoever asked cannot decide: another person has to."),
            ),
        ]
        indexes = [
            models.Index(fields=["expires_at"], condition=Q(state="pending"), name="billing_approval_pending"),
            models.Index(fields=["decided_at"], condition=Q(state="approved"), name="billing_approval_unfinished"),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.credits:,}"

    @property
    def execution_key(self) -> str:
        """The idempotency key of what it does."""
        return f"approval-{self.id}"
