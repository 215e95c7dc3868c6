"""The audit log: who did what, when, from where and why; before and after, without secrets."""

from typing import Any

from django.db import models
from django.http import HttpRequest

from tenants.models import AuditEntry
from waule.core.http.client_address import client_address
from waule.core.http.middleware import current_request
from waule.core.logs import redact


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
    """Notes one act, in the transaction of the caller. `action` is a dotted word such as `key.revoke`.

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
