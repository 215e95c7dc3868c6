"""How the services waule depends on are doing, and when each periodic task is due."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


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
    """One probe of one service; `aiservices/monitoring/probes.py` keeps the newest ones only."""

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


class PeriodicTask(models.Model):
    """Something that is to be done now and then; whoever moves `next_at` on does it (`periodic_tasks.py`)."""

    name = models.CharField(max_length=32, primary_key=True)
    next_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "aiservices_chore"

    def __str__(self) -> str:
        return self.name
