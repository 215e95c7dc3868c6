"""Every request for an image or a video."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop

from tenants.models import MAX_WEBHOOK_URL, Mode
from waule.core.crypto.encryption import EncryptedTextField
from waule.core.ids import uuid7


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
    model = models.ForeignKey("billing.AIModel", on_delete=models.PROTECT, related_name="generations", verbose_name=_("model"))
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
    outcome = models.CharField(max_length=9, choices=State, blank=True, default="", db_column="verdict")
    route = models.CharField(_("made by"), max_length=32, blank=True, default="")  # the provider's name, as it was chosen
    is_billed_by_gateway = models.BooleanField(_("charged by the gateway"), default=False)
    error_details = models.JSONField(default=dict, blank=True)  # {status, …what the caller was answered}
    upstream_id = models.CharField(_("id upstream"), max_length=255, blank=True, default="")
    request_id = models.CharField(_("request"), max_length=128, blank=True, default="")
    attempt = models.IntegerField(_("attempt"), default=0)  # rises with every change of hands: the fencing token
    # How often a lease ended without being released.
    crash_count = models.SmallIntegerField(_("workers lost"), default=0, db_column="deaths")
    lease_owner = models.CharField(_("worked on by"), max_length=100, blank=True, default="")
    lease_until = models.DateTimeField(_("lease until"), null=True, blank=True)
    run_after = models.DateTimeField(_("not before"), default=timezone.now)
    deadline_at = models.DateTimeField(_("deadline"), null=True, blank=True)
    called_at = models.DateTimeField(_("provider called"), null=True, blank=True)
    priority = models.SmallIntegerField(_("priority"), default=0, help_text=_("Higher goes first."))
    deleted_at = models.DateTimeField(_("deleted"), null=True, blank=True)
    # Requests that a client repeats by itself (`aiservices.generations.client_retries`).
    client_retries = models.SmallIntegerField(default=0)
    delivered_at = models.DateTimeField(_("answer delivered"), null=True, blank=True)

    class Meta:
        verbose_name = _("generation")
        verbose_name_plural = _("generations")
        permissions = [("settle_generation", gettext_noop("Can settle unknown outcomes"))]
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
            # A tenant's own pages, of one type at a time; of those that did not succeed by state; what it was not charged for.
            models.Index(fields=["tenant", "mode", "type", "-id"], name="aiservices_gen_own"),
            models.Index(
                fields=["tenant", "mode", "type", "state", "-id"],
                condition=~Q(state="succeeded"),
                name="aiservices_gen_own_state",
            ),
            models.Index(
                fields=["tenant", "mode", "-id"],
                include=["created_at", "state", "model", "api_key"],  # so that counting them reads no rows
                condition=Q(charge__isnull=True),
                name="aiservices_gen_uncharged",
            ),
        ]

    def __str__(self) -> str:
        return self.prompt[:60]

    @property
    def is_over(self) -> bool:
        return self.state not in (self.State.NEW, self.State.QUEUED, self.State.RUNNING)


class PendingResult(models.Model):
    """A result that was made and could not be fetched or stored yet: its address, or its bytes, until the generation ends."""

    generation = models.ForeignKey(Generation, on_delete=models.CASCADE, related_name="pending_results")
    number = models.SmallIntegerField()
    url = models.TextField(blank=True, default="")
    is_from_own_address = models.BooleanField(default=False, db_default=False)  # as `providers.base.Output` has it
    data = models.BinaryField(null=True, blank=True)
    content_type = models.CharField(max_length=100, blank=True, default="")
    duration = models.DecimalField(max_digits=12, decimal_places=3, null=True, blank=True)
    revised_prompt = models.TextField(blank=True, default="")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["generation", "number"], name="aiservices_pending_result_once")]

    def __str__(self) -> str:
        return f"{self.generation_id} {self.number}"


class GenerationInput(models.Model):
    """What a generation under way still needs, too large or too secret for its row: gone when it has ended.

    Its reference images (data URIs too), the webhook that was named with it, and its place in a trace.
    """

    generation = models.OneToOneField(Generation, on_delete=models.CASCADE, related_name="input", primary_key=True)
    reference_images = models.JSONField(default=list)
    webhook_url = models.CharField(max_length=MAX_WEBHOOK_URL, blank=True, default="")
    webhook_secret = EncryptedTextField(null=True, blank=True)
    # Where the request was in a trace (W3C traceparent), so that the job goes on with it; empty without tracing.
    trace_parent = models.CharField(max_length=55, blank=True, default="", db_default="")

    def __str__(self) -> str:
        return str(self.generation_id)


class WorkerProcess(models.Model):
    """A worker that lives, or has died lately without saying so (`aiservices.generations.queue.living`)."""

    name = models.CharField(_("worker"), max_length=100)
    engine = models.CharField(_("engine"), max_length=16)
    concurrency = models.IntegerField(_("jobs at the same time"))
    started_at = models.DateTimeField(_("started"))
    seen_at = models.DateTimeField(_("last seen"), db_index=True)

    class Meta:
        verbose_name = _("worker")
        verbose_name_plural = _("workers")

    def __str__(self) -> str:
        return self.name
