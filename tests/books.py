"""The books: what tests put into them, the body of a call that bills, and what an account has afterwards."""

import uuid
from typing import Any

from billing.ledger.models import Account, Charge, Kind
from billing.services import grant
from tenants.models import Tenant, User
from tenants.principal import Principal


def give(owner: Tenant | User, credits: int, mode: str = "live") -> None:
    """Grants credits to a tenant or user, through the verb that everyone uses."""
    target = Principal(kind="tenant" if isinstance(owner, Tenant) else "user", id=str(owner.pk), mode=mode)
    grant(
        target=target, credits=credits, kind=Kind.GIFT, reason="opening balance", actor="test", idempotency_key=uuid.uuid4().hex
    )


def body(owner: Tenant | User, model: Any = "flash", **use: Any) -> dict[str, Any]:
    """What `/internal/billing` is sent to charge an owner, or to hold, for a use of that model."""
    kind = "tenant" if isinstance(owner, Tenant) else "user"
    return {"targetType": kind, "targetId": str(owner.pk), "modelId": str(model), "operation": "image", **use}


def account_of(owner: Tenant | User, mode: str = "live") -> Account:
    return Account.objects.get(mode=mode, **{"tenant" if isinstance(owner, Tenant) else "user": owner})


def balance_and_held(owner: Tenant | User, mode: str = "live") -> tuple[int, int]:
    account = account_of(owner, mode)
    return account.balance, account.held


def books_of(owner: Tenant | User) -> tuple[int, int, int]:
    """Balance, entries and charges of an owner's live account."""
    account = account_of(owner)
    return account.balance, account.last_seq, Charge.objects.filter(account=account).count()
