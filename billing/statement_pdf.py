"""The pages of a statement, by ReportLab. Chinese needs no font file: every PDF reader knows the standard font STSong-Light."""

from io import BytesIO
from itertools import islice
from typing import Any
from xml.sax.saxutils import escape

from django.http import HttpResponse
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _
from reportlab.lib import colors
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import LongTable, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from billing.ledger.models import Account, Kind
from billing.statement_documents import DocumentLine, file_name, lines_of, period_name, time_text, zone_name
from billing.statements import Statement

MAX_PDF_ENTRIES = 5_000  # those beyond are left to the CSV, and it says so
LATIN, CHINESE = "Helvetica", "STSong-Light"
_MARGIN = 16 * mm
_WIDTHS = [14 * mm, 34 * mm, 24 * mm, 24 * mm, 26 * mm, 56 * mm]
_GREY = colors.HexColor("#6b7280")
_LINE = colors.HexColor("#d1d5db")

pdfmetrics.registerFont(UnicodeCIDFont(CHINESE))


def pdf_response(made: Statement, account: Account) -> HttpResponse:
    """The statement as a download."""
    file = BytesIO()
    write(file, made, owner=str(account))
    response = HttpResponse(file.getvalue(), content_type="application/pdf")
    response["Content-Disposition"] = content_disposition_header(True, file_name(made, account, "pdf"))
    response["Cache-Control"] = "no-store"
    return response


def write(file: BytesIO, made: Statement, *, owner: str) -> None:
    """Write the statement of the account that belongs to `owner`."""
    title = _("Statement of %(account)s") % {"account": owner}
    document = SimpleDocTemplate(
        file, pagesize=A4, title=title, author="waule",
        leftMargin=_MARGIN, rightMargin=_MARGIN, topMargin=_MARGIN, bottomMargin=18 * mm,
    )  # fmt: skip
    story: list[Any] = [
        _text(title, size=16),
        Spacer(1, 2 * mm),
        _text(f"{period_name(made)} · {made.account}", color=_GREY),
        _text(
            _("%(since)s to %(until)s (%(zone)s)")
            % {"since": time_text(made.since), "until": time_text(made.until), "zone": zone_name()},
            color=_GREY,
        ),
        Spacer(1, 5 * mm),
        _sums(made),
        Spacer(1, 6 * mm),
        _entries(made),
    ]
    if made.entry_count > MAX_PDF_ENTRIES:
        more = made.entry_count - MAX_PDF_ENTRIES
        story += [Spacer(1, 3 * mm), _text(_("And %(more)s more: the CSV has them all.") % {"more": more}, color=_GREY)]
    footer = f"{owner} · {period_name(made)}"
    document.build(story, onFirstPage=lambda c, d: _footer(c, d, footer), onLaterPages=lambda c, d: _footer(c, d, footer))


def _sums(made: Statement) -> Table:
    kinds = [(str(Kind(kind).label), f"{made.sums[kind]:+,} ({made.counts[kind]:,})") for kind in made.sums]
    rows = [(_("Opening"), f"{made.opening:,}"), *kinds, (_("Closing"), f"{made.closing:,}")]
    table = Table([[_text(name), _text(value, right=True)] for name, value in rows], [40 * mm, 46 * mm], hAlign="LEFT")
    ends = [("LINEABOVE", (0, 0), (-1, 0), 0.75, _LINE), ("LINEBELOW", (0, -1), (-1, -1), 0.75, _LINE)]
    table.setStyle(TableStyle([*ends, ("TOPPADDING", (0, 0), (-1, -1), 2), ("BOTTOMPADDING", (0, 0), (-1, -1), 2)]))
    return table


def _entries(made: Statement) -> LongTable:
    heads = [_("No."), _("Time"), _("Kind"), _("Amount"), _("Balance"), _("Description")]
    rows: list[list[Any]] = [[_text(head, size=8, color=_GREY, right=n in (0, 3, 4)) for n, head in enumerate(heads)]]
    rows += [_row(line) for line in islice(lines_of(made), MAX_PDF_ENTRIES + 1 + len(made.archived))]
    if made.entry_count > MAX_PDF_ENTRIES:
        rows.append(_row(DocumentLine(None, made.until, _("Closing"), None, made.closing, "", "")))
    table = LongTable(rows, _WIDTHS, repeatRows=1)
    table.setStyle(
        TableStyle(
            [
                ("LINEBELOW", (0, 0), (-1, -1), 0.25, _LINE),
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LEFTPADDING", (0, 0), (-1, -1), 2),
                ("RIGHTPADDING", (0, 0), (-1, -1), 4),
                ("TOPPADDING", (0, 0), (-1, -1), 2),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 3),
            ]
        )
    )
    return table


def _row(line: DocumentLine) -> list[Any]:
    amount = f"{line.amount:+,}" if line.amount is not None else ""
    balance = f"{line.balance:,}" if line.balance is not None else ""
    return [
        _text(str(line.seq or ""), size=8, right=True),
        _text(time_text(line.at), size=8),
        _text(line.kind, size=8),
        _text(amount, size=8, right=True),
        _text(balance, size=8, right=True),
        _text(line.description, size=8),
    ]


def _text(text: str, *, size: int = 10, color: Any = colors.black, right: bool = False) -> Paragraph:
    style = ParagraphStyle(
        "", fontName=_font_of(text), fontSize=size, leading=size * 1.35, textColor=color,
        wordWrap="CJK", **({"alignment": TA_RIGHT} if right else {}),
    )  # fmt: skip
    return Paragraph(escape(text), style)


def _font_of(text: str) -> str:
    return LATIN if all(ord(letter) < 256 or letter in "–…" for letter in text) else CHINESE


def _footer(canvas: Canvas, document: Any, text: str) -> None:
    canvas.saveState()
    canvas.setFillColor(_GREY)
    canvas.setFont(_font_of(text), 8)
    canvas.drawString(_MARGIN, 10 * mm, text)
    canvas.setFont(LATIN, 8)
    canvas.drawRightString(A4[0] - _MARGIN, 10 * mm, str(document.page))
    canvas.restoreState()
