"""A statement as its reader files it: CSV and PDF in the reader's language and time zone, named by owner and period."""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.http import StreamingHttpResponse
from django.utils import timezone
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _

from billing.ledger.models import Account, Kind
from billing.statements import Statement
from tenants.admin.words import code_in_words
from waule.core.admin.csv_export import LineWriter, cell, written_out

_MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")
_UNSAFE = re.compile(r'[\x00-\x1f/\\:*?"<>|]+')


# --- periods -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Month:
    """A calendar month of BILLING_TIME_ZONE, which is also the month that the ledger is archived by."""

    year: int
    month: int

    @classmethod
    def read(cls, text: str) -> "Month | None":
        """Return the month of `YYYY-MM`; None where the text is none."""
        found = _MONTH.fullmatch(text)
        return cls(int(found[1]), int(found[2])) if found and 2000 <= int(found[1]) <= 2999 else None

    @classmethod
    def current(cls) -> "Month":
        today = timezone.now().astimezone(_zone())
        return cls(today.year, today.month)

    def before(self) -> "Month":
        return Month(self.year, self.month - 1) if self.month > 1 else Month(self.year - 1, 12)

    def after(self) -> "Month":
        return Month(self.year, self.month + 1) if self.month < 12 else Month(self.year + 1, 1)

    def __str__(self) -> str:
        return f"{self.year:04}-{self.month:02}"

    @property
    def since(self) -> datetime:
        return datetime(self.year, self.month, 1, tzinfo=_zone())

    @property
    def until(self) -> datetime:
        return self.after().since

    @property
    def first_day(self) -> date:
        return date(self.year, self.month, 1)


def _zone() -> ZoneInfo:
    return ZoneInfo(settings.BILLING_TIME_ZONE)


def period_name(made: Statement) -> str:
    """`2026-10` for a whole month, else the two dates in the reader's zone."""
    there = made.since.astimezone(_zone())
    month = Month(there.year, there.month)
    if (made.since, made.until) == (month.since, month.until):
        return str(month)
    return f"{_local(made.since):%Y-%m-%d}–{_local(made.until):%Y-%m-%d}"


def file_name(made: Statement, account: Account, ending: str) -> str:
    """Such as `Acme 2026-10.csv`."""
    owner = _UNSAFE.sub("-", str(account)).strip(" .-")[:80] or "statement"
    return f"{owner} {period_name(made)}.{ending}"


def _local(timestamp: datetime) -> datetime:
    return timezone.localtime(timestamp)


def time_text(timestamp: datetime) -> str:
    return f"{_local(timestamp):%Y-%m-%d %H:%M:%S}"


def zone_name() -> str:
    """Return the zone of all times in the document."""
    return timezone.get_current_timezone_name()


# --- lines ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DocumentLine:
    """Texts in the reader's language; amounts in credits."""

    seq: int | None
    at: datetime
    kind: str
    amount: int | None
    balance: int | None
    charge: str
    description: str


def lines_of(made: Statement) -> Iterator[DocumentLine]:
    """Opening, archived months, entries, closing."""
    yield DocumentLine(None, made.since, _("Opening"), None, made.opening, "", "")
    for part in made.archived:
        what = _("%(count)s uses are in the archive: %(file)s") % {"count": part.entries, "file": part.file}
        yield DocumentLine(None, part.until, _("Archived"), part.amount, None, "", what)
    for entry in made.entries():
        kind = str(Kind(entry.kind).label)
        charge = str(entry.charge_id or "")
        yield DocumentLine(
            entry.seq, entry.created_at, kind, entry.amount, entry.balance, charge, code_in_words(entry.description)
        )
    yield DocumentLine(None, made.until, _("Closing"), None, made.closing, "", "")


# --- CSV -----------------------------------------------------------------------------------------------------------


def csv_response(made: Statement, account: Account) -> StreamingHttpResponse:
    """The statement as a download for people. Programs get theirs from `billing.statements`."""
    response = StreamingHttpResponse(written_out(_csv_lines(made)), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = content_disposition_header(True, file_name(made, account, "csv"))
    response["Cache-Control"] = "no-store"
    return response


def _csv_lines(made: Statement) -> Iterator[str]:
    write = csv.writer(LineWriter()).writerow
    time_column = _("Time (%(zone)s)") % {"zone": zone_name()}
    heads = (_("No."), time_column, _("Kind"), _("Amount"), _("Balance"), _("Charge"), _("Description"))
    yield "\ufeff" + write([cell(str(head)) for head in heads])
    for line in lines_of(made):
        values: tuple[Any, ...] = (
            line.seq,
            time_text(line.at),
            line.kind,
            line.amount,
            line.balance,
            line.charge,
            line.description,
        )
        yield write([cell(value) for value in values])
