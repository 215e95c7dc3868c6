"""What push and pull share: the result of both, and whose an id at the service is."""

from dataclasses import dataclass, field
from typing import Any

from aiservices.credentials.models import SoraToken


@dataclass
class SyncResult:
    """What a sync did. Lists hold one object per token: its id and name, and what there is to say."""

    pushed: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)
    adopted: list[dict[str, Any]] = field(default_factory=list)
    updated: list[dict[str, Any]] = field(default_factory=list)
    missing: list[dict[str, Any]] = field(default_factory=list)
    conflicts: list[dict[str, Any]] = field(default_factory=list)


def named(row: SoraToken, **more: Any) -> dict[str, Any]:
    return {"id": str(row.pk), "name": str(row), "email": row.email, **more}


def free_id(remote_id: int, row: SoraToken) -> None:
    """Ids start anew where the service's database was set up anew: only one of our rows can have this one."""
    SoraToken.objects.filter(remote_id=remote_id).exclude(pk=row.pk).update(remote_id=None)
