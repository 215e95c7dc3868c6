"""Limits that are one model's alone: the credential rests for that model, and goes on serving the others."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from django.utils import timezone

from aiservices.credentials.models import Credential, ModelCooldown
from aiservices.credentials.pool.circuit_breaker import cooldown_seconds

KEEP = timedelta(days=1)  # a limit within so long after the last cooldown is another offence


def rest(
    credential: Credential, model: str, outcome: str, retry_after_seconds: float | None, message: str, now: datetime
) -> None:
    """Let a credential, whose row the caller has locked, rest for one model."""
    found = ModelCooldown.objects.filter(credential_id=credential.pk, model=model).first()
    if found is None or found.cooling_until < now - KEEP:
        offences = 1
    elif found.cooling_until > now:
        offences = found.offences  # it went out before the cooldown began: not another offence
    else:
        offences = min(found.offences + 1, 100)
    until = now + timedelta(seconds=cooldown_seconds(outcome, offences, retry_after_seconds))
    values = {"outcome": outcome, "message": message, "offences": offences}
    values["cooling_until"] = max(until, found.cooling_until) if found else until
    ModelCooldown.objects.update_or_create(credential_id=credential.pk, model=model, defaults=values)


def model_cooldowns(credential_ids: Iterable[UUID]) -> dict[UUID, list[ModelCooldown]]:
    """For which models these credentials rest now."""
    found: dict[UUID, list[ModelCooldown]] = {}
    lasting = ModelCooldown.objects.filter(credential_id__in=list(credential_ids), cooling_until__gt=timezone.now())
    for row in lasting.order_by("model"):
        found.setdefault(row.credential_id, []).append(row)
    return found


def forget_old(now: datetime) -> None:
    ModelCooldown.objects.filter(cooling_until__lt=now - KEEP).delete()
