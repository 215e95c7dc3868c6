"""A statement of one account between two moments: what there was, what moved, what is left.

opening + the sum of the entries = closing, because entries of an account are numbered without a gap and their time never
goes back: a stretch of time is a stretch of numbers. Numbers that exist when the statement is made bound it, so that
rows written meanwhile change nothing. Entries are streamed: memory stays flat over any number of them.
"""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db.models import Count, Sum
from django.http import StreamingHttpResponse
from django.utils.translation import gettext as _

from billing.models import Account, LedgerEntry
from waule.admin_kit.csv_export import cell
from waule.errors import InvalidRequest

MAX_JSON_ENTRIES = 10_000
CHUNK_ROWS = 2_000
CSV_COLUMNS = ("seq", "createdAt", "type", "amount", "balance", "chargeId", "description", "actor")


@dataclass(frozen=True)
class Statement:
    """Of the entries with the numbers above `first` up to `last`; credits, the sums by kind signed."""

    account: str  # `Account.reference`
    account_id: int
    since: datetime
    until: datetime
    opening: int
    closing: int
    first: int
    last: int
    sums: dict[str, int]
    counts: dict[str, int]

    @property
    def entry_count(self) -> int:
        return self.last - self.first

    def entries(self) -> Iterator[LedgerEntry]:
        """Oldest first."""
        rows = LedgerEntry.objects.filter(account_id=self.account_id, seq__gt=self.first, seq__lte=self.last)
        return rows.order_by("seq").iterator(chunk_size=CHUNK_ROWS)

    def check_short(self) -> None:
        """Raises InvalidRequest where one JSON document would be too long."""
        if self.entry_count > MAX_JSON_ENTRIES:
            raise InvalidRequest.of_field(
                "to",
                _("There are %(count)s entries; JSON carries %(limit)s. Ask for a shorter time, or for CSV.")
                % {"count": self.entry_count, "limit": MAX_JSON_ENTRIES},
            )


def statement(*, account: Account, since: datetime, until: datetime) -> Statement:
    """The account's statement from `since`, inclusive, to `until`, exclusive.

    Raises:
        InvalidRequest: it would end before it begins.
    """
    if until < since:
        raise InvalidRequest.of_field("to", _("The end lies before the beginning."))
    first, opening = _standing(account.id, since)
    last, closing = _standing(account.id, until)
    rows = LedgerEntry.objects.filter(account_id=account.id, seq__gt=first, seq__lte=last)
    found = rows.order_by().values_list("kind").annotate(sum=Sum("amount"), count=Count("id"))
    kinds = sorted(found)
    return Statement(
        account=account.reference,
        account_id=account.id,
        since=since,
        until=until,
        opening=opening,
        closing=closing,
        first=first,
        last=last,
        sums={kind: total for kind, total, _count in kinds},
        counts={kind: count for kind, _total, count in kinds},
    )


def _standing(account_id: int, moment: datetime) -> tuple[int, int]:
    """Number and balance of the last entry before `moment`."""
    rows = LedgerEntry.objects.filter(account_id=account_id, created_at__lt=moment)
    return rows.order_by("-created_at", "-seq").values_list("seq", "balance").first() or (0, 0)


# --- as CSV and as JSON --------------------------------------------------------------------------------------------


class _Line:
    """A file that hands each line back instead of keeping it."""

    def write(self, line: str) -> str:
        return line


def csv_lines(made: Statement) -> Iterator[str]:
    """A line for the opening, one for each entry, one for the closing. Amounts are plain integers; texts are harmless."""
    write = csv.writer(_Line()).writerow
    yield "\ufeff" + write(CSV_COLUMNS)  # the mark by which spreadsheets know UTF-8
    yield write(("", _iso(made.since), "OPENING", "", made.opening, "", "", ""))
    for entry in made.entries():
        values: Iterable[Any] = (
            entry.seq,
            _iso(entry.created_at),
            entry.kind,
            entry.amount,
            entry.balance,
            str(entry.charge_id or ""),
            entry.description,
            entry.actor,
        )
        yield write([cell(value) for value in values])
    yield write(("", _iso(made.until), "CLOSING", "", made.closing, "", "", ""))


def csv_response(made: Statement) -> StreamingHttpResponse:
    """The statement as a download."""
    response = StreamingHttpResponse(csv_lines(made), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = 'attachment; filename="statement.csv"'
    response["Cache-Control"] = "no-store"
    return response


def summary(made: Statement) -> dict[str, Any]:
    """Everything but the entries, as the API and the command tell it."""
    return {
        "account": made.account,
        "from": _iso(made.since),
        "to": _iso(made.until),
        "opening": made.opening,
        "closing": made.closing,
        "net": made.closing - made.opening,
        "entryCount": made.entry_count,
        "byType": [{"type": kind, "count": made.counts[kind], "amount": made.sums[kind]} for kind in made.sums],
    }


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
