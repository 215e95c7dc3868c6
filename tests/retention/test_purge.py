"""`purge`: what the retention settings say is old goes, in batches; nothing else does."""

import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.management import call_command
from django.utils import timezone

from aiservices import periodic_tasks
from aiservices.credentials.models import CredentialLease
from aiservices.generations.models import Generation
from aiservices.monitoring.models import HealthCheck, PeriodicTask
from billing.catalog.models import AIModel
from billing.ledger.models import LedgerEntry
from billing.monitoring.models import ReconcileRun
from billing.reconciliation.checks import reconcile
from storage import media
from storage.models import StorageUsage, StoredObject
from tenants.erasure import BATCH
from tenants.models import AuditEntry, Tenant, User
from tenants.principal import Principal
from tenants.webhooks.models import OutboxAttempt, OutboxMessage
from tests.catalog import priced_model

NOW = timezone.now()
OLD, NEW = NOW - timedelta(days=31), NOW - timedelta(days=29)
SETTINGS = ("MEDIA", "PROMPT", "MESSAGE", "AUDIT", "PROBE")


def purge(*arguments: str) -> dict[str, Any]:
    out = io.StringIO()
    call_command("purge", *arguments, "--json", stdout=out)
    result: dict[str, Any] = json.loads(out.getvalue())
    return result


def one_of_each(at: Any, tenant: Tenant, model: AIModel, root: User) -> None:
    generation = Generation.objects.create(
        tenant=tenant, type="image", model=model, state="succeeded", prompt="a horse", created_at=at, completed_at=at
    )
    owner = Principal("tenant", str(tenant.id))
    stored = media.store(b"12345", owner=owner, content_type="image/png", seed=str(generation.id))
    StoredObject.objects.filter(object_key=stored.object_key).update(created_at=at)
    Generation.objects.filter(id=generation.id).update(outputs=[{"objectKey": stored.object_key}])
    StoredObject.objects.create(tenant=tenant, object_key=f"theirs/{at}", size_bytes=0, created_at=at)
    for state in ("delivered", "pending"):
        message = OutboxMessage.objects.create(kind="x", payload={}, state=state, created_at=at)
        OutboxAttempt.objects.create(message=message, at=at)
    AuditEntry.objects.create(actor="x", action="x", at=at)
    LogEntry.objects.create(user=root, object_repr="x", action_flag=CHANGE, action_time=at)
    HealthCheck.objects.create(service="sora", status="ok", checked_at=at)
    lease = {"provider": "sora", "credential_id": tenant.id, "created_at": at, "expires_at": at}
    CredentialLease.objects.create(**lease, ended_at=at)
    CredentialLease.objects.create(**lease)
    ReconcileRun.objects.create(started_at=at, finished_at=at, ok=True, accounts=1, entries=1, holds=0, charges=0)


@pytest.fixture
def kept(acme: Tenant, root: User) -> Tenant:
    model = priced_model()
    for at in (OLD, NEW):
        one_of_each(at, acme, model, root)
    return acme


def test_nothing_is_purged_where_everything_is_kept(kept: Tenant, settings: Any) -> None:
    for name in SETTINGS:
        setattr(settings, f"RETENTION_{name}_DAYS", 0)
    assert not any(purge().values())


def test_what_is_older_goes_and_the_rest_stays(kept: Tenant, settings: Any) -> None:
    for name in SETTINGS:
        setattr(settings, f"RETENTION_{name}_DAYS", 30)
    counts = {
        "files": 1, "filesNotDeleted": 0, "prompts": 1, "messages": 1, "auditEntries": 1, "adminLog": 1, "probes": 1, "leases": 1,
        "reconcileRuns": 1,
    }  # fmt: skip
    entries = LedgerEntry.objects.count()
    assert purge("--dry-run") == {"dryRun": True, **counts}
    assert purge("--dry-run") == {"dryRun": True, **counts}
    assert purge() == {"dryRun": False, **counts}
    assert purge() == {"dryRun": False, **dict.fromkeys(counts, 0)}
    old, new = Generation.objects.order_by("created_at")
    assert (old.prompt, old.outputs, old.flags, old.state) == ("", [], ["results_purged"], "succeeded")
    assert new.prompt == "a horse" and media.path_of(new.outputs[0]["objectKey"]).is_file()
    assert StorageUsage.objects.get(tenant=kept).used_bytes == 5
    assert sorted(OutboxMessage.objects.values_list("state", flat=True)) == ["delivered", "pending", "pending"]
    assert CredentialLease.objects.filter(ended_at=None).count() == 2
    assert AuditEntry.objects.filter(actor="x").count() == 1
    for table in (LogEntry, HealthCheck, ReconcileRun):
        assert table.objects.count() == 1
    assert LedgerEntry.objects.count() == entries and reconcile().ok


def test_many_go_in_batches(kept: Tenant, settings: Any) -> None:
    settings.RETENTION_AUDIT_DAYS = 30
    AuditEntry.objects.bulk_create([AuditEntry(actor="x", action="x", at=OLD) for _number in range(2 * BATCH)])
    HealthCheck.objects.bulk_create([HealthCheck(service="x", status="ok", checked_at=OLD - timedelta(days=90))] * 3)
    assert purge()["auditEntries"] == 2 * BATCH + 1
    assert AuditEntry.objects.filter(actor="x").count() == 1


def test_the_worker_does_it_daily(kept: Tenant, settings: Any) -> None:
    settings.RETENTION_PROMPT_DAYS = 30
    assert "purge" in periodic_tasks.do_due(periodic_tasks.LONG)
    assert Generation.objects.filter(prompt="").count() == 1
    assert PeriodicTask.objects.get(name="purge").next_at > timezone.now() + timedelta(hours=23)
