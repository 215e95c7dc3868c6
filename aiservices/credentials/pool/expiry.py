"""Leases that nobody reported end by themselves; old ones are forgotten."""

import time
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import F
from django.db.models.functions import Greatest
from django.utils import timezone

from aiservices.credentials.models import CredentialLease
from aiservices.credentials.pool.model_cooldowns import forget_old
from aiservices.credentials.pool.queries import MODELS
from waule.core.db.transactions import durable

SWEEP_SECONDS = 1.0  # how often one process looks for them
SWEEP_SIZE = 500

_next_sweep = 0.0


def end_overdue_now_and_then() -> None:
    global _next_sweep
    if time.monotonic() >= _next_sweep:
        _next_sweep = time.monotonic() + SWEEP_SECONDS
        end_overdue()


def end_overdue() -> int:
    """End the leases whose time is over, and return how many there were."""
    now = timezone.now()
    overdue = CredentialLease.objects.filter(ended_at__isnull=True, expires_at__lte=now)
    return _end_overdue(now) if overdue.exists() else 0


@durable
def _end_overdue(now: datetime) -> int:
    overdue = CredentialLease.objects.filter(ended_at__isnull=True, expires_at__lte=now)
    found = list(overdue.select_for_update(skip_locked=True, no_key=True).order_by("id")[:SWEEP_SIZE])
    CredentialLease.objects.filter(pk__in=[lease.pk for lease in found]).update(
        ended_at=F("expires_at"), outcome=CredentialLease.Outcome.EXPIRED
    )
    out: dict[tuple[str, UUID], dict[str, int]] = {}
    for lease in found:
        counts = out.setdefault((lease.provider, lease.credential_id), {})
        for name in ("in_flight", f"in_flight_{lease.use}s" if lease.use and lease.provider == "sora" else ""):
            if name:
                counts[name] = counts.get(name, 0) + 1
    for (provider, credential_id), counts in sorted(out.items()):  # in one order, so that two sweeps cannot deadlock
        MODELS[provider]._default_manager.filter(pk=credential_id).update(
            **{name: Greatest(F(name) - count, 0) for name, count in counts.items()}
        )
    return len(found)


def clean_up() -> None:
    """For the worker: ends what was never reported, and forgets what is old."""
    end_overdue()
    forget_old_leases()
    forget_old(timezone.now())


@durable
def forget_old_leases(*, keep_days: int = 14, limit: int = 5000) -> int:
    """Delete leases that ended more than `keep_days` ago, at most `limit` at once; return how many."""
    before = timezone.now() - timedelta(days=keep_days)
    old = list(CredentialLease.objects.filter(ended_at__lt=before).values_list("pk", flat=True)[:limit])
    return CredentialLease.objects.filter(pk__in=old).delete()[0]
