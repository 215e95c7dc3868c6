"""Reads of the ledger: charges, holds, entries, and what is under way."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Q
from django.utils.translation import gettext as _

from billing.ledger.closings import last_closing
from billing.ledger.expiry import due_holds, open_holds
from billing.ledger.models import Account, Charge, DailyUsage, Hold, LedgerEntry, Refund
from billing.ledger.posting import database_now
from waule.core.errors import InvalidRequest
from waule.core.ids import parse_uuid

CHARGE_ENTRY_WINDOW = timedelta(minutes=30)  # around a charge's own time; its entry is later where clocks differ


def open_holds_and_running(account_id: int, *, but: UUID | None = None) -> int:
    """Return how many holds are open and generations run for this account's user; `unknown` outcomes do not count.

    A generation that has a hold counts once; the one with the id `but` does not count.
    """
    holds = open_holds(database_now()).filter(account_id=account_id, is_unknown=False).count()
    user = Account.objects.select_related("user").get(id=account_id).user
    if user is None:
        return holds
    # Generations belong to an app above this one; the reverse relation leads there without an import.
    generations: Any = user.generations
    return holds + int(generations.filter(state__in=["queued", "running"], hold=None).exclude(pk=but).count())


@dataclass(frozen=True)
class EntriesPage:
    """`archived_before`: uses before that moment are in the archive, and missing here. None where the page has no such time."""

    entries: list[LedgerEntry]
    next_cursor: str | None
    archived_before: datetime | None = None


def entries_page(
    account_id: int, *, since: datetime | None, until: datetime | None, limit: int, cursor: str | None
) -> EntriesPage:
    """Entries of one account, newest first; `since` inclusive, `until` exclusive.

    The cursor is the number of the last entry shown: numbers never change, so pages stay put while rows are written.

    Raises:
        InvalidRequest: a cursor that we never gave.
    """
    rows = LedgerEntry.objects.filter(account_id=account_id).order_by("-seq")
    if since is not None:
        rows = rows.filter(created_at__gte=since)
    if until is not None:
        rows = rows.filter(created_at__lt=until)
    if cursor is not None:
        if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18 and int(cursor) >= 1):
            raise InvalidRequest.of_field("cursor", _("This cursor is not one of ours. Use nextCursor of the page before."))
        rows = rows.filter(seq__lt=int(cursor))
    entries = list(rows[: limit + 1])
    more = len(entries) > limit
    closing = last_closing(account_id)
    reaches = closing is not None and (not more or entries[limit - 1].seq <= closing.last_seq)
    is_asked = closing is not None and (since is None or since < closing.archive.until)
    return EntriesPage(
        entries[:limit],
        str(entries[limit - 1].seq) if more else None,
        closing.archive.until if closing is not None and reaches and is_asked else None,
    )


def find_charge(charge_id: str) -> Charge | None:
    """Return the charge with this id, its account and model at hand."""
    key = parse_uuid(charge_id)
    return Charge.objects.select_related("account", "model").filter(id=key).first() if key else None


def find_hold(hold_id: str) -> Hold | None:
    """Return the hold with this id; one past its time says `expired`, whatever its row says."""
    key = parse_uuid(hold_id)
    hold = Hold.objects.select_related("account", "model").filter(id=key).first() if key else None
    if hold is not None and due_holds(database_now()).filter(id=hold.id).exists():
        hold.state = Hold.State.EXPIRED
        hold.ended_at = hold.expires_at
        hold.credits_released = hold.credits
    return hold


def usage_of(account_id: int, day: date, scope: str) -> DailyUsage:
    """Return the counter of that day and scope, without the uses of holds past their time; of zeros where nothing was counted.

    It is for reading: whoever writes asks the ledger, which end those holds first.
    """
    counter = DailyUsage.objects.filter(account_id=account_id, day=day, scope=scope).first() or DailyUsage(
        account_id=account_id, day=day, scope=scope
    )
    due = due_holds(database_now()).filter(account_id=account_id, counted_day=day, counted_scope=scope)
    for is_free in due.values_list("counted_free", flat=True):
        counter.uses -= 1
        counter.free_uses -= is_free
    return counter


def entries_of_charge(charge_id: UUID | None) -> Q:
    """Return the condition that finds a charge's entries by indexes: its own was written with it, and its refunds know theirs."""
    charge = Charge.objects.filter(id=charge_id).values_list("account_id", "created_at").first() if charge_id else None
    if charge_id is None or charge is None:
        return Q(pk__in=[])
    account_id, at = charge
    written = (at - CHARGE_ENTRY_WINDOW, at + CHARGE_ENTRY_WINDOW)
    own = LedgerEntry.objects.filter(account_id=account_id, created_at__range=written, charge_id=charge_id)
    refunds = Refund.objects.filter(charge_id=charge_id, entry__isnull=False)
    return Q(pk__in={*own.values_list("id", flat=True), *refunds.values_list("entry_id", flat=True)})
