"""Who is who: tenants and their API keys, users and their levels, and who did what."""

from datetime import datetime
from typing import Any

from django.contrib.auth.models import AbstractUser, UserManager
from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from waule.append_only import AppendOnlyModel
from waule.encryption import EncryptedTextField
from waule.ids import uuid7

ALL_MODELS = "*"
MAX_WEBHOOK_URL = 500  # characters


class Level(models.TextChoices):
    """A user's role; it decides permissions, free quota and concurrency."""

    USER = "USER", _("User")
    VIP = "VIP", "VIP"
    SVIP = "SVIP", "SVIP"
    INTERNAL = "INTERNAL", _("Internal")
    ADMIN = "ADMIN", _("Administrator")


MEMBER_LEVELS = frozenset({Level.VIP, Level.SVIP})
UNLIMITED_LEVELS = frozenset({Level.INTERNAL, Level.ADMIN})


class Mode(models.TextChoices):
    """What a key, an account or a generation works with: real credits, or those of the sandbox."""

    LIVE = "live", _("Live")
    TEST = "test", _("Test")


class User(AbstractUser):
    """A user of the platform. `is_staff` opens the admin; `level` has nothing to do with it."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    level = models.CharField(_("level"), max_length=16, choices=Level, default=Level.USER)
    membership_expires_at = models.DateTimeField(
        _("membership expires"), null=True, blank=True, help_text=_("Empty: the membership never runs out.")
    )

    objects = UserManager()  # type: ignore[misc]  # the stubs declare it on AbstractUser as a class variable

    class Meta:
        verbose_name = _("user")
        verbose_name_plural = _("users")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(level__in=[level.value for level in Level]),
                name="tenants_user_level_known",
                violation_error_message=_("This level does not exist."),
            ),
        ]

    def effective_level(self, now: datetime) -> Level:
        """The level that counts at `now`: a VIP or SVIP whose membership has run out is a USER."""
        level = Level(self.level)
        if level in MEMBER_LEVELS and self.membership_expires_at is not None and self.membership_expires_at <= now:
            return Level.USER
        return level


class Tenant(models.Model):
    """A business that runs its own programs on the platform. Its credits lie in `billing.Account`."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(_("name"), max_length=200)
    is_active = models.BooleanField(_("active"), default=True)
    enabled_models = models.JSONField(
        _("enabled models"),
        default=list,
        blank=True,
        help_text=_("Ids or names of models. An empty list allows nothing; “*” allows all."),
    )
    time_zone = models.CharField(_("time zone"), max_length=64, default="Asia/Shanghai")
    note = models.TextField(_("note"), blank=True, default="")
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("tenant")
        verbose_name_plural = _("tenants")

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if not isinstance(self.enabled_models, list) or not all(isinstance(item, str) for item in self.enabled_models):
            raise ValidationError({"enabled_models": _("Give a list of model ids, or [“*”] for all.")})

    def may_use(self, model: Any) -> bool:
        """Whether the enabled list names `model` (anything with `id` and `model_id`)."""
        return any(entry in (ALL_MODELS, str(model.id), model.model_id) for entry in self.enabled_models)


class ApiKey(models.Model):
    """A tenant's key to `/v1`: shown once when made, then known by its keyed hash alone."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="api_keys", verbose_name=_("tenant"))
    name = models.CharField(_("name"), max_length=100, blank=True, default="")
    mode = models.CharField(_("mode"), max_length=4, choices=Mode, default=Mode.LIVE)
    masked = models.CharField(_("key"), max_length=24, editable=False)
    key_hash = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    revoked_at = models.DateTimeField(
        _("revoked"), null=True, blank=True, editable=False, help_text=_("In the future while a grace period runs.")
    )
    last_used_at = models.DateTimeField(_("last used"), null=True, blank=True, editable=False)
    # Where the ends of its jobs are told, and what signs that. `aiservices.webhooks` writes them.
    webhook_url = models.CharField(_("webhook"), max_length=MAX_WEBHOOK_URL, blank=True, default="", editable=False)
    webhook_secret = EncryptedTextField(_("webhook's secret"), null=True, blank=True, editable=False)

    class Meta:
        verbose_name = _("API key")
        verbose_name_plural = _("API keys")
        constraints = [
            models.CheckConstraint(condition=models.Q(mode__in=["live", "test"]), name="tenants_apikey_mode_known"),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.masked}".strip()

    def is_valid(self, now: datetime) -> bool:
        """Neither expired nor revoked at `now`."""
        return (self.expires_at is None or self.expires_at > now) and (self.revoked_at is None or self.revoked_at > now)


class AuditEntry(AppendOnlyModel):
    """Who did what, when, from where and why: money, keys, switches, reveals. Written once, without secrets."""

    at = models.DateTimeField(_("at"), default=timezone.now, db_index=True)
    actor = models.CharField(_("who"), max_length=200)
    action = models.CharField(_("what"), max_length=64, db_index=True)
    target_type = models.CharField(_("kind"), max_length=64, blank=True, default="")
    target_id = models.CharField(_("object"), max_length=64, blank=True, default="")
    target_name = models.CharField(_("name"), max_length=200, blank=True, default="")
    reason = models.CharField(_("why"), max_length=500, blank=True, default="")
    address = models.CharField(_("from"), max_length=64, blank=True, default="")
    request_id = models.CharField(_("request"), max_length=128, blank=True, default="")
    before = models.JSONField(_("before"), null=True, blank=True)
    after = models.JSONField(_("after"), null=True, blank=True)

    class Meta:
        verbose_name = _("audit entry")
        verbose_name_plural = _("audit log")
        indexes = [
            models.Index(fields=["target_id", "target_type", "-id"], name="tenants_audit_of_target"),
            models.Index(fields=["actor", "-id"], name="tenants_audit_actor"),
            models.Index(fields=["request_id"], condition=~models.Q(request_id=""), name="tenants_audit_request"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.target_name or self.target_id}"


class Webhook(models.Model):
    """Where a tenant wants to be told of its alerts. `secret` signs what is sent there."""

    tenant = models.OneToOneField(Tenant, on_delete=models.CASCADE, related_name="webhook", verbose_name=_("tenant"))
    url = models.URLField(_("address"), max_length=MAX_WEBHOOK_URL)
    secret = EncryptedTextField(_("secret"), blank=True, default="")
    is_active = models.BooleanField(_("active"), default=True)

    class Meta:
        verbose_name = _("webhook")
        verbose_name_plural = _("webhooks")

    def __str__(self) -> str:
        return str(self.tenant)


class OutboxMessage(models.Model):
    """A message that is to reach a webhook, at least once: that of a job's caller, of a key, of a tenant, or the operator's.

    Written in the transaction of the fact that it tells; sent later, by whoever has claimed it until `next_at`.
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
