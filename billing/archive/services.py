"""Moves the uses of old months from the ledger into files, a month at a time, in steps that can each be repeated.

For each month: (1) the file is written and read back; (2) its row and (3) the accounts' closing balances are signed and
committed; (4) the entries that the file holds are deleted, in batches. Whoever is killed in between has lost nothing: the
next run goes on from what it finds. Before (3) the ledger is whole; from then on reconciliation stands on the closings, with
any part of the month's entries still there.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from django.db import connection
from django.db.models import Min
from django.utils.translation import gettext as _

from billing.archive.closing import close_accounts, delete_entries
from billing.archive.files import Block, Reader, Writer, sha256_of, write_private
from billing.archive.months import end_of, month_of, name_of
from billing.ledger import signatures
from billing.ledger.closings import LedgerArchive, LedgerClosing, sign
from billing.ledger.models import Account, LedgerEntry
from billing.ledger.posting import chained_hash, database_now
from tenants import audit
from waule.core.db.transactions import durable
from waule.core.errors import InvalidRequest, InvalidState
from waule.core.fail_points import failpoint

KEPT_MONTHS = 3  # whole months before the current one that stay: budgets, charts and complaints read them
BATCH_ENTRIES = 1000  # read at once
BATCH_ACCOUNTS = 200  # read at once
_MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")

_REST = """
    SELECT 1 FROM billing_ledgerclosing c JOIN billing_ledgerentry e
        ON e.account_id = c.account_id AND e.seq >= c.first_seq AND e.seq < c.last_seq
    WHERE c.archive_id = %s AND e.kind = 'CONSUME' AND e.charge_id IS NOT NULL AND e.idempotency_key IS NULL
        AND e.actor NOT LIKE 'admin:%%' LIMIT 1
"""

Progress = Callable[[int, int], None]  # months done, months in all


@dataclass
class Result:
    """What a run did; entries and credits of the months that it archived or finished."""

    months: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    entries: int = 0
    credits: int = 0
    deleted: int = 0


def archive_ledger(
    *, before: str, directory: Path, actor: str, dry_run: bool = False, progress: Progress = lambda done, total: None
) -> dict[str, Any]:
    """Archive every month before `before` (YYYY-MM, in BILLING_TIME_ZONE), oldest first, into files in `directory`.

    Raises:
        NotConfigured: LEDGER_SIGNING_KEYS is missing. InvalidRequest: the month is none, or too young.
        InvalidState: an entry does not match its hash; or a file that was begun is not in the directory, or changed.
    """
    signatures.sign({})  # says that there is no key before anything is written
    last = _month_number(before)
    months = [month for month in _open_months() if month < last]
    if dry_run:
        return {"dryRun": True, "months": [name_of(month) for month in months], "entries": _countable(months, last)}
    result = Result()
    for done, month in enumerate(months):
        progress(done, len(months))
        _archive_month(month, directory, actor, result)
    progress(len(months), len(months))
    return {"dryRun": False, **result.__dict__}


# --- months --------------------------------------------------------------------------------------------------------


def _month_number(text: str) -> int:
    """Months since the year 0, so that the next one is one more."""
    found = _MONTH.fullmatch(text)
    if found is None:
        raise InvalidRequest.of_field("before", _("%(value)s is no month: write YYYY-MM.") % {"value": text})
    number = int(found[1]) * 12 + int(found[2]) - 1
    newest = month_of(database_now()) - KEPT_MONTHS
    if number > newest:
        raise InvalidRequest.of_field(
            "before",
            _("%(value)s is too young: the current month and the %(count)s before it stay. The latest is %(latest)s.")
            % {"value": text, "count": KEPT_MONTHS, "latest": name_of(newest)},
        )
    return number


def _open_months() -> list[int]:
    """Return the months to look at, oldest first: the newest archived one where it was not finished, and those after it."""
    newest = LedgerArchive.objects.order_by("-until").first()
    if newest is None:
        first = LedgerEntry.objects.aggregate(first=Min("created_at"))["first"]
        start = month_of(first) if first else month_of(database_now())
    else:
        start = _month_number(newest.month) + (0 if _has_rest(newest) else 1)
    return list(range(start, month_of(database_now())))


def _has_rest(archive: LedgerArchive) -> bool:
    """Return whether an account of the month is not closed yet, or an entry that was moved is still there."""
    if archive.closings.count() < archive.accounts:
        return True
    with connection.cursor() as cursor:
        cursor.execute(_REST, [archive.id])
        return bool(cursor.fetchone())


def _countable(months: list[int], last: int) -> int:
    """About how many entries would be moved."""
    if not months:
        return 0
    rows = LedgerEntry.objects.filter(kind="CONSUME", created_at__lt=end_of(last - 1), idempotency_key=None)
    return rows.exclude(actor__startswith="admin:").count()


# --- one month -----------------------------------------------------------------------------------------------------


def _archive_month(number: int, directory: Path, actor: str, result: Result) -> None:
    month, until = name_of(number), end_of(number)
    path = directory / f"ledger-{month}.jsonl.gz"
    archive = LedgerArchive.objects.filter(month=month).first()
    if archive is None:
        totals = _write(path, month, until)
        if not totals.accounts:  # nothing happened in that month
            path.unlink()
            return
        failpoint("archive.written")
        archive = _register(path, month, until, totals)
    check_file(archive, path)
    write_private(path.with_name(f"ledger-{month}.json"), json.dumps(manifest(archive), indent=2) + "\n")
    failpoint("archive.registered")
    close_accounts(archive, path)
    failpoint("archive.closed")
    deleted = delete_entries(archive, path)
    _note(archive, actor, deleted)
    result.months.append(month)
    result.files.append(str(path))
    result.entries += archive.entries
    result.credits += archive.credits
    result.deleted += deleted


def check_file(archive: LedgerArchive, path: Path) -> None:
    """Check that raises InvalidState where the file is not there, or not the one that was written."""
    if not path.is_file():
        raise InvalidState(
            _("%(file)s is not in %(folder)s: name the directory that it was written to.")
            % {"file": path.name, "folder": path.parent},
            state="file_missing",
        )
    if path.stat().st_size != archive.size_bytes or sha256_of(path) != archive.sha256:
        raise InvalidState(
            _("%(file)s is not the file that was written: its SHA-256 is not %(hash)s.")
            % {"file": path.name, "hash": archive.sha256},
            state="file_changed",
        )


def manifest(archive: LedgerArchive) -> dict[str, Any]:
    """Return what lies beside the file: the archive's row with its signature."""
    return {**archive.signed(), "keyId": archive.key_id, "signature": archive.signature}


def _write(path: Path, month: str, until: datetime) -> Any:
    """Write the file and read it back. Returns its totals."""
    writer = Writer(path, month=month, until=until)
    try:
        for account in _accounts():
            block = _block(account, until)
            if block is not None:
                writer.write(block, _checked_entries(block))
        writer.finish()
    except BaseException:
        writer.discard()
        raise
    reader = Reader(path)
    for _block_read, _lines in reader.blocks():
        pass
    return reader.totals


def _accounts() -> Iterator[Account]:
    low, rows = 0, Account.objects.select_related("tenant").order_by("id")
    while found := list(rows.filter(id__gt=low, last_seq__gt=0)[:BATCH_ACCOUNTS]):
        yield from found
        low = found[-1].id


def _block(account: Account, until: datetime) -> Block | None:
    """Return the account's entries up to `until` that no closing covers yet."""
    closing = LedgerClosing.objects.filter(account=account).order_by("-last_seq").first()
    first = closing.last_seq + 1 if closing else 1
    rows = LedgerEntry.objects.filter(account_id=account.id, created_at__lt=until, seq__gte=first)
    last = rows.order_by("-created_at", "-seq").values_list("seq", flat=True).first()
    if last is None:
        return None
    opening, opening_hash = (closing.balance, closing.hash) if closing else (0, "")
    return Block(account.id, account.reference, first, last, opening, opening_hash)


def _checked_entries(block: Block) -> Iterator[LedgerEntry]:
    """Yield the entries in their order, each checked against the one before it: nothing that differs is archived."""
    seq, balance, before = block.first_seq - 1, block.opening, block.opening_hash
    rows = LedgerEntry.objects.filter(account_id=block.account_id, seq__lte=block.last_seq).order_by("seq")
    while batch := list(rows.filter(seq__gt=seq)[:BATCH_ENTRIES]):
        for entry in batch:
            if (entry.seq, entry.balance, entry.hash) != (seq + 1, balance + entry.amount, chained_hash(entry, before=before)):
                raise InvalidState(
                    _("Entry %(seq)s of %(account)s does not follow from the one before it: run reconcile.")
                    % {"seq": entry.seq, "account": block.reference},
                    state="differs",
                )
            seq, balance, before = entry.seq, entry.balance, entry.hash
            yield entry


@durable
def _register(path: Path, month: str, until: datetime, totals: Any) -> LedgerArchive:
    archive = LedgerArchive(
        month=month,
        until=until,
        file=path.name,
        sha256=sha256_of(path),
        size_bytes=path.stat().st_size,
        created_at=database_now(),
        **totals.as_json(),
    )
    sign(archive)
    archive.save()
    return archive


@durable
def _note(archive: LedgerArchive, actor: str, deleted: int) -> None:
    audit.record(
        actor=actor,
        action="ledger.archive",
        target=archive,
        after={"file": archive.file, "sha256": archive.sha256, "entries": archive.entries, "deleted": deleted},
    )
