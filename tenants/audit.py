"""The audit log: who did what, when, from where and why; before and after, without secrets."""

from typing import Any

from django.db import models
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from waule.core.auth.client_address import client_address
from waule.core.db.append_only import AppendOnlyModel
from waule.core.http.middleware import current_request
from waule.core.logs import redact


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


def record(
    *,
    actor: str,
    action: str,
    target: models.Model | None = None,
    target_type: str = "",
    target_id: str = "",
    target_name: str = "",
    reason: str = "",
    before: Any = None,
    after: Any = None,
    request: HttpRequest | None = None,
) -> AuditEntry:
    """Note one act, in the transaction of the caller. `action` is a dotted word such as `key.revoke`.

    `target` says kind, id and name at once; secrets are hidden by their names and by how they look.
    """
    if target is not None:
        target_type, target_id, target_name = target._meta.label_lower, str(target.pk), str(target)
    request = request or current_request.get()
    return AuditEntry.objects.create(
        actor=actor[:200],
        action=action,
        target_type=target_type,
        target_id=target_id[:64],
        target_name=redact(target_name)[:200],
        reason=redact(reason)[:500],
        address=client_address(request) if request is not None else "",
        request_id=getattr(request, "request_id", "") if request is not None else "",
        before=redact(before),
        after=redact(after),
    )
