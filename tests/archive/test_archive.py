"""`archive_ledger`: the uses of old months go into files; everything that somebody needs stays, and it all reconciles."""

import json
import stat
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.test import override_settings

from billing.ledger.closings import LedgerArchive, LedgerClosing
from billing.ledger.models import Account, Charge, LedgerEntry
from billing.reconciliation.checks import reconcile
from billing.services import grant, refund
from billing.statements import csv_lines, statement, summary
from billing.usage_reports.selectors import Period, credits_used_ever, ledger_usage
from tenants.erasure import window
from tenants.models import AuditEntry, Tenant
from tenants.principal import Principal
from tests.archive.conftest import Archive, History, lines_of, month_ago, month_name
from tests.callers import manage_json
from waule.core.errors import InvalidRequest

Old = tuple[History, History]


def is_right(*files: Path) -> bool:
    report = reconcile(archived=files)
    assert report.ok, report.problems
    return report.ok


def live_entries() -> int:
    return LedgerEntry.objects.filter(account__mode="live").count()


def files_of(result: dict[str, Any]) -> list[Path]:
    return [Path(name) for name in result["files"]]


def test_uses_of_old_months_go_into_files_and_the_ledger_reconciles(old: Old, archive: Archive) -> None:
    before = {a.id: (a.balance, a.held, a.last_seq, a.last_hash) for a in Account.objects.all()}
    assert live_entries() == 2 * 4 * 8
    result = archive()
    assert result["months"] == [month_name(7), month_name(6), month_name(5)]
    # Of each account and month five uses are moved; the recharge, the refund and the last use stay.
    assert result["entries"] == result["deleted"] == 2 * 3 * 5
    assert result["credits"] == 2 * 3 * 5 * 7
    assert live_entries() == 2 * (3 * 3 + 8)
    assert Charge.objects.count() == 2 * 4 * 6
    assert {a.id: (a.balance, a.held, a.last_seq, a.last_hash) for a in Account.objects.all()} == before
    assert is_right(*files_of(result))
    entry = AuditEntry.objects.filter(action="ledger.archive").latest("id")
    assert entry.actor == "command" and entry.target_name == month_name(5) and entry.after["entries"] == 10


def test_files_are_private_and_say_what_was_signed(old: Old, archive: Archive) -> None:
    path = files_of(archive())[0]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    manifest_path = path.with_name(f"ledger-{month_name(7)}.json")
    assert stat.S_IMODE(manifest_path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    manifest = json.loads(manifest_path.read_text())
    row = LedgerArchive.objects.get(month=month_name(7))
    assert manifest["sha256"] == row.sha256 and manifest["keyId"] == "k2" and manifest["signature"] == row.signature
    lines = lines_of(path)
    assert lines[0]["month"] == month_name(7) and lines[-1] == {"accounts": 2, "entries": 10, "credits": 70}
    kept = [line for line in lines if line.get("kept")]
    assert len(kept) == 6 and not any("description" in line or "actor" in line for line in kept)
    assert [p.name for p in path.parent.glob("*.part")] == []


def test_the_same_command_again_does_nothing_and_the_next_month_goes_on(old: Old, archive: Archive) -> None:
    first = archive(6)
    assert first["months"] == [month_name(7)]
    again = archive(6)
    assert again["months"] == [] and again["deleted"] == 0
    second = archive(4)
    assert second["months"] == [month_name(6), month_name(5)]
    assert list(LedgerClosing.objects.filter(account=old[0].account).order_by("id").values_list("first_seq", "last_seq")) == [
        (1, 8),
        (9, 16),
        (17, 24),
    ]
    assert is_right(*files_of(first), *files_of(second))


def test_a_month_that_is_too_young_or_none_is_refused(old: Old, archive: Archive, tmp_path: Path) -> None:
    assert archive(3)["months"] == [month_name(7), month_name(6), month_name(5)]  # nothing happened in the fourth
    with pytest.raises(CommandError, match=f"{month_name(2)} is too young.*The latest is {month_name(3)}"):
        archive(2)
    for wrong in ("2026-13", "2026", "2026-1", "May"):
        with pytest.raises(CommandError, match="write YYYY-MM"):
            manage_json("archive_ledger", "--before", wrong, "--directory", str(tmp_path))


def test_without_a_key_or_a_directory_nothing_is_written(old: Old, archive: Archive, tmp_path: Path) -> None:
    with override_settings(LEDGER_SIGNING_KEYS=[]), pytest.raises(CommandError, match="LEDGER_SIGNING_KEYS is not set"):
        archive()
    with override_settings(LEDGER_SIGNING_KEYS=["k1:short"]), pytest.raises(CommandError, match="k1 is too weak"):
        archive()
    with pytest.raises(CommandError, match="--directory DIR, or LEDGER_ARCHIVE_DIR"):
        call_command("archive_ledger", "--before", month_name(4))
    assert not (tmp_path / "ledger").exists() and not LedgerArchive.objects.exists()


def test_a_dry_run_counts_and_moves_nothing(old: Old, tmp_path: Path) -> None:
    found = manage_json("archive_ledger", "--before", month_name(4), "--directory", str(tmp_path / "x"), "--dry-run")
    assert found == {"dryRun": True, "months": [month_name(7), month_name(6), month_name(5)], "entries": 2 * 3 * 6}
    assert live_entries() == 64 and not (tmp_path / "x").exists()


def test_a_ledger_that_differs_is_not_archived(old: Old, archive: Archive) -> None:
    entry = LedgerEntry.objects.get(account=old[1].account, seq=4)
    with transaction.atomic(), window(), connection.cursor() as cursor:
        cursor.execute("UPDATE billing_ledgerentry SET description = 'another' WHERE id = %s", [entry.id])
    with pytest.raises(CommandError, match=r"Entry 4 of tenant:.* run reconcile"):
        archive()
    assert not LedgerArchive.objects.exists() and live_entries() == 64


# --- what stays in use -----------------------------------------------------------------------------------------------


def test_a_grant_of_an_archived_month_is_still_replayed(old: Old, archive: Archive) -> None:
    target = Principal("tenant", str(old[0].account.tenant_id))
    given: dict[str, Any] = {"target": target, "credits": 9, "kind": "GIFT", "reason": "hello", "actor": "gateway"}
    first = grant(**given, idempotency_key="hello-1")
    archive()
    again = grant(**given, idempotency_key="hello-1")
    assert again.replayed and again.entry.id == first.entry.id
    with pytest.raises(Exception, match="another"):
        grant(**given | {"credits": 10}, idempotency_key="pay-7")


def test_a_charge_of_an_archived_month_can_be_refunded(old: Old, archive: Archive) -> None:
    result = archive()
    charge = Charge.objects.filter(account=old[0].account, refunded=0, credits=7).earliest("created_at")
    assert not charge.entries.exists()
    done = refund(charge_id=str(charge.id), credits=None, reason="late complaint", actor="admin:root", idempotency_key="r-1")
    assert done.refund.credits == 7
    assert is_right(*files_of(result))


def test_uses_that_name_a_person_stay(old: Old, archive: Archive) -> None:
    history = old[0]
    extra = History(Account.objects.get(tenant=Tenant.objects.create(name="Cedar"), mode="live"), history.model)
    start = month_ago(7)
    extra.post(50, "GIFT", start)
    extra.use(5, start, actor="admin:alice")
    extra.use(5, start)
    extra.use(5, start)
    assert archive()["entries"] == 2 * 3 * 5 + 1
    assert [e.seq for e in extra.account.entries.order_by("seq")] == [1, 2, 4]


def test_statements_have_archived_months_as_a_whole(old: Old, archive: Archive) -> None:
    account = old[0].account
    since, until = month_ago(7), month_ago(4)
    whole = statement(account=account, since=since, until=until)
    archive()
    made = statement(account=account, since=since, until=until)
    assert (made.opening, made.closing, made.first, made.last) == (whole.opening, whole.closing, whole.first, whole.last)
    assert made.sums == whole.sums and made.counts == whole.counts
    assert [part.month for part in made.archived] == [month_name(7), month_name(6), month_name(5)]
    assert summary(made)["archived"][0] == {
        "month": month_name(7),
        "file": f"ledger-{month_name(7)}.jsonl.gz",
        "entries": 5,
        "amount": -35,
    }
    lines = list(csv_lines(made))
    amounts = [int(line.split(",")[3] or 0) for line in lines[1:]]
    assert made.opening + sum(amounts) == made.closing
    assert sum(f"ledger-{month_name(7)}.jsonl.gz" in line for line in lines) == 1


def test_what_only_the_archive_knows_is_refused_with_its_file(old: Old, archive: Archive, internal: Any) -> None:
    account = old[0].account
    inside = month_ago(6) + timedelta(hours=2, minutes=2, seconds=30)  # between two uses
    _status, found = internal.get(f"/internal/billing/balance?{_of(account)}&at={_text(inside)}")
    assert found["balance"] == 500 - 5 * 7 + 2 - 3 + 500 - 3 * 7
    archive()
    status, answer = internal.get(f"/internal/billing/balance?{_of(account)}&at={_text(inside)}")
    assert status == 400 and f"ledger-{month_name(6)}.jsonl.gz" in answer["details"]["fields"]["at"][0]
    for ago, expected in ((7, 0), (6, 464), (5, 928), (4, 1392), (0, 1856)):
        _status, answer = internal.get(f"/internal/billing/balance?{_of(account)}&at={_text(month_ago(ago))}")
        assert answer["balance"] == expected
    with pytest.raises(InvalidRequest):
        statement(account=account, since=inside, until=month_ago(4))
    with pytest.raises(InvalidRequest):
        statement(account=account, since=month_ago(7), until=inside)


def _of(account: Account) -> str:
    return f"targetType=tenant&targetId={account.tenant_id}"


def _text(timestamp: Any) -> str:
    return timestamp.isoformat().replace("+", "%2B")


def test_the_list_of_entries_says_from_when_on_uses_are_archived(old: Old, archive: Archive, internal: Any) -> None:
    account = old[0].account
    archive()
    _status, young = internal.get(f"/internal/billing/entries?{_of(account)}&limit=8")
    assert [entry["seq"] for entry in young["entries"]] == list(range(32, 24, -1)) and "archivedBefore" not in young
    _status, older = internal.get(f"/internal/billing/entries?{_of(account)}&cursor={young['nextCursor']}")
    assert [entry["seq"] for entry in older["entries"]] == [24, 23, 17, 16, 15, 9, 8, 7, 1]
    assert datetime.fromisoformat(older["archivedBefore"]) == month_ago(4)


@pytest.mark.parametrize("other_zone", [False, True])
def test_usage_of_archived_months_is_the_same(old: Old, archive: Archive, other_zone: bool) -> None:
    account = old[0].account
    name = "America/New_York" if other_zone else account.tenant.time_zone

    def usage() -> Any:
        period = Period(month_ago(7) + timedelta(hours=2, minutes=2), month_ago(0) + timedelta(hours=5), ZoneInfo(name))
        found = ledger_usage(account.id, period, ["day", "model"], zone_name=name)
        return sorted((str(key), value.requests, value.credits, value.refunded) for key, value in found.items())

    before = usage(), credits_used_ever(account.id, zone_name=name)
    archive()
    assert (usage(), credits_used_ever(account.id, zone_name=name)) == before
    assert (usage(), credits_used_ever(account.id, zone_name=account.tenant.time_zone)) == before


def test_erasing_after_archiving_leaves_the_ledger_right(old: Old, archive: Archive) -> None:
    result = archive()
    tenant = old[0].account.tenant
    call_command("erase_tenant", str(tenant.id), "--reason", "contract ended", "--json")
    first = LedgerEntry.objects.get(account=old[0].account, seq=1)
    assert first.description == str(tenant.id) and first.idempotency_key is None
    assert is_right(*files_of(result))


def test_triggers_let_nothing_go_that_no_closing_covers(old: Old, archive: Archive) -> None:
    archive()
    account = old[0].account
    closed = account.entries.get(seq=8)
    kept = account.entries.get(seq=1)
    open_use = account.entries.filter(kind="CONSUME", seq__gt=24).earliest("seq")
    for entry in (closed, kept, open_use):
        refused = pytest.raises(DatabaseError)
        with refused, transaction.atomic(), window("purge", before=month_ago(-1)), connection.cursor() as cursor:
            cursor.execute("DELETE FROM billing_ledgerentry WHERE id = %s", [entry.id])
    for table in ("billing_ledgerarchive", "billing_ledgerclosing"):
        for change in (f"DELETE FROM {table}", f"UPDATE {table} SET signature = 'x'"):
            with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(change)
