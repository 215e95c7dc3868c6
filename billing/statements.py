"""A statement of one account between two timestamps: what there was, what moved, what is left.

opening + the sum of the entries = closing, because entries of an account are numbered without a gap and their time never
goes back: a stretch of time is a stretch of numbers. Numbers that exist when the statement is made bound it, so that
rows written meanwhile change nothing. Entries are streamed: memory stays flat over any number of them.

Archived months are in it as a whole: with the entries of their file where that is at hand (`billing.archive.places`), else with
their sum and the file's name; a statement cannot begin or end in the middle of one.
"""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.db.models import Count, Sum
from django.http import StreamingHttpResponse
from django.utils.translation import gettext as _

from billing.archive import places
from billing.ledger.closings import ArchivedPart, archived_text, closing_that_cuts, parts_between
from billing.ledger.models import Account, Kind, LedgerEntry
from waule.core.admin.csv_export import LineWriter, cell, written_out
from waule.core.errors import InvalidRequest

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
    parts: list[ArchivedPart]  # archived months
    files: dict[str, Path]  # by month: those whose entries are read from here

    @property
    def archived(self) -> list[ArchivedPart]:
        """Months whose entries are not in the statement, for their file is not at hand."""
        return [part for part in self.parts if part.month not in self.files]

    @property
    def entry_count(self) -> int:
        return self.last - self.first

    def entries(self) -> Iterator[LedgerEntry]:
        """Oldest first; those of an archived month whose file is here from that file."""
        seq = self.first
        for part in self.parts:
            if (path := self.files.get(part.month)) is not None:
                yield from self._stored(seq, part.closing.first_seq - 1)
                yield from places.entries_of(
                    path, self.account_id, self._stored(part.closing.first_seq - 1, part.closing.last_seq)
                )
                seq = part.closing.last_seq
        yield from self._stored(seq, self.last)

    def _stored(self, first: int, last: int) -> Iterator[LedgerEntry]:
        """Yield those in the ledger, CHUNK_ROWS at a time, each a query of its own: a cursor of the server's would need a
        session.
        """
        rows, seq = LedgerEntry.objects.filter(account_id=self.account_id, seq__lte=last).order_by("seq"), first
        while chunk := list(rows.filter(seq__gt=seq)[:CHUNK_ROWS]):
            yield from chunk
            seq = chunk[-1].seq

    def check_short(self) -> None:
        """Raise InvalidRequest where one JSON document would be too long."""
        if self.entry_count > MAX_JSON_ENTRIES:
            raise InvalidRequest.of_field(
                "to",
                _("There are %(count)s entries; JSON carries %(limit)s. Ask for a shorter time, or for CSV.")
                % {"count": self.entry_count, "limit": MAX_JSON_ENTRIES},
            )


def statement(*, account: Account, since: datetime, until: datetime) -> Statement:
    """Return the account's statement from `since`, inclusive, to `until`, exclusive.

    Raises:
        InvalidRequest: it would end before it begins, or begins or ends within an archived month.
    """
    if until < since:
        raise InvalidRequest.of_field("to", _("The end lies before the beginning."))
    first, opening = _standing(account.id, since, "from")
    last, closing = _standing(account.id, until, "to")
    kinds = _by_kind(account.id, first, last, closing - opening)
    parts = parts_between(account.id, first, last)
    found = {part.month: places.at_hand(part.closing.archive) for part in parts}
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
        parts=parts,
        files={month: path for month, path in found.items() if path is not None},
    )


def _by_kind(account_id: int, first: int, last: int, moved: int) -> list[tuple[str, int, int]]:
    """Kind, sum and count of the entries above `first` up to `last`, which `moved` so many credits together.

    Nearly all are uses. They are what the others leave, archived ones too: a month of a million is not read for its sums.
    """
    rows = LedgerEntry.objects.filter(account_id=account_id, seq__gt=first, seq__lte=last).exclude(kind=Kind.CONSUME)
    kinds = list(rows.order_by().values_list("kind").annotate(sum=Sum("amount"), count=Count("kind")))
    uses = last - first - sum(count for _kind, _sum, count in kinds)
    if uses:
        kinds.append((Kind.CONSUME.value, moved - sum(total for _kind, total, _count in kinds), uses))
    return sorted(kinds)


def _standing(account_id: int, timestamp: datetime, field: str) -> tuple[int, int]:
    """Number and balance of the last entry before `timestamp`."""
    rows = LedgerEntry.objects.filter(account_id=account_id, created_at__lt=timestamp)
    seq, balance = rows.order_by("-created_at", "-seq").values_list("seq", "balance").first() or (0, 0)
    if cut := closing_that_cuts(account_id, last_before=seq, timestamp=timestamp):
        raise InvalidRequest.of_field(field, archived_text(cut))
    return seq, balance


# --- as CSV and as JSON --------------------------------------------------------------------------------------------


def csv_lines(made: Statement) -> Iterator[str]:
    """Yield a line for the opening, one for each entry, one for the closing. Amounts are plain integers; texts are harmless."""
    write = csv.writer(LineWriter()).writerow
    yield "\ufeff" + write(CSV_COLUMNS)  # the mark by which spreadsheets know UTF-8
    yield write(("", _iso(made.since), "OPENING", "", made.opening, "", "", ""))
    for part in made.archived:
        what = _("%(count)s uses are in the archive: %(file)s") % {"count": part.entries, "file": part.file}
        yield write([cell(value) for value in ("", _iso(part.until), "ARCHIVED", part.amount, "", "", what, "")])
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
    response = StreamingHttpResponse(written_out(csv_lines(made)), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = 'attachment; filename="statement.csv"'
    response["Cache-Control"] = "no-store"
    return response


def summary(made: Statement) -> dict[str, Any]:
    """Return everything but the entries, as the API and the command give it."""
    return {
        "account": made.account,
        "from": _iso(made.since),
        "to": _iso(made.until),
        "opening": made.opening,
        "closing": made.closing,
        "net": made.closing - made.opening,
        "entryCount": made.entry_count,
        **({"archived": [part.as_json() for part in made.archived]} if made.archived else {}),
        "byType": [{"type": kind, "count": made.counts[kind], "amount": made.sums[kind]} for kind in made.sums],
    }


def _iso(timestamp: datetime) -> str:
    return timestamp.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
