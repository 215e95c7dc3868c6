"""Who is who: tenants and their API keys, users and their levels, and who did what."""

from datetime import datetime
from typing import Any

from django.contrib.auth.models import AbstractUser, UserManager
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from tenants import audit
from tenants.audit import AuditEntry as AuditEntry
from tenants.authenticator import AuthenticatorDevice as AuthenticatorDevice
from waule.core.crypto.encryption import EncryptedTextField
from waule.core.ids import uuid7

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


class Scope(models.TextChoices):
    """What an API key may do on `/v1`."""

    READ = "read", _("Read")
    GENERATE = "generate", _("Generate")
    MANAGE = "manage", _("Manage keys")


def default_scopes() -> list[str]:
    """Return the scopes of a key that is made without naming any."""
    return [Scope.READ.value, Scope.GENERATE.value]


class AuditedUserManager(UserManager):
    """Superusers are made by command alone; each is noted in the audit log."""

    use_in_migrations = False

    def create_superuser(self, username: str, *args: Any, **kwargs: Any) -> Any:
        with transaction.atomic(using=self.db):
            user = super().create_superuser(username, *args, **kwargs)
            audit.record(actor="command", action="user.create", target=user, after={"username": username, "is_superuser": True})
        return user


class User(AbstractUser):
    """A user of the platform. `is_staff` opens the admin; `level` has nothing to do with it."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    level = models.CharField(_("level"), max_length=16, choices=Level, default=Level.USER)
    membership_expires_at = models.DateTimeField(
        _("membership expires"), null=True, blank=True, help_text=_("Empty: the membership never runs out.")
    )

    # The lists of the admin as this person wants them, by page (`waule.core.admin.own_lists`).
    list_preferences = models.JSONField(default=dict, blank=True, editable=False)

    objects = AuditedUserManager()  # type: ignore[misc]  # the stubs declare it on AbstractUser as a class variable

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
        """Return the level that counts at `now`: a VIP or SVIP whose membership has run out is a USER."""
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
        """Return whether the enabled list names `model` (anything with `id` and `model_id`)."""
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
    # The webhook that its jobs notify, and what signs that. `aiservices.generations.webhooks` writes them.
    webhook_url = models.CharField(_("webhook"), max_length=MAX_WEBHOOK_URL, blank=True, default="", editable=False)
    webhook_secret = EncryptedTextField(_("webhook's secret"), null=True, blank=True, editable=False)
    scopes = models.JSONField(_("scopes"), default=default_scopes, editable=False)
    allowed_models = models.JSONField(
        _("models"), default=list, blank=True, editable=False, help_text=_("Empty: all that the tenant may use.")
    )

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

    def has_scope(self, *scopes: str) -> bool:
        """Return whether the key has one of the scopes."""
        return any(scope in self.scopes for scope in scopes)

    def may_use(self, model: Any) -> bool:
        """Return whether the key's own list, where it has one, names `model`; the tenant's list is another matter."""
        return not self.allowed_models or any(entry in (str(model.id), model.model_id) for entry in self.allowed_models)

    @property
    def enabled_models(self) -> list[str]:
        """What the tenant's list enables for this key; nothing for a key that may not generate."""
        return enabled_for_key(self.tenant.enabled_models, scopes=self.scopes, allowed_models=self.allowed_models)


def enabled_for_key(enabled: list[str], *, scopes: list[str], allowed_models: list[str]) -> list[str]:
    """Return what a tenant's list `enabled` leaves to a key with these scopes, and these models of its own (none: all)."""
    if Scope.GENERATE not in scopes:
        return []
    if not allowed_models:
        return list(enabled)
    return [entry for entry in allowed_models if ALL_MODELS in enabled or entry in enabled]


class ErasureWindow(models.Model):
    """Lets its own transaction, and no other, past the triggers of append-only tables (`waule.core.db.erasure_window`).

    A row cannot be committed: `never` refers to a row that cannot exist, and is checked when the transaction ends.
    """

    purpose = models.CharField(max_length=8)  # erase: replaces texts; purge: deletes what is older than `before`
    before = models.DateTimeField(null=True)
    never = models.ForeignKey("self", on_delete=models.DO_NOTHING, related_name="+", default=-1, db_index=False)

    class Meta:
        verbose_name = "erasure window"
        verbose_name_plural = "erasure windows"
        default_permissions = ()
        constraints = [
            models.CheckConstraint(condition=models.Q(id__gt=0, never=-1), name="tenants_window_never_committed"),
            models.CheckConstraint(condition=models.Q(purpose__in=["erase", "purge"]), name="tenants_window_purpose_known"),
        ]


class TenantMember(models.Model):
    """A person of a tenant: a user who may see and do in `/console/` what the role says."""

    class Role(models.TextChoices):
        OWNER = "owner", _("Owner")
        DEVELOPER = "developer", _("Developer")
        BILLING = "billing", _("Billing")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships", verbose_name=_("user"))
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="members", verbose_name=_("tenant"))
    role = models.CharField(_("role"), max_length=9, choices=Role, default=Role.OWNER)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("member")
        verbose_name_plural = _("members")
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "user"],
                name="tenants_member_once",
                violation_error_message=_("This user is a member of the tenant already."),
            ),
            models.CheckConstraint(
                condition=models.Q(role__in=["owner", "developer", "billing"]), name="tenants_member_role_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user} ({self.get_role_display()})"
