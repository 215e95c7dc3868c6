"""Reads of tenants, users and keys."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db.models import Case, F, OuterRef, Subquery, Sum, When
from django.utils import timezone

from tenants.api_keys import looks_valid
from tenants.errors import TenantNotFound
from tenants.models import ApiKey, Tenant, User
from waule.encryption import keyed_hash
from waule.ids import parse_uuid
from waule.prepared import PreparedQuery

MAX_OWNERS_FOUND = 50


def find_api_key(plaintext: str) -> ApiKey | None:
    """The key, its tenant at hand, if it is neither expired nor revoked. A mistyped one costs no query."""
    if not looks_valid(plaintext):
        return None
    key = ApiKey.objects.select_related("tenant").defer("webhook_secret").filter(key_hash=keyed_hash(plaintext)).first()
    return key if key is not None and key.is_valid(timezone.now()) else None


def find_key_of(tenant_id: str, key_id: str) -> ApiKey | None:
    """The tenant's key with this id, whether it is still valid or not: what it has used is charged."""
    owner, key = parse_uuid(tenant_id), parse_uuid(key_id)
    if owner is None or key is None:
        return None
    return ApiKey.objects.only("id", "mode").filter(id=key, tenant_id=owner).first()


def find_tenant(tenant_id: str) -> Tenant:
    """The tenant with this id.

    Raises:
        TenantNotFound: nobody has it.
    """
    key = parse_uuid(tenant_id)
    tenant = Tenant.objects.filter(id=key).first() if key else None
    if tenant is None:
        raise TenantNotFound
    return tenant


def _key_with_account(now: datetime, key_hash: str) -> Any:
    # Accounts, holds and buckets belong to apps above this one; reverse relations lead there without an import.
    due_holds = Tenant.objects.filter(
        id=OuterRef("tenant_id"),
        accounts__mode=OuterRef("mode"),
        accounts__holds__state="held",
        accounts__holds__is_pinned=False,
        accounts__holds__is_unknown=False,
        accounts__holds__expires_at__lte=now,
    )
    due = Subquery(due_holds.order_by().values("id").values_list(Sum("accounts__holds__credits")))
    rows = ApiKey.objects.filter(key_hash=key_hash, tenant__accounts__mode=F("mode"))
    return rows.annotate(due=Case(When(tenant__accounts__held__gt=0, then=due))).values_list(
        "id", "mode", "expires_at", "revoked_at", "last_used_at",
        "tenant__id", "tenant__name", "tenant__enabled_models", "tenant__is_active",
        "tenant__accounts__balance", "tenant__accounts__held", "due", "tenant__oss_config__mode",
    )  # fmt: skip


_KEY_WITH_ACCOUNT = PreparedQuery(_key_with_account, [datetime.min.replace(tzinfo=UTC), "key's hash"], ["timestamptz", "text"])


def owners_named(term: str) -> tuple[list[UUID], list[UUID]]:
    """Ids of the tenants and of the users whose name begins with `term`, in any case: at most MAX_OWNERS_FOUND of each."""
    tenants = Tenant.objects.filter(name__istartswith=term).values_list("id", flat=True)[:MAX_OWNERS_FOUND]
    users = User.objects.filter(username__istartswith=term).values_list("id", flat=True)[:MAX_OWNERS_FOUND]
    return list(tenants), list(users)


def find_tenant_by_id_or_name(text: str) -> Tenant:
    """The tenant with this id, or the only one of this name.

    Raises:
        TenantNotFound: nobody has it, or several have the name.
    """
    if parse_uuid(text):
        return find_tenant(text)
    found = list(Tenant.objects.filter(name=text)[:2])
    if len(found) != 1:
        raise TenantNotFound
    return found[0]


def find_api_key_with_account(plaintext: str) -> ApiKey | None:
    """As `find_api_key`, with `spendable` of the account of the key's mode, and `oss_mode`; one query.

    Holds past their time are taken off what is held (`ApiKey.tenant.accounts.holds`): what they held can be spent.
    """
    if not looks_valid(plaintext):
        return None
    now = timezone.now()
    row = _KEY_WITH_ACCOUNT.first(now, keyed_hash(plaintext))
    if row is None:
        return None
    pk, mode, expires_at, revoked_at, last_used_at, tenant_id, name, enabled_models, is_active, *figures, oss_mode = row
    tenant = Tenant(id=tenant_id, name=name, enabled_models=enabled_models, is_active=is_active)
    key = ApiKey(id=pk, mode=mode, expires_at=expires_at, revoked_at=revoked_at, last_used_at=last_used_at, tenant=tenant)
    if not key.is_valid(now):
        return None
    balance, held, due = figures
    key.spendable, key.oss_mode = balance - held + (due or 0), oss_mode  # type: ignore[attr-defined]
    return key
