"""A ledger with entries of any day, and what the error of an answer is."""

from datetime import datetime
from typing import Any

from billing.catalog.models import AIModel
from billing.ledger.models import Account, Charge, Kind, LedgerEntry
from tenants.models import Tenant


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


def code_of(answer: tuple[int, Any]) -> tuple[int, str]:
    """Status and code of an answer that is an error."""
    return answer[0], answer[1]["error"]["code"]
