"""Replaces texts in an account's ledger, when its owner or somebody who wrote there is erased. No number changes.

An entry's hash covers its texts, so the account's chain is computed anew from the first text that changes on, in the one
transaction that also locks the account. Each entry is checked against its old hash first: a chain that was tampered with
is never made to look right. Of archived months the entries that stayed lose their texts and keep their hashes: the chain
there is the archive's, and goes on behind it.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.db import models, transaction

from billing.ledger.closings import last_closing
from billing.ledger.models import Account, LedgerEntry, ProvenEntry, Refund
from billing.ledger.posting import chained_hash
from tenants.erasure import window
from waule.core.db.transactions import retried
from waule.core.errors import InvalidState

BATCH = 500
_WRITTEN = ["description", "actor", "idempotency_key", "fingerprint", "hash"]
Rewrite = Callable[[LedgerEntry], None]  # changes the entry's texts in memory


@retried
def rewrite_entries(account_id: int, rewrite: Rewrite) -> int:
    """Apply `rewrite` to each entry of the account and compute the chain anew. Return how many entries' texts changed.

    Raises:
        InvalidState: an entry does not match its hash. Nothing was changed; `reconcile` says more.
    """
    with transaction.atomic(), window():
        account = Account.objects.select_for_update(no_key=True).get(id=account_id)
        closing = last_closing(account_id)
        closed_seq = closing.last_seq if closing else 0
        old_hash = new_hash = closing.hash if closing else ""
        changed = 0
        for batch in _batches(account_id):
            to_write = []
            for entry in batch:
                if entry.seq <= closed_seq:
                    texts = _texts(entry)
                    rewrite(entry)
                    if _texts(entry) != texts:
                        changed += 1
                        to_write.append(entry)
                    continue
                if chained_hash(entry, before=old_hash) != entry.hash:
                    raise InvalidState(
                        f"Entry {entry.seq} of {account.reference} does not match its hash: run reconcile.", state="differs"
                    )
                old_hash, texts = entry.hash, _texts(entry)
                rewrite(entry)
                changed += _texts(entry) != texts
                entry.hash = new_hash = chained_hash(entry, before=new_hash)
                if entry.hash != old_hash or _texts(entry) != texts:
                    to_write.append(entry)
            _past_the_manager(LedgerEntry).bulk_update(to_write, _WRITTEN, batch_size=BATCH)
        if new_hash != old_hash:
            Account.objects.filter(id=account_id).update(last_hash=new_hash)
            ProvenEntry.objects.filter(account_id=account_id).delete()  # its entries were proven here, with other hashes
        return changed


@retried
def rewrite_refunds(rows: "models.QuerySet[Refund]", **texts: Any) -> int:
    """Set `texts` (reason, actor, idempotency_key, fingerprint) of refunds."""
    with transaction.atomic(), window():
        return _past_the_manager(Refund).filter(id__in=rows.values("id")).update(**texts)


def accounts_with(actors: Iterable[str]) -> list[int]:
    """Return the accounts in whose ledgers one of these wrote. Reads the whole ledger: nothing else asks for it."""
    return list(LedgerEntry.objects.filter(actor__in=list(actors)).order_by().values_list("account_id", flat=True).distinct())


def _past_the_manager(model: Any) -> "models.QuerySet[Any]":
    """Return the model's own manager refuses every change."""
    return models.QuerySet(model)


def _batches(account_id: int) -> Iterator[list[LedgerEntry]]:
    seq = 0
    rows = LedgerEntry.objects.filter(account_id=account_id).order_by("seq")
    while batch := list(rows.filter(seq__gt=seq)[:BATCH]):
        yield batch
        seq = batch[-1].seq


def _texts(entry: LedgerEntry) -> tuple[Any, ...]:
    return (entry.description, entry.actor, entry.idempotency_key, entry.fingerprint)
