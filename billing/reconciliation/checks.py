"""Reconciles the ledger with itself: entries against balances, numbers and hashes; holds against `held`; charges against both.

Everything is compared inside the database, in pieces of about PIECE entries, so that memory stays flat over any number
of rows. Each comparison is one statement, and so sees one moment: charges may go on meanwhile.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.backends.signals import connection_created
from django.dispatch import receiver

from billing.ledger.models import Account, Charge, Hold, LedgerEntry
from billing.ledger.posting import entry_hash
from billing.reconciliation import archives
from billing.reconciliation.report import Problem, Report, name_of, rows, uuid_text

PIECE = 200_000  # entries per statement

Progress = Callable[[int, int], None]  # entries done, entries in all


def reconcile(*, progress: Progress = lambda done, total: None, archived: Sequence[Path] = ()) -> Report:
    """Check every account, entry, hold, charge and refund, and the files of archived months that are given. Reads only."""
    report = Report(
        accounts=Account.objects.count(),
        entries=LedgerEntry.objects.count(),
        holds=Hold.objects.count(),
        charges=Charge.objects.count(),
    )
    done = 0
    for piece in _pieces():
        report.add(_check_entries(piece))
        done += piece.entries
        progress(done, report.entries)
    for low, high in account_ranges():
        report.add(check_accounts(low, high))
        report.add(_check_holds(low, high))
        report.add(_check_charges(low, high))
    report.add(archives.check_archives())
    for low, high in account_ranges(archives.ACCOUNTS):
        report.add(archives.check_closings(low, high))
    for path in archived:
        report.add(archives.check_file(path))
    progress(report.entries, report.entries)
    return report


@dataclass(frozen=True)
class _Piece:
    """Accounts from `low` to `high`; of one account alone, entries from `first` to `last` (None: all)."""

    low: int
    high: int
    entries: int
    first: int = 1
    last: int | None = None


def _pieces() -> Iterator[_Piece]:
    low, high, entries = 0, 0, 0
    for account_id, last_seq in Account.objects.order_by("id").values_list("id", "last_seq").iterator():
        if last_seq > PIECE:
            if entries:
                yield _Piece(low, high, entries)
            for first in range(1, last_seq + 1, PIECE):
                last = first + PIECE - 1
                is_end = last >= last_seq
                yield _Piece(account_id, account_id, min(PIECE, last_seq - first + 1), first, None if is_end else last)
            low, entries = account_id + 1, 0
            continue
        low = low if entries else account_id
        high, entries = account_id, entries + last_seq
        if entries >= PIECE:
            yield _Piece(low, high, entries)
            entries = 0
    if entries:
        yield _Piece(low, high, entries)


def account_ranges(size: int = 10_000) -> Iterator[tuple[int, int]]:
    low = 0
    while (ids := list(Account.objects.filter(id__gt=low).order_by("id").values_list("id", flat=True)[:size])) != []:
        yield ids[0], ids[-1]
        low = ids[-1]


_HASHED = "prev_hash, account_id, seq, kind, amount, balance, charge_id, created_at, actor, description"
HASH = {
    "postgresql": f"billing_entry_hash({_HASHED})",
    "sqlite": f"waule_entry_hash({_HASHED})",
}

_ENTRIES = """
    SELECT account_id, seq, amount, balance, prev_seq, prev_balance,
           created_at < prev_at, hash <> {hash} AND seq > closed_seq
    FROM (
        SELECT account_id, seq, kind, amount, balance, charge_id, created_at, actor, description, hash,
               lag(seq, 1, 0) OVER chain AS prev_seq,
               lag(balance, 1, 0) OVER chain AS prev_balance,
               lag(hash, 1, '') OVER chain AS prev_hash,
               lag(created_at) OVER chain AS prev_at,
               coalesce((SELECT max(c.last_seq) FROM billing_ledgerclosing c WHERE c.account_id = x.account_id), 0) AS closed_seq
        FROM billing_ledgerentry x
        WHERE account_id BETWEEN %s AND %s AND seq >= %s AND seq <= %s
        WINDOW chain AS (PARTITION BY account_id ORDER BY seq)
    ) AS e
    WHERE seq >= %s AND CASE
        WHEN seq <> prev_seq + 1 THEN seq > closed_seq
        ELSE balance <> prev_balance + amount OR created_at < prev_at OR (seq > closed_seq AND hash <> {hash})
    END
    ORDER BY account_id, seq
"""


def _check_entries(piece: _Piece) -> Iterator[Problem]:
    """Numbers without a gap, balances that follow from amounts, time that never goes back, and the hash chain.

    Up to an account's last closing there are gaps, and texts may have been erased: `archives` checks what is there.
    """
    statement = _ENTRIES.format(hash=HASH[connection.vendor])
    last = 2**62 if piece.last is None else piece.last
    yield from entry_problems(rows(statement, [piece.low, piece.high, piece.first - 1, last, piece.first]))


def entry_problems(found: Iterable[Any]) -> Iterator[Problem]:
    """Yield what is wrong with entries that do not follow from the one before them.

    `found` are rows of account, number, amount, balance, number and balance before, whether it is earlier, whether its hash is
    another.
    """
    for row in found:
        account_id, seq, amount, balance, prev_seq, prev_balance, is_earlier, is_other = row
        name = name_of(account_id)
        if seq != prev_seq + 1:
            yield Problem(name, f"entry {prev_seq + 1} is missing: after {prev_seq} comes {seq}", seq)
            continue
        if balance != prev_balance + amount:
            yield Problem(name, f"the balance {balance} does not follow from {prev_balance} and {amount:+d}", seq)
        if is_earlier:
            yield Problem(name, "the entry is older than the one before it", seq)
        if is_other:
            yield Problem(name, "the entry or the one before it was changed: its hash does not match what it says", seq)


def check_accounts(low: int, high: int) -> Iterator[Problem]:
    """Check that the account says what its last entry says."""
    statement = """
        SELECT a.id, a.balance, a.last_seq, a.last_hash, e.balance, e.hash,
               (SELECT max(seq) FROM billing_ledgerentry x WHERE x.account_id = a.id)
        FROM billing_account a LEFT JOIN billing_ledgerentry e ON e.account_id = a.id AND e.seq = a.last_seq
        WHERE a.id BETWEEN %s AND %s AND (
            (a.last_seq > 0 AND (e.id IS NULL OR a.balance <> e.balance OR a.last_hash <> e.hash))
            OR (a.last_seq = 0 AND a.balance <> 0)
            OR EXISTS (SELECT 1 FROM billing_ledgerentry x WHERE x.account_id = a.id AND x.seq > a.last_seq)
        )
        ORDER BY a.id
    """
    for account_id, balance, last_seq, last_hash, entry_balance, entry_hash_, max_seq in rows(statement, [low, high]):
        name = name_of(account_id)
        if (max_seq or 0) > last_seq:
            yield Problem(name, f"there are entries beyond the account's last number {last_seq}, up to {max_seq}", max_seq)
        elif last_seq == 0:
            yield Problem(name, f"the balance is {balance}, but there is no entry")
        elif entry_balance is None:
            yield Problem(name, f"entry {last_seq}, the last one, is missing", last_seq)
        elif balance != entry_balance:
            yield Problem(name, f"the balance is {balance}, but the entries make {entry_balance}", last_seq)
        elif last_hash != entry_hash_:
            yield Problem(name, "the account's hash is not that of its last entry", last_seq)


def check_open_holds(low: int, high: int) -> Iterator[Problem]:
    """`held` is what the open holds make together."""
    statement = """
        SELECT a.id, a.held, coalesce(h.credits, 0)
        FROM billing_account a LEFT JOIN (
            SELECT account_id, sum(credits) AS credits FROM billing_hold
            WHERE state = 'held' AND account_id BETWEEN %s AND %s GROUP BY account_id
        ) AS h ON h.account_id = a.id
        WHERE a.id BETWEEN %s AND %s AND a.held <> coalesce(h.credits, 0)
        ORDER BY a.id
    """
    for account_id, held, credits in rows(statement, [low, high, low, high]):
        yield Problem(name_of(account_id), f"{held} credits are held, but the open holds make {credits}")


def _check_holds(low: int, high: int) -> Iterator[Problem]:
    """Of holds: what is held, and that what was captured has its charge."""
    yield from check_open_holds(low, high)
    statement = """
        SELECT h.account_id, h.id, h.state, c.id FROM billing_hold h LEFT JOIN billing_charge c ON c.hold_id = h.id
        WHERE h.account_id BETWEEN %s AND %s AND (h.state = 'captured') <> (c.id IS NOT NULL)
    """
    for account_id, hold_id, state, charge_id in rows(statement, [low, high]):
        what = f"is {state}, but was charged as {uuid_text(charge_id)}" if charge_id else "is captured, but has no charge"
        yield Problem(name_of(account_id), f"hold {uuid_text(hold_id)} {what}")


def _check_charges(low: int, high: int) -> Iterator[Problem]:
    """Yield a charge took what its entries took, and gave back what its entries and its refunds gave back.

    A charge whose entry is archived is counted with all others of its account (`archives`), or proven by the file.
    """
    statement = """
        SELECT c.account_id, c.id, c.credits, c.refunded, coalesce(e.taken, 0), coalesce(e.given, 0), coalesce(r.credits, 0)
        FROM billing_charge c
        LEFT JOIN (
            SELECT charge_id,
                   -sum(CASE WHEN kind = 'CONSUME' THEN amount ELSE 0 END) AS taken,
                   sum(CASE WHEN kind = 'REFUND' THEN amount ELSE 0 END) AS given
            FROM billing_ledgerentry WHERE account_id BETWEEN %s AND %s AND charge_id IS NOT NULL GROUP BY charge_id
        ) AS e ON e.charge_id = c.id
        LEFT JOIN (
            SELECT charge_id, sum(credits) AS credits FROM billing_refund
            WHERE account_id BETWEEN %s AND %s GROUP BY charge_id
        ) AS r ON r.charge_id = c.id
        WHERE c.account_id BETWEEN %s AND %s AND (
            (c.credits <> coalesce(e.taken, 0) AND NOT (coalesce(e.taken, 0) = 0 AND {is_archived}))
            OR c.refunded <> coalesce(e.given, 0) OR c.refunded <> coalesce(r.credits, 0)
        )
        ORDER BY c.account_id
    """
    statement = statement.replace("{is_archived}", archives.HAS_CLOSING.format("c.account_id"))
    for account_id, charge_id, credits, refunded, taken, given, refunds in rows(statement, [low, high] * 3):
        yield Problem(
            name_of(account_id),
            f"charge {uuid_text(charge_id)} says {credits} charged and {refunded} refunded; "
            f"its entries say {taken} and {given}, its refunds {refunds}",
        )


@receiver(connection_created)
def teach_sqlite_the_hash(sender: Any, connection: Any, **kwargs: Any) -> None:
    """SQLite has no SHA-256 of its own."""
    if connection.vendor == "sqlite":
        connection.connection.create_function("waule_entry_hash", 10, _sqlite_hash, deterministic=True)


def _sqlite_hash(
    before: str,
    account_id: int,
    seq: int,
    kind: str,
    amount: int,
    balance: int,
    charge_id: str | None,
    created_at: str,
    actor: str,
    description: str,
) -> str:
    timestamp = datetime.fromisoformat(created_at)
    return entry_hash(
        before=before,
        account_id=account_id,
        seq=seq,
        kind=kind,
        amount=amount,
        balance=balance,
        charge_id=UUID(charge_id) if charge_id else None,
        created_at=timestamp if timestamp.tzinfo else timestamp.replace(tzinfo=UTC),
        actor=actor,
        description=description,
    )
