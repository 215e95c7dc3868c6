"""An API key with the account that it spends."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db.models import Case, F, OuterRef, Subquery, Sum, When
from django.utils import timezone

from billing.ledger.expiry import due_holds
from tenants.api_keys import looks_valid
from tenants.models import ApiKey, enabled_for_key
from waule.core.crypto.encryption import keyed_hash
from waule.core.db.prepared import PreparedQuery


@dataclass(frozen=True, slots=True)
class KeyWithAccount:
    """A key that works, its tenant, and what can be spent of the account of the key's mode, in credits."""

    id: UUID
    mode: str
    last_used_at: datetime | None
    tenant_id: UUID
    tenant_name: str
    enabled_models: list[str]
    is_active: bool
    spendable: int
    oss_mode: str | None


def find_api_key_with_account(plaintext: str) -> KeyWithAccount | None:
    """As `find_api_key`, with what `/internal/tenants/by-apikey` says of it; one query.

    What due holds still hold can be spent.
    """
    if not looks_valid(plaintext):
        return None
    now = timezone.now()
    row = _KEY_WITH_ACCOUNT.first(now, keyed_hash(plaintext))
    if row is None:
        return None
    pk, mode, expires_at, revoked_at, last_used_at, tenant_id, name, enabled_models, is_active, *figures = row
    if (expires_at is not None and expires_at <= now) or (revoked_at is not None and revoked_at <= now):
        return None
    balance, held, due, oss_mode, scopes, allowed_models = figures
    enabled = enabled_for_key(enabled_models, scopes=scopes, allowed_models=allowed_models)
    return KeyWithAccount(pk, mode, last_used_at, tenant_id, name, enabled, is_active, balance - held + (due or 0), oss_mode)


def _key_with_account(now: datetime, key_hash: str) -> Any:
    due = due_holds(now).filter(account=OuterRef("tenant__accounts"))
    due_credits = Subquery(due.order_by().values("account").values_list(Sum("credits")))
    # A bucket belongs to an app beside this one; the reverse relation leads there without an import.
    rows = ApiKey.objects.filter(key_hash=key_hash, tenant__accounts__mode=F("mode"))
    return rows.annotate(due=Case(When(tenant__accounts__held__gt=0, then=due_credits))).values_list(
        "id", "mode", "expires_at", "revoked_at", "last_used_at",
        "tenant__id", "tenant__name", "tenant__enabled_models", "tenant__is_active",
        "tenant__accounts__balance", "tenant__accounts__held", "due", "tenant__oss_config__mode",
        "scopes", "allowed_models",
    )  # fmt: skip


_KEY_WITH_ACCOUNT = PreparedQuery(_key_with_account, [datetime.min.replace(tzinfo=UTC), "key's hash"], ["timestamptz", "text"])
