"""Reconciles what was written since the last proven entry of each account, and moves that entry on.

What it looks at: every new entry (number, balance, time, hash), beginning with the proven one, whose hash and balance must
be as they were proven; that each account says what its last entry says; that `held` is what open holds make; and for new
entries and new charges, that they agree. What it takes as proven before, and so does not see: an entry, charge, hold or refund
that was changed or removed behind an account's proven entry. Only a full run sees that: it goes on once a day, and does not
read the proven entries, which whoever can write to the database could change too.
"""

from collections.abc import Iterator
from datetime import datetime

from django.db import connection
from django.db.models import F

from billing.ledger.models import Account, LedgerEntry, ProvenEntry
from billing.ledger.posting import database_now
from billing.reconciliation.checks import HASH, account_ranges, check_accounts, check_open_holds, entry_problems
from billing.reconciliation.report import Problem, Report, name_of, rows, uuid_text
from waule.core.db.transactions import retried

# Of accounts between two ids: what follows their proven entries, and those themselves.
_SINCE = """
    FROM billing_account AS a LEFT JOIN billing_provenentry AS p ON p.account_id = a.id
    JOIN billing_ledgerentry AS x ON x.account_id = a.id AND x.seq >= coalesce(p.seq, 0)
    WHERE a.id BETWEEN %s AND %s AND a.last_seq > coalesce(p.seq, 0)"""
_ENTRIES = """
    SELECT account_id, seq, amount, balance, prev_seq, prev_balance, created_at < prev_at, hash <> {hash} AND seq > closed_seq
    FROM (
        SELECT x.account_id, x.seq, x.kind, x.amount, x.balance, x.charge_id, x.created_at, x.actor, x.description, x.hash,
               lag(x.seq, 1, 0) OVER chain AS prev_seq,
               lag(x.balance, 1, 0) OVER chain AS prev_balance,
               lag(x.hash, 1, '') OVER chain AS prev_hash,
               lag(x.created_at) OVER chain AS prev_at,
               coalesce(p.seq, 0) AS proven_seq,
               coalesce((SELECT max(c.last_seq) FROM billing_ledgerclosing c WHERE c.account_id = x.account_id), 0) AS closed_seq
        {since} WINDOW chain AS (PARTITION BY x.account_id ORDER BY x.seq)
    ) AS e
    WHERE seq > proven_seq AND CASE
        WHEN seq <> prev_seq + 1 THEN seq > closed_seq
        ELSE balance <> prev_balance + amount OR created_at < prev_at OR (seq > closed_seq AND hash <> {hash})
    END
    ORDER BY account_id, seq"""
_PROVEN = """
    SELECT p.account_id, p.seq FROM billing_provenentry AS p
    LEFT JOIN billing_ledgerentry AS x ON x.account_id = p.account_id AND x.seq = p.seq
    WHERE p.account_id BETWEEN %s AND %s AND (x.id IS NULL OR x.hash <> p.hash OR x.balance <> p.balance)
      AND p.seq >= coalesce((SELECT max(c.last_seq) FROM billing_ledgerclosing c WHERE c.account_id = p.account_id), 0)"""
_TAKEN = f"""
    SELECT x.account_id, x.seq, x.amount, c.credits {
    _SINCE.replace("WHERE a.id", "LEFT JOIN billing_charge AS c ON c.id = x.charge_id AND c.account_id = x.account_id WHERE a.id")
} AND x.seq > coalesce(p.seq, 0)
    AND x.kind = 'CONSUME' AND (c.id IS NULL OR c.credits <> -x.amount)"""
_GIVEN = f"""
    SELECT x.account_id, x.seq, c.refunded, (SELECT coalesce(sum(r.credits), 0) FROM billing_refund r WHERE r.charge_id = c.id)
    {_SINCE.replace("WHERE a.id", "JOIN billing_charge AS c ON c.id = x.charge_id WHERE a.id")} AND x.seq > coalesce(p.seq, 0)
    AND x.kind = 'REFUND'
    AND c.refunded <> (SELECT coalesce(sum(r.credits), 0) FROM billing_refund r WHERE r.charge_id = c.id)"""  # noqa: S608
# A charge newer than the proven entry has one of the entries after it.
_HAS_NO_ENTRY = """
    c.account_id = a.id AND c.created_at > coalesce(p.entry_at, '0001-01-01') AND c.credits > 0 AND NOT EXISTS (
        SELECT 1 FROM billing_ledgerentry AS x
        WHERE x.account_id = a.id AND x.seq > coalesce(p.seq, 0) AND x.charge_id = c.id AND x.kind = 'CONSUME'
    )"""
# Counted account by account, by the index of each one's charges in time: a join would read all charges and entries there are.
_LACKING = f"""
    SELECT a.id FROM billing_account AS a LEFT JOIN billing_provenentry AS p ON p.account_id = a.id
    WHERE a.id BETWEEN %s AND %s AND (SELECT count(*) FROM billing_charge AS c WHERE {_HAS_NO_ENTRY}) > 0
      AND NOT (p.entry_at IS NULL AND EXISTS (SELECT 1 FROM billing_ledgerclosing k WHERE k.account_id = a.id))"""  # noqa: S608
_UNENTERED = f"""
    SELECT c.id, c.credits FROM billing_account AS a LEFT JOIN billing_provenentry AS p ON p.account_id = a.id
    JOIN billing_charge AS c ON {_HAS_NO_ENTRY} WHERE a.id = %s"""  # noqa: S608
_NEW = f"SELECT count(*) {_SINCE} AND x.seq > coalesce(p.seq, 0)"
_Tip = tuple[int, int, int, str, datetime]


def reconcile_new() -> Report:
    """Check what is new, and where an account is right notes its last entry as proven. `entries` counts the new ones."""
    report = Report(accounts=Account.objects.count(), is_full=False)
    for low, high in account_ranges():
        tips = _tips(low, high)  # before they are proven: what comes meanwhile is proven next time
        report.entries += sum(count for (count,) in rows(_NEW, [low, high]))
        found = list(_check(low, high))
        report.add(found)
        wrong = {problem.account for problem in found}
        _note([tip for tip in tips if not wrong or name_of(tip[0]) not in wrong])
    return report


def _check(low: int, high: int) -> Iterator[Problem]:
    for account_id, seq in rows(_PROVEN, [low, high]):
        yield Problem(name_of(account_id), f"entry {seq} is not as it was when it was proven", seq)
    yield from entry_problems(rows(_ENTRIES.format(hash=HASH[connection.vendor], since=_SINCE), [low, high]))
    yield from check_accounts(low, high)
    yield from check_open_holds(low, high)
    for account_id, seq, amount, credits in rows(_TAKEN, [low, high]):
        said = "there is no such charge" if credits is None else f"its charge says {credits}"
        yield Problem(name_of(account_id), f"entry {seq} takes {-amount}, but {said}", seq)
    for account_id, seq, refunded, refunds in rows(_GIVEN, [low, high]):
        yield Problem(name_of(account_id), f"its charge says {refunded} refunded, its refunds {refunds}", seq)
    for (account_id,) in rows(_LACKING, [low, high]):
        for charge_id, credits in rows(_UNENTERED, [account_id]):
            yield Problem(name_of(account_id), f"charge {uuid_text(charge_id)} says {credits} charged, but has no entry")


def _tips(low: int, high: int) -> list[_Tip]:
    """Return the last entries of accounts that have new ones."""
    proven = dict(ProvenEntry.objects.filter(account_id__gte=low, account_id__lte=high).values_list("account_id", "seq"))
    last = LedgerEntry.objects.filter(account_id__gte=low, account_id__lte=high, seq=F("account__last_seq"))
    found = last.order_by("account_id").values_list("account_id", "seq", "balance", "hash", "created_at")
    return [tip for tip in found if tip[1] > proven.get(tip[0], 0)]


@retried
def _note(tips: list[_Tip]) -> None:
    now = database_now()
    proven = [
        ProvenEntry(account_id=account_id, seq=seq, balance=balance, hash=hash, entry_at=at, proven_at=now)
        for account_id, seq, balance, hash, at in tips
    ]
    ProvenEntry.objects.bulk_create(
        proven,
        batch_size=1000,
        update_conflicts=True,
        unique_fields=["account"],
        update_fields=["seq", "balance", "hash", "entry_at", "proven_at"],
    )
