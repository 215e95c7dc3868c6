"""`archive_ledger` killed at any step: the ledger reconciles with what is there, and the next run goes on."""

import json
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from billing.catalog.usage import UsageRequest
from billing.ledger.closings import LedgerArchive, LedgerClosing
from billing.ledger.models import Account, Charge, LedgerEntry
from billing.ledger.posting import chained_hash
from billing.reconciliation.checks import reconcile
from billing.services import charge
from tenants.models import Tenant
from tenants.principal import Principal
from tests.archive.conftest import KEYS, History, month_ago, month_name
from tests.catalog import priced_model
from tests.live import Database, manage

pytestmark = pytest.mark.slow

USES = 520  # of each account: together more than one batch
MONTHS = (7, 6)


def fill(history: History, ago: int) -> None:
    """A recharge and USES uses of 3 credits within a month."""
    at = month_ago(ago) + timedelta(hours=3)
    history.post(5 * USES, "RECHARGE", at, idempotency_key=f"pay-{ago}")
    charges, entries, account = [], [], history.account
    for number in range(USES):
        timestamp = at + timedelta(seconds=number + 1)
        charge = Charge(account=account, model=history.model, credits=3, created_at=timestamp, actor="gateway")
        entry = LedgerEntry(
            account=account, seq=account.last_seq + 1, kind="CONSUME", amount=-3, balance=account.balance - 3, charge=charge,
            spendable=account.balance - 3, created_at=timestamp, actor="gateway", description="image",
        )  # fmt: skip
        entry.hash = chained_hash(entry, before=account.last_hash)
        account.balance, account.last_seq, account.last_hash = entry.balance, entry.seq, entry.hash
        account.last_entry_at = timestamp
        charges.append(charge)
        entries.append(entry)
    Charge.objects.bulk_create(charges)
    LedgerEntry.objects.bulk_create(entries)
    account.save()


@pytest.fixture
def histories(cloned_db: Database, signing_keys: None) -> list[History]:
    model = priced_model()
    made = []
    for name in ("Acme", "Birch"):
        history = History(Account.objects.get(tenant=Tenant.objects.create(name=name), mode="live"), model)
        for ago in MONTHS:
            fill(history, ago)
        made.append(history)
    return made


def run(database: Database, folder: Path, **environ: str) -> Any:
    return manage(
        "archive_ledger", "--before", month_name(5), "--directory", str(folder), "--json",
        DATABASE_URL=database.url, LEDGER_SIGNING_KEYS=KEYS, **environ,
    )  # fmt: skip


@pytest.mark.parametrize("place", ["archive.written", "archive.registered", "archive.closed", "archive.deleting"])
def test_kill_9_at_every_step(histories: list[History], cloned_db: Database, tmp_path: Path, place: str) -> None:
    killed = run(cloned_db, tmp_path, WAULE_TEST_FAIL_POINT=place)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert LedgerArchive.objects.count() == (0 if place == "archive.written" else 1)
    assert LedgerClosing.objects.count() == (2 if place in ("archive.closed", "archive.deleting") else 0)
    deleted = 4 * (USES + 1) - LedgerEntry.objects.filter(account__mode="live").count()
    assert deleted == (1000 if place == "archive.deleting" else 0)
    written = sorted(tmp_path.glob("*.gz"))
    report = reconcile(archived=written if LedgerArchive.objects.exists() else [])
    assert report.ok, report.problems

    done = run(cloned_db, tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["months"] == [month_name(7), month_name(6)]
    assert result["deleted"] + deleted == result["entries"] == 4 * (USES - 1)
    assert LedgerEntry.objects.filter(account__mode="live").count() == 4 * 2
    report = reconcile(archived=[Path(name) for name in result["files"]])
    assert report.ok, report.problems
    assert not list(tmp_path.glob("*.part"))
    proven = manage(
        "reconcile", "--json", *(f"--archive={name}" for name in result["files"]),
        DATABASE_URL=cloned_db.url, LEDGER_SIGNING_KEYS=KEYS,
    )  # fmt: skip
    assert proven.returncode == 0 and json.loads(proven.stdout)["ok"] is True, proven.stdout + proven.stderr


def test_charges_go_on_while_months_are_archived(histories: list[History], cloned_db: Database, tmp_path: Path) -> None:
    """Killed again and again, with charges and proofs in between."""
    target = Principal("tenant", str(histories[0].account.tenant_id))
    Tenant.objects.update(enabled_models=["*"])
    made = 0
    for place in ("archive.registered", "archive.deleting", "archive.deleting", "archive.closed", ""):
        run(cloned_db, tmp_path, WAULE_TEST_FAIL_POINT=place)
        charge(target=target, use=UsageRequest(model="flash"), actor="gateway", idempotency_key=f"k{made}")
        made += 1
        report = reconcile()
        assert report.ok, report.problems
    assert LedgerEntry.objects.filter(account=histories[0].account).count() == 2 * 2 + made
