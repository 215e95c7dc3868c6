"""Where files go, and how many bytes lie there."""

from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from gateway_client import addresses
from waule.core.crypto.encryption import EncryptedTextField
from waule.core.ids import uuid7


class OssConfig(models.Model):
    """A tenant's choice of storage: the platform's, or a bucket of its own."""

    class Mode(models.TextChoices):
        PLATFORM = "platform", _("The platform's")
        CUSTOM = "custom", _("The tenant's own bucket")

    class Driver(models.TextChoices):
        OSS = "oss", _("Alibaba Cloud OSS")
        S3 = "s3", _("S3-compatible")

    tenant = models.OneToOneField("tenants.Tenant", on_delete=models.CASCADE, related_name="oss_config", verbose_name=_("tenant"))
    mode = models.CharField(_("storage"), max_length=8, choices=Mode, default=Mode.PLATFORM)
    driver = models.CharField(_("driver"), max_length=4, choices=Driver, default=Driver.OSS)
    region = models.CharField(_("region"), max_length=64, blank=True, default="")
    bucket = models.CharField(_("bucket"), max_length=255, blank=True, default="")
    endpoint = models.CharField(_("endpoint"), max_length=255, blank=True, default="")
    access_key_id = models.CharField(_("access key id"), max_length=255, blank=True, default="")
    access_key_secret = EncryptedTextField(_("access key secret"), blank=True, default="", bound_to="tenant")
    custom_domain = models.CharField(_("custom domain"), max_length=255, blank=True, default="")
    is_public = models.BooleanField(
        _("public"), default=False, help_text=_("Anybody who has an object's URL may read it: URLs are plain and never expire.")
    )
    updated_at = models.DateTimeField(_("changed"), auto_now=True)

    class Meta:
        verbose_name = _("bucket")
        verbose_name_plural = _("buckets")

    def __str__(self) -> str:
        return self.bucket or self.get_mode_display()

    def clean(self) -> None:
        """The addresses that are new are checked, in every form and API alike."""
        before: Any = type(self).objects.filter(pk=self.pk).values("endpoint", "custom_domain").first() or {}
        problems = {}
        for name in ("endpoint", "custom_domain"):
            value = getattr(self, name)
            if not value or value == before.get(name):
                continue
            try:
                url = value if "://" in value else f"https://{value}"
                addresses.check_place(url)
                addresses.rules().check(url)
            except addresses.Forbidden as why:
                problems[name] = _("This address cannot be used: %(why)s") % {"why": _(str(why))}
        if problems:
            raise ValidationError(problems)


class StorageUsage(models.Model):
    """Bytes of one tenant, and how many it may have. Only `storage/services.py` writes `used_bytes`."""

    tenant = models.OneToOneField("tenants.Tenant", on_delete=models.CASCADE, related_name="storage", primary_key=True)
    used_bytes = models.BigIntegerField(_("used"), default=0)
    quota_bytes = models.BigIntegerField(_("quota"), null=True, blank=True, help_text=_("Empty: no quota."))

    class Meta:
        verbose_name = _("storage use")
        verbose_name_plural = _("storage use")
        constraints = [
            models.CheckConstraint(condition=Q(used_bytes__gte=0), name="storage_usage_not_negative"),
            models.CheckConstraint(
                condition=Q(quota_bytes__isnull=True) | Q(quota_bytes__gte=0), name="storage_quota_not_negative"
            ),
        ]

    def __str__(self) -> str:
        return filesizeformat(self.used_bytes)


class Reservation(models.Model):
    """Room kept for what is being made, until its size is known. Past `expires_at` it keeps nothing."""

    id = models.UUIDField(primary_key=True, editable=False)  # what it is kept for
    tenant = models.ForeignKey("tenants.Tenant", on_delete=models.CASCADE, related_name="storage_reservations")
    size_bytes = models.BigIntegerField(_("bytes"))
    expires_at = models.DateTimeField(_("expires"), db_index=True)

    def __str__(self) -> str:
        return f"{self.size_bytes} B"


class StoredObject(models.Model):
    """One counted object (or, without `object_key`, bytes that a caller recorded). Released rows count no bytes.

    Where it lies: `driver` and `bucket`, of the tenant's own place or the platform's (`storage/backends.py`). A `driver` of
    "" is a caller's word: it has put the object somewhere itself.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey(
        "tenants.Tenant", null=True, blank=True, on_delete=models.PROTECT, related_name="stored_objects", verbose_name=_("tenant")
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="stored_objects",
        verbose_name=_("user"),
    )
    object_key = models.CharField(_("key"), max_length=1024, null=True, blank=True)
    idempotency_key = models.CharField(max_length=255, null=True, blank=True)
    fingerprint = models.CharField(max_length=64, blank=True, default="", editable=False)
    used_after = models.BigIntegerField(null=True, blank=True, editable=False)  # what the first answer said, for replays
    size_bytes = models.BigIntegerField(_("bytes"))
    content_type = models.CharField(_("type"), max_length=100, blank=True, default="")
    driver = models.CharField(_("where"), max_length=16, blank=True, default="")
    bucket = models.CharField(_("bucket"), max_length=255, blank=True, default="")
    is_own = models.BooleanField(_("in the tenant's own bucket"), default=False)
    # Its owner's bucket did not take it: it lies under MEDIA_ROOT until the bucket does.
    waiting_since = models.DateTimeField(_("waiting since"), null=True, blank=True)
    url = models.CharField(_("URL"), max_length=2048, blank=True, default="")
    created_at = models.DateTimeField(_("stored"), default=timezone.now)
    released_at = models.DateTimeField(_("deleted"), null=True, blank=True)

    class Meta:
        verbose_name = _("stored object")
        verbose_name_plural = _("stored objects")
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "object_key"],
                condition=Q(tenant__isnull=False, object_key__isnull=False),
                name="storage_object_once_per_tenant",
            ),
            models.UniqueConstraint(
                fields=["user", "object_key"],
                condition=Q(user__isnull=False, object_key__isnull=False),
                name="storage_object_once_per_user",
            ),
            models.UniqueConstraint(
                fields=["tenant", "idempotency_key"], condition=Q(idempotency_key__isnull=False), name="storage_object_key_once"
            ),
            models.CheckConstraint(condition=Q(size_bytes__gte=0), name="storage_object_size_not_negative"),
        ]
        indexes = [
            models.Index(fields=["tenant", "-created_at"], name="storage_object_tenant"),
            models.Index(fields=["object_key"], name="storage_object_key"),
            models.Index(fields=["waiting_since"], condition=Q(waiting_since__isnull=False), name="storage_object_waiting"),
        ]

    def __str__(self) -> str:
        return self.object_key or str(self.id)
