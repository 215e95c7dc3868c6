"""Deletes what the retention settings say is old, in batches of bounded size. The ledger is never purged."""

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.db.models import Model, Q, QuerySet
from django.utils import timezone

from aiservices.credentials.models import CredentialLease
from aiservices.generations.models import Generation, GenerationInput
from aiservices.monitoring.models import HealthCheck
from aiservices.retention import files
from billing.monitoring.models import ReconcileRun
from tenants import erasure
from tenants.erasure import batches
from tenants.webhooks.models import OutboxMessage
from waule.core.db.transactions import retried

ENDED = (Generation.State.SUCCEEDED, Generation.State.FAILED, Generation.State.CANCELED)
PURGED_FLAG = "results_purged"


def purge(*, dry_run: bool = False) -> dict[str, Any]:
    """Delete everything that is old. Return how many rows and files of each kind, or how many there are."""
    return {"dryRun": dry_run} | {
        name: count
        for days, work in (
            (settings.RETENTION_MEDIA_DAYS, _media),
            (settings.RETENTION_PROMPT_DAYS, _prompts),
            (settings.RETENTION_MESSAGE_DAYS, _messages),
            (settings.RETENTION_AUDIT_DAYS, _audit),
            (settings.RETENTION_PROBE_DAYS, _probes),
        )
        for name, count in work(_cutoff(days), dry_run).items()
    }


def _cutoff(days: float) -> datetime | None:
    return timezone.now() - timedelta(days=days) if days else None


def _media(before: datetime | None, dry_run: bool) -> dict[str, int]:
    if before is None:
        return {"files": 0, "filesNotDeleted": 0}
    deleted, failed = files.remove_older(before, dry_run=dry_run)
    if not dry_run and not failed:
        for batch in batches(_ended(before).exclude(outputs=[]).only("id", "flags")):
            for generation in batch:
                generation.outputs, generation.flags = [], sorted({*generation.flags, PURGED_FLAG})
            Generation.objects.bulk_update(batch, ["outputs", "flags"])
    return {"files": deleted, "filesNotDeleted": failed}


def _prompts(before: datetime | None, dry_run: bool) -> dict[str, int]:
    if before is None:
        return {"prompts": 0}
    rows = _ended(before).exclude(prompt="", parameters={}, error_message="")
    if dry_run:
        return {"prompts": rows.count()}
    count = 0
    for batch in batches(rows.only("id")):
        keys = [generation.id for generation in batch]
        GenerationInput.objects.filter(generation_id__in=keys).delete()
        count += Generation.objects.filter(id__in=keys).update(prompt="", parameters={}, error_message="")
    return {"prompts": count}


def _ended(before: datetime) -> "QuerySet[Generation]":
    return Generation.objects.filter(state__in=ENDED, created_at__lt=before, completed_at__lt=before)


def _messages(before: datetime | None, dry_run: bool) -> dict[str, int]:
    if before is None:
        return {"messages": 0}
    rows = OutboxMessage.objects.exclude(state=OutboxMessage.State.PENDING).filter(created_at__lt=before)
    return {"messages": _deleted(rows, dry_run)}  # and their attempts with them


def _audit(before: datetime | None, dry_run: bool) -> dict[str, int]:
    if before is None:
        return {"auditEntries": 0, "adminLog": 0}
    return {
        "auditEntries": erasure.purge_audit(before=before, dry_run=dry_run),
        "adminLog": _deleted(LogEntry.objects.filter(action_time__lt=before), dry_run),
    }


def _probes(before: datetime | None, dry_run: bool) -> dict[str, int]:
    if before is None:
        return {"probes": 0, "leases": 0, "reconcileRuns": 0}
    newest = ReconcileRun.objects.order_by("-id").values("id")[:1]
    return {
        "probes": _deleted(HealthCheck.objects.filter(checked_at__lt=before), dry_run),
        "leases": _deleted(CredentialLease.objects.filter(Q(ended_at__lt=before)), dry_run),
        "reconcileRuns": _deleted(ReconcileRun.objects.filter(finished_at__lt=before).exclude(id__in=newest), dry_run),
    }


def _deleted(rows: "QuerySet[Any]", dry_run: bool) -> int:
    if dry_run:
        return rows.count()
    return sum(_delete(rows.model, [row.pk for row in batch]) for batch in batches(rows.only("pk")))


@retried
def _delete(model: type[Model], keys: list[Any]) -> int:
    model._default_manager.filter(pk__in=keys).delete()
    return len(keys)
