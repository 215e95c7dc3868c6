"""Whose account a request names, with what its owner may: one query."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal
from uuid import UUID

from django.db import connection

from billing.catalog.usage import unknown_key
from billing.errors import TargetNotFound
from tenants.models import Level, Mode, User
from tenants.principal import OF_KEY, Principal
from tenants.selectors import find_key_of
from waule.core.db.prepared import Prepared
from waule.core.ids import parse_uuid


@dataclass(frozen=True)
class AccountRow:
    """An account, what its owner may, and the catalog's version, as one query reads them."""

    owner: Principal
    owner_id: UUID
    account_id: int
    balance: int
    held: int
    is_active: bool
    catalog_version: int
    enabled_models: tuple[str, ...] = ()
    level: str = Level.USER
    membership_expires_at: datetime | None = None
    has_budgets: bool = False

    def effective_level(self, now: datetime) -> Level:
        """As `User.effective_level`, whose rule it is."""
        return User.effective_level(User(level=self.level, membership_expires_at=self.membership_expires_at), now)


_TENANT = """
    SELECT t.is_active, t.id, a.id, a.balance, a.held, (SELECT version FROM billing_catalogstate WHERE id = 1),
           t.enabled_models, EXISTS (SELECT 1 FROM billing_budget b WHERE b.tenant_id = t.id AND b.is_active)
    FROM tenants_tenant t JOIN billing_account a ON a.tenant_id = t.id AND a.mode = %s
"""
_USER = """
    SELECT u.is_active, u.id, a.id, a.balance, a.held, (SELECT version FROM billing_catalogstate WHERE id = 1),
           u.level, u.membership_expires_at
    FROM tenants_user u JOIN billing_account a ON a.user_id = u.id
"""


_TENANT_BY_ID = Prepared(f"{_TENANT} WHERE t.id = %s", ["text", "uuid"])
_USER_BY_ID = Prepared(f"{_USER} WHERE u.id = %s", ["uuid"])


def find_target(target: Principal) -> AccountRow:
    """Return the tenant or user with its account, in one query.

    Raises:
        TargetNotFound: nobody has this id. InvalidRequest: the key that it names is not the tenant's.
    """
    target = with_mode(target)
    owner_id = parse_uuid(target.id)
    if owner_id is None:
        raise TargetNotFound(targetType=target.kind, targetId=target.id)
    with connection.cursor() as cursor:
        if target.kind == "tenant":
            _TENANT_BY_ID.run(cursor, [target.mode, _parameter(owner_id)])
        else:
            _USER_BY_ID.run(cursor, [_parameter(owner_id)])
        row = cursor.fetchone()
    if row is None:
        raise TargetNotFound(targetType=target.kind, targetId=target.id)
    return _account_row(target, row)


def with_mode(target: Principal) -> Principal:
    """Return the target with the mode of the key that it names.

    Raises:
        InvalidRequest: the tenant has no such key.
    """
    if target.mode != OF_KEY:
        return target
    key = find_key_of(target.id, str(target.api_key_id))
    if key is None:
        raise unknown_key(str(target.api_key_id))
    return replace(target, mode=key.mode)


def find_targets(targets: Iterable[Principal]) -> dict[Principal, AccountRow]:
    """Return the same for many (their modes known), in at most three queries; those that nobody has are left out."""
    found: dict[Principal, AccountRow] = {}
    groups: dict[tuple[Literal["user", "tenant"], str], dict[UUID, list[Principal]]] = {}
    for target in set(targets):
        if (owner_id := parse_uuid(target.id)) is not None:
            mode = target.mode if target.kind == "tenant" else Mode.LIVE
            groups.setdefault((target.kind, mode), {}).setdefault(owner_id, []).append(target)
    for (kind, mode), by_id in groups.items():
        marks = ", ".join(["%s"] * len(by_id))
        ids = [_parameter(owner_id) for owner_id in by_id]
        with connection.cursor() as cursor:
            if kind == "tenant":
                cursor.execute(f"{_TENANT} WHERE t.id IN ({marks})", [mode, *ids])
            else:
                cursor.execute(f"{_USER} WHERE u.id IN ({marks})", ids)
            for row in cursor.fetchall():
                for target in by_id[_uuid(row[1])]:
                    found[target] = _account_row(target, row)
    return found


def _account_row(owner: Principal, row: tuple[Any, ...]) -> AccountRow:
    is_active, owner_id, account_id, balance, held, version, *more = row
    columns = (owner, _uuid(owner_id), account_id, balance, held, bool(is_active), version)
    if owner.kind == "tenant":
        enabled, has_budgets = more
        return AccountRow(*columns, enabled_models=_enabled(_text(enabled)), has_budgets=bool(has_budgets))
    level, expires = more
    if isinstance(expires, str):
        expires = datetime.fromisoformat(expires)
    if expires is not None and expires.tzinfo is None:
        expires = expires.replace(tzinfo=UTC)
    return AccountRow(*columns, level=level, membership_expires_at=expires)


def _uuid(value: Any) -> UUID:
    return value if isinstance(value, UUID) else UUID(value)


def _parameter(value: UUID) -> str:
    return str(value) if connection.vendor == "postgresql" else value.hex


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@lru_cache(maxsize=4096)
def _enabled(text: str) -> tuple[str, ...]:
    value = json.loads(text)
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()
