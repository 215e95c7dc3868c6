"""Archived months of the ledger: what the database keeps in place of the entries that were moved into a file.

A closing says where one account stood at the end of an archived month: the number, balance and hash of its last entry, and
what the month's entries made together. Archive and closings are signed by a key of LEDGER_SIGNING_KEYS, so that nobody who
can write to the database alone can move the ground that reconciliation stands on. The entry that a closing names stays in
the ledger: the chain of hashes, and every balance at the end of a month, go on from there.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db import models
from django.db.models import F, Q, Sum
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, gettext_noop

from billing.ledger import signatures
from billing.ledger.models import Account, Kind, LedgerEntry
from waule.core.db.append_only import AppendOnlyModel


class LedgerArchive(AppendOnlyModel):
    """One month of the ledger whose uses lie in a file; `credits` and `entries` count what was moved there."""

    id = models.BigAutoField(primary_key=True)
    month = models.CharField(gettext_lazy("month"), max_length=7)  # of BILLING_TIME_ZONE, such as 2026-03
    until = models.DateTimeField(gettext_lazy("up to"))
    file = models.CharField(gettext_lazy("file"), max_length=100)
    sha256 = models.CharField("SHA-256", max_length=64)
    size_bytes = models.BigIntegerField(gettext_lazy("bytes"))
    accounts = models.BigIntegerField(gettext_lazy("accounts"))
    entries = models.BigIntegerField(gettext_lazy("entries"))
    credits = models.BigIntegerField(gettext_lazy("credits"))
    key_id = models.CharField(gettext_lazy("signing key"), max_length=32)
    signature = models.CharField(max_length=64)
    created_at = models.DateTimeField(gettext_lazy("at"))

    class Meta:
        verbose_name = gettext_lazy("ledger archive")
        verbose_name_plural = gettext_lazy("ledger archives")
        permissions = [("download_ledgerarchive", gettext_noop("Can download archived months"))]
        constraints = [models.UniqueConstraint(fields=["month"], name="billing_archive_month_once")]

    def __str__(self) -> str:
        return self.month

    def signed(self) -> dict[str, Any]:
        return {
            "month": self.month,
            "until": moment_text(self.until),
            "file": self.file,
            "sha256": self.sha256,
            "size": self.size_bytes,
            "accounts": self.accounts,
            "entries": self.entries,
            "credits": self.credits,
        }


class LedgerArchiveCopy(models.Model):
    """A copy of a month's file in the platform's bucket, which was read back whole."""

    archive = models.ForeignKey(
        LedgerArchive, on_delete=models.PROTECT, related_name="copies", verbose_name=gettext_lazy("month")
    )
    bucket = models.CharField(gettext_lazy("bucket"), max_length=255)
    object_key = models.CharField(gettext_lazy("object"), max_length=255)
    created_at = models.DateTimeField(gettext_lazy("at"))

    class Meta:
        constraints = [models.UniqueConstraint(fields=["archive", "bucket"], name="billing_archive_copy_once")]
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.bucket}/{self.object_key}"


class LedgerClosing(AppendOnlyModel):
    """Where an account stood at the end of an archived month; its entries are those from `first_seq` to `last_seq`.

    opening - used_credits + other_amount = balance. Uses are the entries of kind CONSUME; all others stay in the ledger.
    """

    id = models.BigAutoField(primary_key=True)
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="closings", db_index=False)
    archive = models.ForeignKey(LedgerArchive, on_delete=models.PROTECT, related_name="closings")
    first_seq = models.BigIntegerField()
    last_seq = models.BigIntegerField()
    first_at = models.DateTimeField()
    opening = models.BigIntegerField()
    opening_hash = models.CharField(max_length=64, blank=True, default="")
    balance = models.BigIntegerField()
    hash = models.CharField(max_length=64)
    used_count = models.BigIntegerField()
    used_credits = models.BigIntegerField()
    other_count = models.BigIntegerField()
    other_amount = models.BigIntegerField()
    key_id = models.CharField(max_length=32)
    signature = models.CharField(max_length=64)

    class Meta:
        verbose_name = gettext_lazy("closing balance")
        verbose_name_plural = gettext_lazy("closing balances")
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(fields=["account", "last_seq"], name="billing_closing_number_once"),
            models.UniqueConstraint(fields=["account", "archive"], name="billing_closing_once_per_month"),
            models.CheckConstraint(condition=Q(first_seq__gte=1, last_seq__gte=F("first_seq")), name="billing_closing_range"),
            models.CheckConstraint(
                condition=Q(balance=F("opening") - F("used_credits") + F("other_amount")), name="billing_closing_adds_up"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.account_id}: {self.first_seq}–{self.last_seq}"

    def signed(self) -> dict[str, Any]:
        names = ("first_seq", "last_seq", "opening", "opening_hash", "balance", "hash")
        sums = ("used_count", "used_credits", "other_count", "other_amount")
        return {
            "account": self.account_id,
            "archive": self.archive.sha256,
            "first_at": moment_text(self.first_at),
            **{name: getattr(self, name) for name in (*names, *sums)},
        }


Signed = LedgerArchive | LedgerClosing


def sign(row: Signed) -> None:
    """Sign the row with the newest key. Raises NotConfigured where there is none."""
    row.key_id, row.signature = signatures.sign(row.signed())


def signature_problem(row: Signed) -> str | None:
    """Return what is wrong with the row's signature, or None."""
    return signatures.problem(row.signed(), key_id=row.key_id, signature=row.signature)


def moment_text(timestamp: datetime) -> str:
    return timestamp.astimezone(UTC).isoformat(timespec="microseconds")


# --- reading across archived months --------------------------------------------------------------------------------


@dataclass(frozen=True)
class ArchivedPart:
    """What one archived month holds of an account's uses; `amount` is signed."""

    closing: LedgerClosing
    entries: int
    amount: int

    @property
    def month(self) -> str:
        return self.closing.archive.month

    @property
    def file(self) -> str:
        return self.closing.archive.file

    @property
    def until(self) -> datetime:
        return self.closing.archive.until

    def as_json(self) -> dict[str, Any]:
        return {"month": self.month, "file": self.file, "entries": self.entries, "amount": self.amount}


def closing_that_cuts(account_id: int, *, last_before: int, timestamp: datetime) -> LedgerClosing | None:
    """Return the closing in the middle of whose month `timestamp` lies: what stood there is known to the archive alone.

    `last_before` is the number of the last entry of the ledger before the moment; 0: there is none.
    """
    found = _closings(account_id).filter(first_seq__lte=last_before + 1, last_seq__gt=last_before).first()
    if found is None or (found.first_seq == last_before + 1 and timestamp <= found.first_at):
        return None
    return found


def parts_between(account_id: int, first: int, last: int) -> list[ArchivedPart]:
    """Return what the archive holds of the entries with the numbers above `first` up to `last`, whole months."""
    parts = []
    for closing in _closings(account_id).filter(first_seq__gt=first, last_seq__lte=last):
        here = LedgerEntry.objects.filter(
            account_id=account_id, kind=Kind.CONSUME, seq__gte=closing.first_seq, seq__lte=closing.last_seq
        )
        found = here.aggregate(count=models.Count("id"), sum=Sum("amount"))
        count, amount = closing.used_count - found["count"], -closing.used_credits - (found["sum"] or 0)
        if count:
            parts.append(ArchivedPart(closing, count, amount))
    return parts


def last_closing(account_id: int) -> LedgerClosing | None:
    return _closings(account_id).order_by("-last_seq").first()


def archived_text(closing: LedgerClosing) -> str:
    """Return what to say to somebody who asks for what only the archive knows."""
    return _("The entries of %(month)s are archived in %(file)s. Ask for the whole month, or read that file.") % {
        "month": closing.archive.month,
        "file": closing.archive.file,
    }


def _closings(account_id: int) -> "models.QuerySet[LedgerClosing]":
    return LedgerClosing.objects.filter(account_id=account_id).select_related("archive").order_by("first_seq")
