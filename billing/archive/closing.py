"""The end of an archived month: its accounts' closing balances are signed, then the entries that its file holds are deleted."""

from datetime import datetime
from pathlib import Path

from django.db.models import QuerySet

from billing.archive.files import Block, Reader
from billing.ledger.closings import LedgerArchive, LedgerClosing, sign
from billing.ledger.models import Account, LedgerEntry
from billing.usage_reports.rollup import roll_up
from tenants.erasure import window
from waule.core.db.erasure_window import PURGE
from waule.core.db.transactions import durable
from waule.core.fail_points import failpoint

BATCH_ENTRIES = 1000  # deleted by one transaction
BATCH_ACCOUNTS = 200  # closed by one transaction


def close_accounts(archive: LedgerArchive, path: Path) -> None:
    """Sign the closing balance of each account of the file that has none yet."""
    blocks: list[Block] = []
    last: Block | None = None
    for block, _lines in Reader(path).blocks():
        if last is not None and last is not block:
            blocks.append(last)
        last = block
        if len(blocks) >= BATCH_ACCOUNTS:
            _close_batch(archive, blocks)
            blocks = []
    _close_batch(archive, [*blocks, last] if last else blocks)


def _close_batch(archive: LedgerArchive, blocks: list[Block]) -> None:
    if blocks:
        _roll_up([block.account_id for block in blocks])
        _insert_closings(archive, blocks)


def _roll_up(account_ids: list[int]) -> None:
    """Usage reports are made of entries: what is to go is rolled up before."""
    rows = Account.objects.filter(id__in=account_ids, tenant__isnull=False).order_by("id")
    for account_id, zone_name in rows.values_list("id", "tenant__time_zone"):
        while roll_up(account_id, zone_name=zone_name):
            pass


@durable
def _insert_closings(archive: LedgerArchive, blocks: list[Block]) -> None:
    """Under the accounts' locks: an account whose chain was computed anew meanwhile (erasing does) waits for the next month."""
    ids = [block.account_id for block in blocks]
    list(Account.objects.select_for_update(no_key=True).filter(id__in=ids).order_by("id").values_list("id"))
    there = set(LedgerClosing.objects.filter(archive=archive, account_id__in=ids).values_list("account_id", flat=True))
    for block in blocks:
        stands = LedgerEntry.objects.filter(account_id=block.account_id, seq=block.last_seq, hash=block.hash).exists()
        if block.account_id in there or not stands or block.first_at is None:
            continue
        closing = LedgerClosing(
            account_id=block.account_id,
            archive=archive,
            first_seq=block.first_seq,
            last_seq=block.last_seq,
            first_at=block.first_at,
            opening=block.opening,
            opening_hash=block.opening_hash,
            balance=block.balance,
            hash=block.hash,
            used_count=block.used_count,
            used_credits=block.used_credits,
            other_count=block.other_count,
            other_amount=block.other_amount,
        )
        sign(closing)
        closing.save()


def delete_entries(archive: LedgerArchive, path: Path) -> int:
    """Delete the entries that the file holds, of accounts that are closed. Return how many there were."""
    closed = dict(archive.closings.values_list("account_id", "hash"))
    deleted, ids = 0, []
    for block, lines in Reader(path).blocks():
        if block.account_id in closed:
            ids += [line.id for line in lines if not line.is_kept]
        while len(ids) >= BATCH_ENTRIES:
            deleted += _delete_batch(ids[:BATCH_ENTRIES], archive.until)
            ids = ids[BATCH_ENTRIES:]
            failpoint("archive.deleting")
    return deleted + (_delete_batch(ids, archive.until) if ids else 0)


@durable
def _delete_batch(ids: list[int], until: datetime) -> int:
    """Return the trigger lets those go that a closing covers, and no other (migration 0017)."""
    with window(PURGE, before=until):
        return QuerySet(LedgerEntry).filter(id__in=ids)._raw_delete(using="default")
