"""The hand that moves credits: lock accounts, post entries in memory, write them all in a few statements.

    with transaction.atomic(durable=True):
        posting = Posting(account_ids)        # locks, in id order; ends the holds that are past their time
        account = posting.accounts[account_id]
        posting.post(account, kind=Kind.GIFT, amount=50, description="welcome", actor="admin:root")
        posting.write()

Everything here is written for one charge and for a thousand alike: the number of statements does not grow with them.
"""

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import connection

from billing.errors import InsufficientCredits
from billing.ledger import rows as book_rows
from billing.ledger.expiry import due_holds
from billing.ledger.models import MAX_CREDITS, Charge, DailyUsage, Hold, Kind, LedgerEntry, Refund
from billing.ledger.rows import LockedAccount
from waule.core.errors import InvalidRequest

MAX_BALANCE = 2**62  # far from where 64 bits overflow
_SEPARATOR = "\x1f"


def entry_hash(
    *,
    before: str,
    account_id: int,
    seq: int,
    kind: str,
    amount: int,
    balance: int,
    charge_id: UUID | None,
    created_at: datetime,
    actor: str,
    description: str,
) -> str:
    """SHA-256, in hex, over the account's hash before this entry and all that the entry says.

    The function `billing_entry_hash` is the same in PostgreSQL (a migration makes it); a test compares the two.
    """
    timestamp = created_at.astimezone(UTC)
    microseconds = int(timestamp.timestamp()) * 1_000_000 + timestamp.microsecond
    parts = (before, account_id, seq, kind, amount, balance, charge_id or "", microseconds, actor, description)
    return hashlib.sha256(_SEPARATOR.join(str(part) for part in parts).encode()).hexdigest()


def chained_hash(entry: LedgerEntry, *, before: str) -> str:
    """Return the hash that `entry` has to have after the one with the hash `before`."""
    return entry_hash(
        before=before,
        account_id=entry.account_id,
        seq=entry.seq,
        kind=entry.kind,
        amount=entry.amount,
        balance=entry.balance,
        charge_id=entry.charge_id,
        created_at=entry.created_at,
        actor=entry.actor,
        description=entry.description,
    )


class Posting:
    """One transaction's view of some accounts. Made inside of it; nothing is written before `write`."""

    def __init__(self, account_ids: Iterable[int]) -> None:
        """Lock the accounts, always in id order (mixed orders deadlock), and end their holds that are past their time.

        A posting that is never written changes nothing.
        """
        assert connection.in_atomic_block, "a posting is opened inside a transaction"
        accounts, has_due_holds, self.now = book_rows.lock(sorted(set(account_ids)))
        self.accounts = {account.id: account for account in accounts}
        self._entries: list[LedgerEntry] = []
        self._charges: list[Charge] = []
        self._holds: list[Hold] = []
        self._refunds: list[Refund] = []
        self._ended_holds: list[Hold] = []
        self.expired_holds: dict[UUID, Hold] = {}
        self._usage: dict[tuple[int, Any, str], DailyUsage] = {}
        self._usage_changed: set[tuple[int, Any, str]] = set()
        self._loaded_day: Any = None
        if has_due_holds:
            self._end_due_holds()

    def post(
        self,
        account: LockedAccount,
        *,
        kind: Kind,
        amount: int,
        description: str,
        actor: str,
        charge: Charge | None = None,
        idempotency_key: str | None = None,
        fingerprint: str = "",
    ) -> LedgerEntry:
        """Move `amount` (signed, not 0) and note the entry.

        Raises:
            InsufficientCredits: less than -amount can be spent.
            InvalidRequest: the amount or the new balance is beyond what an account holds.
        """
        assert amount != 0, "an entry moves something"
        if amount < 0 and account.spendable < -amount:
            raise InsufficientCredits(required=-amount, available=account.spendable)
        if abs(amount) > MAX_CREDITS or account.balance + amount > MAX_BALANCE:
            raise InvalidRequest.of_field("credits", f"{amount} credits are more than one account can move or hold.")
        at = max(self.now, account.last_entry_at) if account.last_entry_at else self.now
        account.balance += amount
        account.last_seq += 1
        account.last_entry_at = at
        account.last_hash = entry_hash(
            before=account.last_hash,
            account_id=account.id,
            seq=account.last_seq,
            kind=kind,
            amount=amount,
            balance=account.balance,
            charge_id=charge.id if charge else None,
            created_at=at,
            actor=actor,
            description=description,
        )
        entry = LedgerEntry(
            account_id=account.id,
            seq=account.last_seq,
            kind=kind,
            amount=amount,
            balance=account.balance,
            charge=charge,
            description=description,
            actor=actor,
            idempotency_key=idempotency_key,
            fingerprint=fingerprint,
            spendable=account.spendable,
            created_at=at,
            hash=account.last_hash,
        )
        self._entries.append(entry)
        return entry

    def add_charge(self, charge: Charge) -> None:
        self._charges.append(charge)

    def reserve(self, account: LockedAccount, credits: int) -> None:
        """Set credits of the account aside for a hold; a negative number frees what a hold had set aside."""
        account.held += credits

    def add_hold(self, hold: Hold) -> None:
        self._holds.append(hold)

    def end_hold(self, hold: Hold, state: Hold.State, *, at: datetime, released: int) -> None:
        """Note the end of a hold whose credits are no longer counted as held."""
        hold.state = state
        hold.ended_at = at
        hold.credits_released = released
        hold.spendable_at_end = self.accounts[hold.account_id].spendable
        self._ended_holds.append(hold)

    def add_refund(self, refund: Refund) -> None:
        self._refunds.append(refund)

    def usage(self, account_id: int, day: Any, scope: str) -> DailyUsage:
        """Return the counter of that day and scope, as it will be when the posting is written."""
        key = (account_id, day, scope)
        if key not in self._usage:
            found = None
            if day != self._loaded_day:
                found = DailyUsage.objects.filter(account_id=account_id, day=day, scope=scope).first()
            self._usage[key] = found or DailyUsage(account_id=account_id, day=day, scope=scope)
        return self._usage[key]

    def load_usage(self, day: Any) -> None:
        """Read all counters of the day in one query, for a posting with many uses."""
        for counter in DailyUsage.objects.filter(account_id__in=self.accounts, day=day):
            self._usage.setdefault((counter.account_id, day, counter.scope), counter)
        self._loaded_day = day

    def new_holds(self, account_id: int) -> int:
        """Return how many holds of this account will be written."""
        return sum(1 for hold in self._holds if hold.account_id == account_id)

    def unwritten(self, account_id: int, *, api_key_id: UUID | None) -> tuple[int, int]:
        """Credits that this transaction has taken, and those it holds, in rows that are not written yet; one key's or all."""

        def is_meant(use: Charge | Hold) -> bool:
            return use.account_id == account_id and (api_key_id is None or use.api_key_id == api_key_id)

        used = sum(-entry.amount for entry in self._entries if entry.charge is not None and is_meant(entry.charge))
        return used, sum(hold.credits for hold in self._holds if is_meant(hold))

    def count_use(self, use: Charge | Hold, *, by: int) -> None:
        """Count a use that a permission row matched (`by` 1), or give it back (-1)."""
        if use.counted_day is None:
            return
        counter = self.usage(use.account_id, use.counted_day, use.counted_scope)
        counter.uses = max(0, counter.uses + by)
        if use.counted_free:
            counter.free_uses = max(0, counter.free_uses + by)
        self._usage_changed.add((use.account_id, use.counted_day, use.counted_scope))

    def write(self) -> None:
        """Write everything, in a handful of statements however many rows there are."""
        book_rows.write(
            holds=self._holds,
            ended_holds=self._ended_holds,
            charges=self._charges,
            entries=self._entries,
            accounts=[a for a in self.accounts.values() if a.as_locked != (a.balance, a.held, a.last_seq)],
        )
        if self._refunds:
            for refund in self._refunds:
                refund.entry_id = refund.entry.id if refund.entry else None
            Refund.objects.bulk_create(self._refunds)
        if self._usage_changed:
            changed = [self._usage[key] for key in self._usage_changed]
            DailyUsage.objects.bulk_create([counter for counter in changed if counter.pk is None])
            DailyUsage.objects.bulk_update([counter for counter in changed if counter.pk is not None], ["uses", "free_uses"])

    def _end_due_holds(self) -> None:
        """Past its time a hold is expired for every writer, whether or not a worker has ended it."""
        # A free hold has no credits: `held` alone does not tell whether there are any.
        for hold in due_holds(self.now).filter(account_id__in=list(self.accounts)).select_for_update(no_key=True):
            account = self.accounts[hold.account_id]
            account.held -= hold.credits
            self.end_hold(hold, Hold.State.EXPIRED, at=hold.expires_at, released=hold.credits)
            self.count_use(hold, by=-1)
            self.expired_holds[hold.id] = hold


def database_now() -> datetime:
    """Return the database's clock. SQLite has none of its own: it is this process's."""
    if connection.vendor != "postgresql":
        return datetime.now(UTC)
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        timestamp: datetime = cursor.fetchone()[0]
    return timestamp
