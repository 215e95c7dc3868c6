"""Archived months: the closing balances against their signatures, each other and the ledger; files against both."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from billing.archive.files import Block, BrokenArchive, Line, Reader, hash_of, sha256_of
from billing.ledger.closings import LedgerArchive, LedgerClosing, signature_problem
from billing.ledger.models import Charge, LedgerEntry
from billing.reconciliation.report import Problem, name_of, rows
from tenants.models import AuditEntry

ACCOUNTS = 500  # whose closings are looked at together
HAS_CLOSING = "EXISTS (SELECT 1 FROM billing_ledgerclosing k WHERE k.account_id = {})"
ERASED = ".erase"  # how the audit log's action ends that replaces texts


def check_archives() -> Iterator[Problem]:
    """Check that each archived month says what was signed."""
    for archive in LedgerArchive.objects.order_by("month"):
        if problem := signature_problem(archive):
            yield Problem(f"archive:{archive.month}", problem)


def check_closings(low: int, high: int) -> Iterator[Problem]:
    """Check that an account's closings are signed, follow from one another, and agree with the entries that stayed, and with
    the charges.
    """
    before: LedgerClosing | None = None
    found = LedgerClosing.objects.filter(account_id__gte=low, account_id__lte=high).select_related("archive")
    for closing in found.order_by("account_id", "first_seq"):
        if before is not None and before.account_id != closing.account_id:
            before = None
        yield from _check_closing(closing, before)
        before = closing
    if before is not None or found.exists():
        yield from _check_ends(low, high)
        yield from _check_others(low, high)
        yield from _check_uses(low, high)


def _check_closing(closing: LedgerClosing, before: LedgerClosing | None) -> Iterator[Problem]:
    name, month = name_of(closing.account_id), closing.archive.month
    if problem := signature_problem(closing):
        yield Problem(name, f"the closing balance of {month}: {problem}", closing.last_seq)
    ends = (before.last_seq, before.balance, before.hash) if before else (0, 0, "")
    if closing.first_seq != ends[0] + 1:
        yield Problem(
            name,
            f"the archived month before {month} is missing: entries {ends[0] + 1} to {closing.first_seq - 1}",
            closing.first_seq,
        )
    elif (closing.opening, closing.opening_hash) != ends[1:]:
        yield Problem(name, f"{month} does not begin where the archived month before it ends", closing.first_seq)


def _check_ends(low: int, high: int) -> Iterator[Problem]:
    statement = """
        SELECT c.account_id, c.last_seq, c.balance, e.balance FROM billing_ledgerclosing c
        LEFT JOIN billing_ledgerentry e ON e.account_id = c.account_id AND e.seq = c.last_seq
        WHERE c.account_id BETWEEN %s AND %s AND (e.id IS NULL OR e.balance <> c.balance OR e.hash <> c.hash)
        ORDER BY c.account_id, c.last_seq
    """
    for account_id, seq, balance, entry_balance in rows(statement, [low, high]):
        what = "is missing" if entry_balance is None else f"says {entry_balance}, or has another hash"
        yield Problem(name_of(account_id), f"the closing balance of an archived month is {balance}; its entry {what}", seq)


def _check_others(low: int, high: int) -> Iterator[Problem]:
    """Check that everything but uses stayed in the ledger; of the uses no more can be there than there were."""
    statement = """
        SELECT * FROM (
            SELECT c.account_id, c.last_seq, c.other_count, c.other_amount, c.used_count,
                coalesce(sum(CASE WHEN e.kind <> 'CONSUME' THEN 1 ELSE 0 END), 0) AS others,
                coalesce(sum(CASE WHEN e.kind <> 'CONSUME' THEN e.amount ELSE 0 END), 0) AS amount,
                coalesce(sum(CASE WHEN e.kind = 'CONSUME' THEN 1 ELSE 0 END), 0) AS uses
            FROM billing_ledgerclosing c LEFT JOIN billing_ledgerentry e
                ON e.account_id = c.account_id AND e.seq BETWEEN c.first_seq AND c.last_seq
            WHERE c.account_id BETWEEN %s AND %s
            GROUP BY c.id, c.account_id, c.last_seq, c.other_count, c.other_amount, c.used_count
        ) AS s WHERE others <> other_count OR amount <> other_amount OR uses > used_count ORDER BY account_id, last_seq
    """
    for account_id, seq, count, amount, used_count, others, other_amount, uses in rows(statement, [low, high]):
        yield Problem(
            name_of(account_id),
            f"the archived month closes with {count} entries that make {amount:+d} beside {used_count} uses; "
            f"the ledger has {others} that make {int(other_amount):+d}, and {uses} uses",
            seq,
        )


def _check_uses(low: int, high: int) -> Iterator[Problem]:
    """Yield the charges without an entry make what the closings say was used, less the uses that are still there."""
    statement = """
        SELECT k.account_id, k.used - coalesce(l.used, 0), coalesce(c.credits, 0)
        FROM (
            SELECT account_id, sum(used_credits) AS used FROM billing_ledgerclosing
            WHERE account_id BETWEEN %s AND %s GROUP BY account_id
        ) AS k LEFT JOIN (
            SELECT e.account_id, -sum(e.amount) AS used FROM billing_ledgerentry e JOIN (
                SELECT account_id, max(last_seq) AS seq FROM billing_ledgerclosing
                WHERE account_id BETWEEN %s AND %s GROUP BY account_id
            ) AS m ON m.account_id = e.account_id AND e.seq <= m.seq WHERE e.kind = 'CONSUME' GROUP BY e.account_id
        ) AS l ON l.account_id = k.account_id LEFT JOIN (
            SELECT c.account_id, sum(c.credits) AS credits FROM billing_charge c LEFT JOIN (
                SELECT DISTINCT charge_id FROM billing_ledgerentry
                WHERE account_id BETWEEN %s AND %s AND kind = 'CONSUME' AND charge_id IS NOT NULL
            ) AS e ON e.charge_id = c.id
            WHERE c.account_id BETWEEN %s AND %s AND e.charge_id IS NULL GROUP BY c.account_id
        ) AS c ON c.account_id = k.account_id
        WHERE k.used - coalesce(l.used, 0) <> coalesce(c.credits, 0) ORDER BY k.account_id
    """
    for account_id, archived, charged in rows(statement, [low, high] * 4):
        yield Problem(
            name_of(account_id),
            f"the archived uses make {int(archived)} credits, but the charges without an entry make {int(charged)}; "
            "`reconcile --archive` says which",
        )


# --- a file --------------------------------------------------------------------------------------------------------


def check_file(path: Path) -> Iterator[Problem]:
    """Check that the file is the one that was signed, and agrees with closings, charges and the entries that stayed."""
    reader = Reader(path)
    try:
        if not path.is_file():
            yield Problem(f"archive:{path.name}", "the file is not there")
            return
        archive = LedgerArchive.objects.filter(sha256=sha256_of(path)).first()
        if archive is None:
            yield Problem(f"archive:{path.name}", "the file is not one that was archived, or it was changed since")
        for block, lines in reader.blocks():
            yield from _check_lines(block, lines, archive)
            if lines and lines[-1].seq == block.last_seq and archive is not None:
                yield from _check_block(block, archive)
    except (BrokenArchive, OSError) as error:
        yield Problem(f"archive:{path.name}", str(error))


def _check_block(block: Block, archive: LedgerArchive) -> Iterator[Problem]:
    names = ("first_seq", "last_seq", "first_at", "opening", "opening_hash", "balance", "hash")
    sums = ("used_count", "used_credits", "other_count", "other_amount")
    closing = LedgerClosing.objects.filter(archive=archive, account_id=block.account_id).first()
    if closing is None:
        there = LedgerEntry.objects.filter(account_id=block.account_id, seq__range=(block.first_seq, block.last_seq)).count()
        if there != block.last_seq - block.first_seq + 1:
            yield Problem(block.reference, f"{archive.month} is archived, but the account has no closing balance of it")
        return
    for name in (*names, *sums):
        if getattr(closing, name) != getattr(block, name):
            yield Problem(
                block.reference,
                f"the closing balance of {archive.month} says {name} {getattr(closing, name)}, the file {getattr(block, name)}",
                block.last_seq,
            )


def _check_lines(block: Block, lines: list[Line], archive: LedgerArchive | None) -> Iterator[Problem]:
    """Check that each entry that stayed says what the file says; each that was moved has its charge."""
    seqs = [line.seq for line in lines]
    entries = LedgerEntry.objects.filter(account_id=block.account_id, seq__range=(seqs[0], seqs[-1]))
    there = {entry.seq: entry for entry in entries}
    charges: dict[Any, tuple[int, int]] = {
        pk: (account_id, credits)
        for pk, account_id, credits in Charge.objects.filter(
            id__in=[line.charge_id for line in lines if not line.is_kept]
        ).values_list("id", "account_id", "credits")
    }
    texts_erased = AuditEntry.objects.filter(action__endswith=ERASED).exists()
    for line, before in zip(lines, _hashes_before(block, lines), strict=True):
        entry = there.get(line.seq)
        if entry is not None and _facts(entry) != _facts(line):
            yield Problem(block.reference, "the entry says something else than the archive", line.seq)
        elif entry is None and line.is_kept:
            yield Problem(block.reference, "the entry is missing: it was not moved into the archive", line.seq)
        elif entry is not None and not texts_erased and not _matches_hash(block, line, before, entry):
            yield Problem(block.reference, "the entry's texts were changed: its hash does not match what it says", line.seq)
        if not line.is_kept and charges.get(line.charge_id) != (block.account_id, -line.amount):
            found = charges.get(line.charge_id)
            says = f"says {found[1]}" if found and found[0] == block.account_id else "is not there"
            yield Problem(block.reference, f"charge {line.charge_id} took {-line.amount}, but its row {says}", line.seq)


def _matches_hash(block: Block, line: Line, before: str | None, entry: LedgerEntry) -> bool:
    """Return whether an entry that stayed still says what it was hashed with; of one that was moved the file has the texts."""
    if not line.is_kept or before is None:
        return True
    return hash_of(block.account_id, line, before=before, texts=(entry.description, entry.actor)) == line.hash


def _hashes_before(block: Block, lines: list[Line]) -> Iterator[str | None]:
    """Yield the hash before each line; None where the piece before had it."""
    yield block.opening_hash if lines[0].seq == block.first_seq else None
    for line in lines[:-1]:
        yield line.hash


def _facts(row: LedgerEntry | Line) -> tuple[Any, ...]:
    at = row.created_at if isinstance(row, LedgerEntry) else row.at
    return (row.id, row.seq, str(row.kind), row.amount, row.balance, row.charge_id, at, row.hash)
