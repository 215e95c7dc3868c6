"""Whoever changes a closing balance, a file, a charge, or makes a month disappear, is found."""

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import override_settings

from billing.ledger.closings import LedgerClosing
from billing.ledger.models import Charge, LedgerEntry
from billing.reconciliation.checks import reconcile
from tests.archive.conftest import KEYS, Archive, History, lines_of, month_name

Old = tuple[History, History]


def past_the_triggers(table: str, statement: str, *parameters: Any) -> None:
    """What somebody can do who owns the database."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        else:
            for name in ("no_update", "no_delete"):
                cursor.execute(f"DROP TRIGGER IF EXISTS {table}_{name}")
        cursor.execute(statement, parameters)
        assert cursor.rowcount > 0
        if connection.vendor == "postgresql":
            cursor.execute("SET CONSTRAINTS ALL DEFERRED")


def problems(*files: Path) -> list[str]:
    return [problem.what for problem in reconcile(archived=files).problems]


@pytest.fixture
def files(old: Old, archive: Archive) -> list[Path]:
    made = [Path(name) for name in archive()["files"]]
    assert problems(*made) == []
    return made


def middle(old: Old) -> LedgerClosing:
    return LedgerClosing.objects.get(account=old[0].account, first_seq=9)


def test_a_closing_balance_that_was_changed(old: Old, files: list[Path]) -> None:
    closing = middle(old)
    past_the_triggers(
        "billing_ledgerclosing",
        "UPDATE billing_ledgerclosing SET balance = balance + 5, used_credits = used_credits - 5 WHERE id = %s",
        closing.id,
    )
    month = month_name(6)
    found = problems()
    assert f"the closing balance of {month}: the signature does not match" in found
    assert any("does not begin where the archived month before it ends" in what for what in found)
    assert any("archived uses make 100 credits, but the charges without an entry make 105" in what for what in found)


def test_a_closing_that_was_signed_with_another_key(old: Old, files: list[Path]) -> None:
    with override_settings(LEDGER_SIGNING_KEYS=["k2:somebody-elses-signing-key-9876543210"]):
        assert len([what for what in problems() if "the signature does not match" in what]) == 3 + 6
    with override_settings(LEDGER_SIGNING_KEYS=["k3:a-third-signing-key-0a1b2c3d4e5f6g7h", *KEYS.split(",")]):
        assert problems(*files) == []  # a newer key signs, the older ones verify
    with override_settings(LEDGER_SIGNING_KEYS=["k3:a-third-signing-key-0a1b2c3d4e5f6g7h"]):
        assert any("the signing key k2 is not in LEDGER_SIGNING_KEYS" in what for what in problems())


def test_a_month_that_is_missing(old: Old, files: list[Path]) -> None:
    past_the_triggers("billing_ledgerclosing", "DELETE FROM billing_ledgerclosing WHERE id = %s", middle(old).id)
    found = problems()
    assert f"the archived month before {month_name(5)} is missing: entries 9 to 16" in found
    assert any("but the account has no closing balance of it" in what for what in problems(*files))


def test_the_last_month_that_is_missing(old: Old, files: list[Path]) -> None:
    last = LedgerClosing.objects.get(account=old[0].account, first_seq=17)
    past_the_triggers("billing_ledgerclosing", "DELETE FROM billing_ledgerclosing WHERE id = %s", last.id)
    assert any("entry 18 is missing: after 17 comes 23" in what for what in problems())


def test_an_archived_month_whose_row_was_changed(old: Old, files: list[Path]) -> None:
    past_the_triggers(
        "billing_ledgerarchive", "UPDATE billing_ledgerarchive SET credits = credits + 1 WHERE month = %s", month_name(6)
    )
    assert "the signature does not match" in problems()


def rewritten(path: Path, change: Any) -> Path:
    lines = lines_of(path)
    change(lines)
    other = path.with_name("other.jsonl.gz")
    with gzip.open(other, "wt") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    return other


def moved(lines: list[dict[str, Any]]) -> dict[str, Any]:
    return next(line for line in lines if "actor" in line)


def test_a_file_that_was_changed(old: Old, files: list[Path]) -> None:
    def amount(lines: list[dict[str, Any]]) -> None:
        moved(lines)["amount"] += 1

    def description(lines: list[dict[str, Any]]) -> None:
        moved(lines)["description"] = "video"

    def all_the_same(lines: list[dict[str, Any]]) -> None:
        pass

    def shorter(lines: list[dict[str, Any]]) -> None:
        lines.remove(moved(lines))

    changed = "the file is not one that was archived, or it was changed since"
    for change, also in (
        (amount, "the balance of entry 2"),
        (description, "entry 2 of tenant:"),
        (shorter, "entry 2 of tenant:"),
        (all_the_same, ""),  # other bytes that say the same
    ):
        found = problems(rewritten(files[0], change))
        assert changed in found and any(also in what for what in found[1:] or [""]), (change, found)


def test_a_file_that_is_cut_off_or_away(old: Old, files: list[Path]) -> None:
    short = files[0].with_name("short.jsonl.gz")
    short.write_bytes(files[0].read_bytes()[:-40])
    assert any("is not a whole archive" in what for what in problems(short))
    short.write_bytes(b"no archive at all")
    assert any("is not a whole archive" in what for what in problems(short))
    assert problems(files[0].with_name("nowhere.gz")) == ["the file is not there"]


def test_the_archive_does_not_go_on_over_a_changed_or_missing_file(old: Old, files: list[Path], archive: Archive) -> None:
    entry = LedgerEntry.objects.get(account=old[0].account, seq=17)
    # As if the run had been killed before the newest month was closed.
    past_the_triggers("billing_ledgerclosing", "DELETE FROM billing_ledgerclosing WHERE last_seq = 24")
    kept, content = files[2], files[2].read_bytes()
    assert entry.seq == 17
    kept.write_bytes(content[:-1] + b"x")
    with pytest.raises(Exception, match="is not the file that was written"):
        archive()
    kept.unlink()
    with pytest.raises(Exception, match="name the directory that it was written to"):
        archive()
    kept.write_bytes(content)
    archive()  # the entries are gone already: only the file knows how the month closed


def test_an_archived_charge_that_was_changed(old: Old, files: list[Path]) -> None:
    """Two changes that make up for each other are found by the file alone."""
    one, two = Charge.objects.filter(account=old[0].account, refunded=0, credits=7).order_by("created_at")[:2]
    Charge.objects.filter(id=one.id).update(credits=6)
    assert any("archived uses make 105 credits, but the charges without an entry make 104" in what for what in problems())
    Charge.objects.filter(id=two.id).update(credits=8)
    assert problems() == []
    found = problems(files[0])
    assert sorted(found) == sorted([f"charge {one.id} took 7, but its row says 6", f"charge {two.id} took 7, but its row says 8"])


def test_a_kept_entry_that_was_changed_or_deleted(old: Old, files: list[Path]) -> None:
    table, account = "billing_ledgerentry", old[0].account
    first = account.entries.get(seq=1)
    past_the_triggers(table, "UPDATE billing_ledgerentry SET description = 'free' WHERE id = %s", first.id)
    assert "the entry's texts were changed: its hash does not match what it says" in problems(files[0])
    past_the_triggers(table, "UPDATE billing_ledgerentry SET amount = 501 WHERE id = %s", first.id)
    assert any("the balance 500 does not follow" in what for what in problems())
    assert any("the ledger has 2 that make +503, and 1 uses" in what for what in problems())
    refund_entry = account.entries.get(seq=7)
    past_the_triggers("billing_refund", "UPDATE billing_refund SET entry_id = NULL WHERE entry_id = %s", refund_entry.id)
    past_the_triggers(table, "DELETE FROM billing_ledgerentry WHERE id = %s", refund_entry.id)
    assert any("the ledger has 1 that make +501, and 1 uses" in what for what in problems())
    assert "the entry is missing: it was not moved into the archive" in problems(files[0])


def test_a_file_under_another_name_is_the_same_file(old: Old, files: list[Path], tmp_path: Path) -> None:
    other = tmp_path / "from-the-tape.gz"
    shutil.copyfile(files[1], other)
    assert problems(other) == []
