"""Callers of `/v1`, models for them to use, and a ledger with entries of any day."""

from datetime import datetime
from typing import Any

from billing.catalog.models import AIModel
from billing.ledger.models import Account, Charge, Kind, LedgerEntry
from tenants.models import Tenant
from tests.aiservices.conftest import as_acme, as_alice, filmer, media_root, painter

__all__ = ["as_acme", "as_alice", "filmer", "media_root", "painter"]


def charged_at(at: datetime, tenant: Tenant, model: AIModel, credits: int, **more: Any) -> Charge:
    """A charge as it would have been posted at that time; the clock of the database cannot be turned."""
    account = Account.objects.get(tenant=tenant, mode="live")
    charge = Charge.objects.create(account=account, model=model, credits=credits, operation="image", created_at=at, **more)
    entry_at(at, account, Kind.CONSUME, -credits, charge)
    return charge


def refunded_at(at: datetime, charge: Charge, credits: int) -> None:
    entry_at(at, Account.objects.get(id=charge.account_id), Kind.REFUND, credits, charge)


def entry_at(at: datetime, account: Account, kind: Kind, amount: int, charge: Charge | None = None) -> None:
    account.last_seq += 1
    account.balance += amount
    LedgerEntry.objects.create(
        account=account,
        seq=account.last_seq,
        kind=kind,
        amount=amount,
        balance=account.balance,
        spendable=account.balance,
        charge=charge,
        created_at=at,
        hash="",
    )
    Account.objects.filter(id=account.id).update(balance=account.balance, last_seq=account.last_seq)
