"""Upstream credentials, and the leases under which callers use them."""

from typing import Any, ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from waule.core.crypto.encryption import EncryptedTextField
from waule.core.ids import uuid7


class Credential(models.Model):
    """An upstream key. What the operator wants (`is_active`) and what the system has detected (`state`) are two things.

    The columns in `machine_fields` are written by `aiservices/pool` alone, with conditional updates: a form that
    saves the whole row leaves them as they are.
    """

    provider: ClassVar[str]
    machine_fields: ClassVar[frozenset[str]] = frozenset(
        {"state", "cooling_until", "trial_until", "recent", "in_flight", "day", "uses_today", "errors_today"}
        | {"use_count", "error_count", "last_used_at", "last_error", "last_error_at", "accepted_at"}
    )

    class State(models.TextChoices):
        READY = "ready", _("Ready")
        COOLING = "cooling", _("Cooling down")
        QUOTA_EXHAUSTED = "quota_exhausted", _("Quota exhausted")
        INVALID = "invalid", _("Invalid")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(_("name"), max_length=200, blank=True, default="")
    secret = EncryptedTextField(_("secret"))
    fingerprint = models.CharField(max_length=64, unique=True, editable=False)
    masked = models.CharField(_("secret"), max_length=16, editable=False)
    is_active = models.BooleanField(_("on"), default=True)
    disabled_reason = models.CharField(_("why off"), max_length=500, blank=True, default="")
    state = models.CharField(_("state"), max_length=16, choices=State, default=State.READY, editable=False)
    cooling_until = models.DateTimeField(_("cooling until"), null=True, blank=True, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    last_used_at = models.DateTimeField(_("last used"), null=True, blank=True, editable=False)
    priority = models.IntegerField(_("priority"), default=0, help_text=_("Higher goes first."))
    weight = models.IntegerField(_("weight"), default=1, help_text=_("A key of weight 2 carries twice as much as one of 1."))
    max_in_flight = models.IntegerField(_("leases at once"), default=-1, help_text=_("-1: no limit."))
    daily_limit = models.IntegerField(_("leases a day"), default=-1, help_text=_("-1: no limit."))
    trial_until = models.DateTimeField(null=True, blank=True, editable=False)  # one trial is out until then, or its report
    recent = models.CharField(_("last outcomes"), max_length=16, blank=True, default="", editable=False)  # oldest first
    in_flight = models.IntegerField(_("leased now"), default=0, editable=False)
    day = models.DateField(null=True, blank=True, editable=False)  # the day that `uses_today` and `errors_today` count
    uses_today = models.IntegerField(_("uses today"), default=0, editable=False)
    errors_today = models.IntegerField(_("errors today"), default=0, editable=False)
    use_count = models.BigIntegerField(_("uses"), default=0, editable=False)
    error_count = models.BigIntegerField(_("errors"), default=0, editable=False)
    last_error = models.CharField(_("last error"), max_length=500, blank=True, default="", editable=False)
    last_error_at = models.DateTimeField(_("last error at"), null=True, blank=True, editable=False)
    accepted_at = models.DateTimeField(_("first accepted"), null=True, blank=True, editable=False)  # by the upstream; null: never

    class Meta:
        abstract = True
        constraints = [
            models.CheckConstraint(
                condition=Q(weight__gte=1, weight__lte=1000),
                name="%(app_label)s_%(class)s_weight_sane",
                violation_error_message=_("Give a weight from 1 to 1000."),
            ),
            models.CheckConstraint(
                condition=Q(max_in_flight__gte=-1, daily_limit__gte=-1),
                name="%(app_label)s_%(class)s_limits_sane",
                violation_error_message=_("Give -1 for no limit, or 0 and more."),
            ),
            models.CheckConstraint(condition=Q(in_flight__gte=0), name="%(app_label)s_%(class)s_in_flight_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.masked}".strip()

    @property
    def is_on_trial(self) -> bool:
        """Whether one call is trying it just now, and the others wait for what becomes of that."""
        return self.state != self.State.READY and self.trial_until is not None and self.trial_until > timezone.now()

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding and kwargs.get("update_fields") is None:
            kwargs["update_fields"] = [
                field.name
                for field in self._meta.concrete_fields
                if field.name not in self.machine_fields and not field.primary_key
            ]
        super().save(*args, **kwargs)


class SoraToken(Credential):
    """A token of the Sora token service, kept in step with it.

    `to_push` names what has not been pushed to the service yet; `revision` rises with every local change, so that a push
    that took a while does not mark a newer change as pushed.
    """

    provider = "sora"
    machine_fields = Credential.machine_fields | {"in_flight_images", "in_flight_videos"}

    class Push(models.TextChoices):
        ADD = "add", _("new")
        SECRET = "secret", _("secret")
        FIELDS = "fields", _("settings")
        STATUS = "status", _("on or off")
        DELETE = "delete", _("deletion")

    remote_id = models.BigIntegerField(_("id there"), null=True, blank=True, unique=True, editable=False)
    email = models.CharField(_("e-mail"), max_length=254, blank=True, default="")
    remark = models.CharField(_("remark"), max_length=500, blank=True, default="")
    session_token = EncryptedTextField(_("session token"), blank=True, default="")
    refresh_token = EncryptedTextField(_("refresh token"), blank=True, default="")
    client_id = models.CharField(_("client id"), max_length=200, blank=True, default="")
    proxy_url = EncryptedTextField(_("proxy"), blank=True, default="")  # it may carry a password
    image_enabled = models.BooleanField(_("images"), default=True)
    video_enabled = models.BooleanField(_("videos"), default=True)
    image_concurrency = models.IntegerField(_("images at once"), default=-1)
    video_concurrency = models.IntegerField(_("videos at once"), default=-1)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    in_flight_images = models.IntegerField(default=0, editable=False)
    in_flight_videos = models.IntegerField(default=0, editable=False)
    to_push = models.JSONField(_("to be pushed"), default=list, blank=True, editable=False)
    revision = models.BigIntegerField(default=0, editable=False)
    is_deleted = models.BooleanField(default=False, editable=False)  # deleted here; still to be pushed to the service
    is_missing_there = models.BooleanField(_("missing there"), default=False, editable=False)
    conflict = models.JSONField(_("conflict"), default=dict, blank=True, editable=False)  # {field: {here, there}}
    push_error = models.CharField(_("why not pushed"), max_length=500, blank=True, default="", editable=False)
    pushed_at = models.DateTimeField(_("in step since"), null=True, blank=True, editable=False)
    remote = models.JSONField(default=dict, blank=True, editable=False)  # what the service last said, without secrets
    is_probably_quota = models.BooleanField(_("probably quota"), default=False, editable=False)
    reenable_after_cooldown = models.BooleanField(_("re-enable when the cooldown has passed"), default=False)

    class Meta(Credential.Meta):
        verbose_name = _("Sora token")
        verbose_name_plural = _("Sora tokens")

    def __str__(self) -> str:
        return f"{self.name or self.email} {self.masked}".strip()

    @property
    def shown_reason(self) -> str:
        """Why it is off, for people; the service says only `manual` when it switches a token off at its quota's end."""
        return str(_("Probably quota: the Sora service switched it off.")) if self.is_probably_quota else self.disabled_reason

    @property
    def is_in_step(self) -> bool:
        """Whether the Sora service knows this token as we do."""
        return not (self.to_push or self.is_missing_there or self.conflict)


class GeminiKey(Credential):
    """A key of the Gemini API."""

    provider = "gemini"

    class Meta(Credential.Meta):
        verbose_name = _("Gemini key")
        verbose_name_plural = _("Gemini keys")


Row = SoraToken | GeminiKey


class CredentialLease(models.Model):
    """One credential leased to one caller until it reports, or until `expires_at`.

    There is no foreign key: leases are written at the rate of generations and outlive the credential's row.
    """

    class Outcome(models.TextChoices):
        OK = "ok", _("Ok")
        RATE_LIMITED = "rate_limited", _("Rate limited")
        QUOTA_EXHAUSTED = "quota_exhausted", _("Quota exhausted")
        INVALID = "invalid", _("Invalid credential")
        OVERLOADED = "overloaded", _("Service overloaded")
        CONTENT_REFUSED = "content_refused", _("Content refused")
        ERROR = "error", _("Other error")
        EXPIRED = "expired", _("Never reported")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    provider = models.CharField(_("provider"), max_length=8)
    credential_id = models.UUIDField(_("credential"))
    model = models.CharField(_("model"), max_length=64, blank=True, default="")
    use = models.CharField(_("use"), max_length=5, blank=True, default="")  # image, video, or not told
    is_trial = models.BooleanField(_("trial"), default=False)
    generation_id = models.UUIDField(_("generation"), null=True, blank=True)  # null: leased by somebody else's program
    created_at = models.DateTimeField(_("at"))
    expires_at = models.DateTimeField(_("expires"))
    ended_at = models.DateTimeField(_("ended"), null=True, blank=True)
    outcome = models.CharField(_("outcome"), max_length=16, choices=Outcome, blank=True, default="")
    message = models.CharField(_("message"), max_length=500, blank=True, default="")

    class Meta:
        verbose_name = _("lease")
        verbose_name_plural = _("leases")
        indexes = [
            models.Index(fields=["expires_at"], condition=Q(ended_at__isnull=True), name="aiservices_lease_open"),
            models.Index(fields=["ended_at"], name="aiservices_lease_ended"),
            models.Index(fields=["credential_id", "-id"], name="aiservices_lease_history"),
            models.Index(fields=["generation_id"], condition=Q(generation_id__isnull=False), name="aiservices_lease_generation"),
        ]

    def __str__(self) -> str:
        return f"{self.provider} {self.outcome}".strip()


class ModelCooldown(models.Model):
    """A credential rests for one model: its project has met a limit that is this model's alone. It serves the others.

    Rows that have passed are kept for a day: another limit soon after is another offence, and the rest is longer.
    """

    credential_id = models.UUIDField(_("credential"))
    model = models.CharField(_("model"), max_length=64)
    cooling_until = models.DateTimeField(_("cooling until"), db_index=True)
    outcome = models.CharField(_("outcome"), max_length=16, choices=CredentialLease.Outcome)
    offences = models.SmallIntegerField(_("limits in a row"), default=1)
    message = models.CharField(_("message"), max_length=500, blank=True, default="")

    class Meta:
        verbose_name = _("model cooldown")
        verbose_name_plural = _("model cooldowns")
        constraints = [models.UniqueConstraint(fields=["credential_id", "model"], name="aiservices_model_cooldown_once")]

    def __str__(self) -> str:
        return f"{self.model} {self.outcome}"
