"""Which models run, with which keys, and every request that was made."""

from datetime import datetime
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from billing.models import CatalogRow
from tenants.models import MAX_WEBHOOK_URL, Mode
from waule.encryption import EncryptedTextField
from waule.ids import uuid7


class AIModel(CatalogRow):
    """A model that can be generated with. `model_id` is the provider's name; our id is what callers may use as well."""

    class Type(models.TextChoices):
        IMAGE_GENERATION = "IMAGE_GENERATION", _("Images")
        VIDEO_GENERATION = "VIDEO_GENERATION", _("Videos")
        TEXT_GENERATION = "TEXT_GENERATION", _("Text")
        VIDEO_EDITING = "VIDEO_EDITING", _("Video editing")
        AUDIO_SYNTHESIS = "AUDIO_SYNTHESIS", _("Audio")

    class Endpoint(models.TextChoices):
        IMAGES = "images", "/v1/images/generations"
        VIDEOS = "videos", "/v1/videos/generations"
        SORA_CHAT = "sora-chat", "/v1/sora/chat/completions"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    model_id = models.CharField(_("provider's name"), max_length=64)
    name = models.CharField(_("name"), max_length=200)
    provider = models.CharField(_("provider"), max_length=32)
    type = models.CharField(_("type"), max_length=20, choices=Type)
    is_active = models.BooleanField(_("on"), default=True)
    options = models.JSONField(_("options"), default=dict, blank=True)
    gateway_endpoint = models.CharField(_("gateway endpoint"), max_length=12, choices=Endpoint, blank=True, default="")
    disabled_reason = models.CharField(_("why off"), max_length=500, blank=True, default="")
    disabled_by = models.CharField(_("switched off by"), max_length=200, blank=True, default="", editable=False)
    disabled_until = models.DateTimeField(_("off until"), null=True, blank=True, help_text=_("Empty: until switched on."))
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("model")
        verbose_name_plural = _("models")
        ordering = ["provider", "model_id"]
        constraints = [
            models.UniqueConstraint(
                fields=["provider", "model_id", "type"],
                name="aiservices_model_once",
                violation_error_message=_("This provider has this model already."),
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def is_on(self, now: datetime) -> bool:
        """Switched on, or switched off only until a moment that has passed."""
        return self.is_active or (self.disabled_until is not None and self.disabled_until <= now)


class Credential(models.Model):
    """An upstream key. What the operator wants (`is_active`) and what the machine has learned (`state`) are two things.

    The columns in `machine_fields` are written by `aiservices/pool` alone, with conditional updates: a form that
    saves the whole row leaves them as they are.
    """

    provider: ClassVar[str]
    machine_fields: ClassVar[frozenset[str]] = frozenset(
        {"state", "cooling_until", "trial_until", "recent", "in_flight", "day", "uses_today", "errors_today"}
        | {"use_count", "error_count", "last_used_at", "last_error", "last_error_at"}
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

    `to_push` names what the service has not been told yet; `revision` rises with every local change, so that a push
    that took a while does not mark a newer change as told.
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
    is_deleted = models.BooleanField(default=False, editable=False)  # gone here, the service has still to be told
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


class CredentialLease(models.Model):
    """One credential lent to one caller until it reports, or until `expires_at`.

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
        ]

    def __str__(self) -> str:
        return f"{self.provider} {self.outcome}".strip()


class ServiceStatus(models.TextChoices):
    OK = "ok", _("Ok")
    DEGRADED = "degraded", _("Degraded")
    DOWN = "down", _("Down")
    UNKNOWN = "unknown", _("Unknown")


class Service(models.Model):
    """Something waule depends on, as it was last seen; `next_probe_at` lets one worker of many do the next probe."""

    name = models.CharField(_("service"), max_length=32, primary_key=True)
    status = models.CharField(_("status"), max_length=8, choices=ServiceStatus, default=ServiceStatus.UNKNOWN)
    latency_ms = models.IntegerField(_("latency (ms)"), null=True, blank=True)
    message = models.CharField(_("message"), max_length=500, blank=True, default="")
    checked_at = models.DateTimeField(_("checked"), null=True, blank=True)
    next_probe_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = _("service")
        verbose_name_plural = _("services")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class HealthCheck(models.Model):
    """One probe of one service; `aiservices/health.py` keeps the newest ones only."""

    service = models.CharField(_("service"), max_length=32)
    status = models.CharField(_("status"), max_length=8, choices=ServiceStatus)
    latency_ms = models.IntegerField(_("latency (ms)"), null=True, blank=True)
    message = models.CharField(_("message"), max_length=500, blank=True, default="")
    checked_at = models.DateTimeField(_("checked"))

    class Meta:
        verbose_name = _("health check")
        verbose_name_plural = _("health checks")
        indexes = [models.Index(fields=["service", "checked_at"], name="aiservices_health_service")]

    def __str__(self) -> str:
        return f"{self.service} {self.status}"


class Chore(models.Model):
    """Something that is to be done now and then; whoever moves `next_at` on does it (`aiservices/housekeeping.py`)."""

    name = models.CharField(max_length=32, primary_key=True)
    next_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.name


class Generation(models.Model):
    """One request for an image or a video, whatever the mode; a video is a job. The row is the truth."""

    class Type(models.TextChoices):
        IMAGE = "image", _("Image")
        VIDEO = "video", _("Video")

    class State(models.TextChoices):
        NEW = "new", _("Being admitted")  # has its key, but no hold yet: shown to nobody, counted by nobody
        QUEUED = "queued", _("Queued")
        RUNNING = "running", _("Running")
        SUCCEEDED = "succeeded", _("Succeeded")
        FAILED = "failed", _("Failed")
        CANCELED = "canceled", _("Canceled")
        UNKNOWN = "unknown", _("Unknown outcome")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    type = models.CharField(_("type"), max_length=5, choices=Type)
    tenant = models.ForeignKey(
        "tenants.Tenant", null=True, blank=True, on_delete=models.PROTECT, related_name="generations", verbose_name=_("tenant")
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="generations",
        verbose_name=_("user"),
    )
    api_key = models.ForeignKey("tenants.ApiKey", null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    mode = models.CharField(_("mode"), max_length=4, choices=Mode, default=Mode.LIVE)
    model = models.ForeignKey(AIModel, on_delete=models.PROTECT, related_name="generations", verbose_name=_("model"))
    prompt = models.TextField(_("prompt"))
    parameters = models.JSONField(_("parameters"), default=dict)
    state = models.CharField(_("state"), max_length=9, choices=State, default=State.QUEUED)
    progress = models.SmallIntegerField(_("progress"), default=0)
    outputs = models.JSONField(_("results"), default=list)  # [{url, objectKey, contentType, bytes}, …]
    hold = models.OneToOneField(
        "billing.Hold", null=True, blank=True, on_delete=models.PROTECT, related_name="generation", verbose_name=_("hold")
    )
    charge = models.OneToOneField(
        "billing.Charge", null=True, blank=True, on_delete=models.PROTECT, related_name="generation", verbose_name=_("charge")
    )
    credits_charged = models.BigIntegerField(_("credits"), default=0)
    is_free = models.BooleanField(_("free"), default=False)
    error_code = models.CharField(_("error"), max_length=64, blank=True, default="")
    error_message = models.CharField(_("why"), max_length=1000, blank=True, default="")
    flags = models.JSONField(_("flags"), default=list, blank=True)
    idempotency_key = models.CharField(max_length=255, null=True, blank=True)
    fingerprint = models.CharField(max_length=64, blank=True, default="")
    created_at = models.DateTimeField(_("created"), default=timezone.now, db_index=True)
    started_at = models.DateTimeField(_("started"), null=True, blank=True)
    completed_at = models.DateTimeField(_("completed"), null=True, blank=True)
    # What was decided, before money moves and `state` follows: whoever comes after a crash does the rest.
    verdict = models.CharField(max_length=9, choices=State, blank=True, default="")
    route = models.CharField(_("made by"), max_length=32, blank=True, default="")  # the provider's name, as it was chosen
    is_billed_by_gateway = models.BooleanField(_("charged by the gateway"), default=False)
    error_details = models.JSONField(default=dict, blank=True)  # {status, …what the caller was told}
    upstream_id = models.CharField(_("id upstream"), max_length=255, blank=True, default="")
    request_id = models.CharField(_("request"), max_length=128, blank=True, default="")
    attempt = models.IntegerField(_("attempt"), default=0)  # rises with every change of hands: the fencing token
    deaths = models.SmallIntegerField(_("workers lost"), default=0)  # how often a lease ended that nobody gave back
    lease_owner = models.CharField(_("worked on by"), max_length=100, blank=True, default="")
    lease_until = models.DateTimeField(_("lease until"), null=True, blank=True)
    run_after = models.DateTimeField(_("not before"), default=timezone.now)
    deadline_at = models.DateTimeField(_("deadline"), null=True, blank=True)
    called_at = models.DateTimeField(_("provider called"), null=True, blank=True)
    priority = models.SmallIntegerField(_("priority"), default=0, help_text=_("Higher goes first."))
    deleted_at = models.DateTimeField(_("deleted"), null=True, blank=True)

    class Meta:
        verbose_name = _("generation")
        verbose_name_plural = _("generations")
        permissions = [("settle_generation", "Can settle unknown outcomes")]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "mode", "type", "idempotency_key"],
                condition=Q(tenant__isnull=False, idempotency_key__isnull=False),
                name="aiservices_generation_tenant_key_once",
            ),
            models.UniqueConstraint(
                fields=["user", "type", "idempotency_key"],
                condition=Q(user__isnull=False, idempotency_key__isnull=False),
                name="aiservices_generation_user_key_once",
            ),
            models.CheckConstraint(
                condition=Q(tenant__isnull=False, user__isnull=True) | Q(tenant__isnull=True, user__isnull=False),
                name="aiservices_generation_one_owner",
            ),
        ]
        indexes = [
            models.Index(fields=["tenant", "-id"], name="aiservices_gen_tenant"),
            models.Index(fields=["user", "-id"], name="aiservices_gen_user"),
            models.Index(fields=["type", "-id"], name="aiservices_gen_type"),
            models.Index(
                fields=["state", "-id"], condition=Q(state__in=["failed", "canceled", "unknown"]), name="aiservices_gen_trouble"
            ),
            models.Index(fields=["tenant", "user", "run_after"], condition=Q(state="queued"), name="aiservices_gen_queued"),
            models.Index(fields=["lease_until"], condition=Q(state__in=["new", "running"]), name="aiservices_gen_leased"),
        ]

    def __str__(self) -> str:
        return self.prompt[:60]

    @property
    def is_over(self) -> bool:
        return self.state not in (self.State.NEW, self.State.QUEUED, self.State.RUNNING)


class GenerationInput(models.Model):
    """What a generation under way still needs, too large or too secret for its row: gone when it has ended.

    Its reference images (data URIs too), and the webhook that was named with it.
    """

    generation = models.OneToOneField(Generation, on_delete=models.CASCADE, related_name="input", primary_key=True)
    reference_images = models.JSONField(default=list)
    webhook_url = models.CharField(max_length=MAX_WEBHOOK_URL, blank=True, default="")
    webhook_secret = EncryptedTextField(null=True, blank=True)

    def __str__(self) -> str:
        return str(self.generation_id)
