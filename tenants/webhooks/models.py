"""Webhooks of tenants, and the outbox: messages with every attempt to deliver them."""

import secrets
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from gateway_client import addresses
from tenants.models import MAX_WEBHOOK_URL, ApiKey, Tenant, TenantMember
from waule.core.crypto.encryption import EncryptedTextField
from waule.core.ids import uuid7


class Webhook(models.Model):
    """Where a tenant wants its alerts sent. `secret` signs what is sent there."""

    tenant = models.OneToOneField(Tenant, on_delete=models.CASCADE, related_name="webhook", verbose_name=_("tenant"))
    url = models.URLField(_("address"), max_length=MAX_WEBHOOK_URL)
    secret = EncryptedTextField(_("secret"), blank=True, default="", bound_to="tenant")
    is_active = models.BooleanField(_("active"), default=True)

    class Meta:
        verbose_name = _("webhook")
        verbose_name_plural = _("webhooks")

    def __str__(self) -> str:
        return str(self.tenant)

    def clean(self) -> None:
        """A new address is checked, in every form and API alike."""
        if self.url and not type(self).objects.filter(pk=self.pk, url=self.url).exists():
            try:
                addresses.rules().check(self.url)
            except addresses.Forbidden as why:
                raise ValidationError({"url": _("This webhook cannot be called: %(why)s") % {"why": _(str(why))}}) from None

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Without a secret one is made: what is sent is always signed."""
        if not self.secret:
            self.secret = new_webhook_secret()
        super().save(*args, **kwargs)


WEBHOOK_SECRET_PREFIX = "whsec_"  # noqa: S105  (no secret yet)


def new_webhook_secret() -> str:
    return WEBHOOK_SECRET_PREFIX + secrets.token_urlsafe(32)


class OutboxMessage(models.Model):
    """A message that is to reach a webhook, at least once: that of a job's caller, of a key, of a tenant, or the operator's.

    Written in the transaction of the fact that it reports; sent later, by whoever has claimed it until `next_at`.
    """

    class State(models.TextChoices):
        PENDING = "pending", _("Pending")
        DELIVERED = "delivered", _("Delivered")
        FAILED = "failed", _("Failed")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey(
        Tenant, null=True, blank=True, on_delete=models.CASCADE, related_name="+", verbose_name=_("tenant")
    )
    api_key = models.ForeignKey(
        ApiKey, null=True, blank=True, on_delete=models.CASCADE, related_name="+", verbose_name=_("API key")
    )
    # Not for a webhook, but a mail to this person; the address is read when it is sent.
    member = models.ForeignKey(
        TenantMember, null=True, blank=True, on_delete=models.CASCADE, related_name="+", verbose_name=_("member")
    )
    url = models.CharField(_("address"), max_length=MAX_WEBHOOK_URL, blank=True, default="")  # named with the job it tells of
    secret = EncryptedTextField(_("secret"), null=True, blank=True)  # likewise; without one the key's signs
    kind = models.CharField(_("kind"), max_length=64)
    payload = models.JSONField(_("content"))
    state = models.CharField(_("state"), max_length=9, choices=State, default=State.PENDING)
    tries = models.IntegerField(_("tries"), default=0)  # since it was written or sent again by hand
    next_at = models.DateTimeField(_("next try"), default=timezone.now)
    created_at = models.DateTimeField(_("at"), default=timezone.now)

    class Meta:
        verbose_name = _("message")
        verbose_name_plural = _("messages sent")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(state__in=["pending", "delivered", "failed"]), name="tenants_outbox_state_known"
            )
        ]
        indexes = [
            models.Index(fields=["next_at"], condition=models.Q(state="pending"), name="tenants_outbox_pending"),
            models.Index(fields=["kind", "-id"], name="tenants_outbox_kind"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"


class OutboxAttempt(models.Model):
    """One try to deliver a message, and what came of it."""

    message = models.ForeignKey(OutboxMessage, on_delete=models.CASCADE, related_name="attempts", verbose_name=_("message"))
    at = models.DateTimeField(_("at"), default=timezone.now)
    host = models.CharField(_("to"), max_length=255, blank=True, default="")
    status = models.IntegerField(_("status"), null=True, blank=True)
    problem = models.CharField(_("problem"), max_length=100, blank=True, default="")
    elapsed_ms = models.IntegerField(_("ms"), default=0)

    class Meta:
        verbose_name = _("try")
        verbose_name_plural = _("tries")

    def __str__(self) -> str:
        return str(self.status or self.problem)
