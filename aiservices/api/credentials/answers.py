"""Answers about credentials, as JSON; their serializers are in `schema.py`."""

from typing import Any

from aiservices.credentials import services as credentials
from aiservices.credentials import sora as sora_sync
from aiservices.credentials.models import CredentialLease, GeminiKey, ModelCooldown, SoraToken
from aiservices.credentials.secrets import shown_url
from waule.core.http.fields import iso

TEST_STATUS = {True: "success", False: "failed", None: "untested"}


def credential_answer(row: GeminiKey | SoraToken) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "name": row.name,
        "secret": row.masked,
        "isActive": row.is_active,
        "state": "trial" if row.is_on_trial else row.state,
        "disabledReason": row.disabled_reason or None,
        "coolingUntil": iso(row.cooling_until),
        "acceptedAt": iso(row.accepted_at),
        "priority": row.priority,
        "weight": row.weight,
        "maxInFlight": row.max_in_flight,
        "dailyLimit": row.daily_limit,
        "inFlight": row.in_flight,
        "useCount": row.use_count,
        "errorCount": row.error_count,
        "lastUsedAt": iso(row.last_used_at),
        "lastError": row.last_error or None,
        "lastErrorAt": iso(row.last_error_at),
        "createdAt": iso(row.created_at),
        "version": credentials.version(row),
    }


def token_answer(row: SoraToken) -> dict[str, Any]:
    remaining = row.remote.get("sora2_remaining_count")
    return credential_answer(row) | {
        "email": row.email,
        "remark": row.remark,
        "disabledReason": row.shown_reason or None,
        "expiresAt": iso(row.expires_at),
        "clientId": row.client_id,
        "proxyUrl": shown_url(row.proxy_url),
        "imageEnabled": row.image_enabled,
        "videoEnabled": row.video_enabled,
        "imageConcurrency": row.image_concurrency,
        "videoConcurrency": row.video_concurrency,
        "remaining": remaining,
        "inStep": row.is_in_step,
        "toPush": row.to_push,
        "pushError": row.push_error or None,
        "missingThere": row.is_missing_there,
        "conflict": row.conflict or None,
        "remoteId": row.remote_id,
        "probablyQuota": row.is_probably_quota,
        "reenableAfterCooldown": row.reenable_after_cooldown,
        "plan": row.remote.get("plan_title") or row.remote.get("plan_type"),
        "imageCount": row.remote.get("image_count"),
        "videoCount": row.remote.get("video_count"),
    }


def attempt_answer(lease: CredentialLease) -> dict[str, Any]:
    return {
        "at": iso(lease.created_at),
        "endedAt": iso(lease.ended_at),
        "model": lease.model or None,
        "outcome": lease.outcome or None,
        "message": lease.message or None,
    }


def rest_answer(row: ModelCooldown) -> dict[str, Any]:
    return {"model": row.model, "outcome": row.outcome, "coolingUntil": iso(row.cooling_until), "message": row.message or None}


def sync_answer(result: sora_sync.SyncResult) -> dict[str, Any]:
    """Return how a sync went: a number for each thing done, and the lists behind them."""
    lists = {name: getattr(result, name) for name in ("adopted", "updated", "pushed", "missing", "conflicts", "failed")}
    return {"success": True} | {name: len(found) for name, found in lists.items()} | {"results": lists}
