"""A ledger that reaches a year back, and what archiving makes of it."""

import gzip
import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.conf import settings
from django.test import override_settings
from django.utils import timezone

from billing.catalog.models import AIModel
from billing.ledger.models import Account, Charge, LedgerEntry, Refund
from billing.ledger.posting import chained_hash
from tenants.models import Tenant
from tests.callers import manage_json
from tests.catalog import priced_model

KEYS = "k2:second-signing-key-0a9b8c7d6e5f4g3h,k1:first-signing-key-1a2b3c4d5e6f7g8h"


def zone() -> ZoneInfo:
    return ZoneInfo(settings.BILLING_TIME_ZONE)


def month_ago(count: int) -> datetime:
    """The beginning of the month so many months before this one, in the billing zone."""
    now = timezone.now().astimezone(zone())
    number = now.year * 12 + now.month - 1 - count
    return datetime(number // 12, number % 12 + 1, 1, tzinfo=zone())


def month_name(count: int) -> str:
    return month_ago(count).strftime("%Y-%m")


class History:
    """Writes entries in the past, as the ledger would have: numbered, balanced, chained."""

    def __init__(self, account: Account, model: AIModel) -> None:
        self.account, self.model = account, model

    def post(self, amount: int, kind: str, at: datetime, **texts: Any) -> LedgerEntry:
        account = self.account
        entry = LedgerEntry(
            account=account,
            seq=account.last_seq + 1,
            kind=kind,
            amount=amount,
            balance=account.balance + amount,
            spendable=account.balance + amount,
            created_at=at,
            **({"actor": "gateway", "description": kind.lower()} | texts),
        )
        entry.hash = chained_hash(entry, before=account.last_hash)
        entry.save()
        account.balance, account.last_seq, account.last_entry_at = entry.balance, entry.seq, at
        account.last_hash = entry.hash
        account.save()
        return entry

    def use(self, credits: int, at: datetime, **texts: Any) -> Charge:
        charge = Charge.objects.create(
            account=self.account, model=self.model, credits=credits, created_at=at, operation="image", actor="gateway"
        )
        self.post(-credits, "CONSUME", at, charge=charge, **texts)
        return charge

    def refund(self, charge: Charge, credits: int, at: datetime) -> Refund:
        entry = self.post(credits, "REFUND", at, charge=charge)
        charge.refunded += credits
        charge.save()
        return Refund.objects.create(
            charge=charge, credits=credits, total_after=charge.refunded, is_full=False, reason="too dark", entry=entry,
            account=self.account, spendable_after=entry.balance, created_at=at,
        )  # fmt: skip

    def month(self, ago: int, *, uses: int = 5) -> list[Charge]:
        """A recharge, `uses` uses of 7 credits, and a refund of 2."""
        start = month_ago(ago) + timedelta(hours=1)
        self.post(
            500, "RECHARGE", start, idempotency_key=f"pay-{ago}", fingerprint="f", actor="admin:root", description="invoice"
        )
        charges = [self.use(7, start + timedelta(hours=1, minutes=n)) for n in range(uses)]
        self.refund(charges[0], 2, start + timedelta(days=2))
        self.use(3, start + timedelta(days=3))
        return charges


@pytest.fixture
def signing_keys() -> Iterator[None]:
    with override_settings(LEDGER_SIGNING_KEYS=KEYS.split(",")):
        yield


@pytest.fixture
def old(any_database: None, signing_keys: None) -> tuple[History, History]:
    """Two tenants, Acme and Birch, with uses 7, 6, 5 and 1 months ago; the model `flash` costs 7 credits."""
    model = priced_model()
    both = []
    for name in ("Acme", "Birch"):
        tenant = Tenant.objects.create(name=name, enabled_models=["*"])
        history = History(Account.objects.get(tenant=tenant, mode="live"), model)
        for ago in (7, 6, 5, 1):
            history.month(ago)
        both.append(history)
    return both[0], both[1]


Archive = Callable[..., dict[str, Any]]


def lines_of(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt") as file:
        return [json.loads(line) for line in file]


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """Archives everything before the month so many months ago."""

    def run(before: int = 4, **options: Any) -> dict[str, Any]:
        return manage_json("archive_ledger", "--before", month_name(before), "--directory", str(tmp_path / "ledger"))

    return run
