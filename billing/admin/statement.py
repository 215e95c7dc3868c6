"""The page of an account's statement, with its download."""

from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminSplitDateTimeWidget

from billing import statement_documents as documents
from billing import statements
from billing.ledger.models import Account, Kind
from tenants.admin.words import code_in_words
from waule.core.admin import admin_page, signed_number, spaced_number
from waule.core.errors import WauleError

SHOWN_ENTRIES = 200


class StatementForm(forms.Form):
    """Two moments in the reader's time zone; the second is exclusive."""

    since = forms.SplitDateTimeField(label=gettext_lazy("From"), widget=UnfoldAdminSplitDateTimeWidget)
    until = forms.SplitDateTimeField(label=gettext_lazy("To (exclusive)"), widget=UnfoldAdminSplitDateTimeWidget)


def statement_view(request: HttpRequest, account_id: int) -> HttpResponseBase:
    """This month's statement, unless a month or two timestamps are given; `csv` or `pdf` among the parameters downloads it."""
    if not request.user.has_perm("billing.view_account") or not request.user.has_perm("billing.view_ledgerentry"):
        raise PermissionDenied
    account = get_object_or_404(Account.objects.select_related("tenant", "user"), id=account_id)
    made, context = statement_context(request, account)
    return download(request, made, account) or admin_page(
        request,
        "admin/billing/statement.html",
        title=_("Statement of %(account)s") % {"account": account},
        back=reverse("admin:billing_account_change", args=[account.id]),
        **context,
    )


def download(request: HttpRequest, made: statements.Statement | None, account: Account) -> HttpResponseBase | None:
    """The document that was asked for, if one was."""
    if made is None:
        return None
    if "csv" in request.GET:
        return documents.csv_response(made, account)
    if "pdf" not in request.GET:
        return None
    from billing.statement_pdf import pdf_response  # ReportLab takes a while to import, and is needed here alone

    return pdf_response(made, account)


def statement_context(request: HttpRequest, account: Account) -> tuple[statements.Statement | None, dict[str, Any]]:
    """Return the statement between the two timestamps of the query, this month's without any, and what its page shows."""
    since, until = _period(request)
    is_given = any(name in request.GET for name in ("since_0", "until_0"))
    form = StatementForm(request.GET) if is_given else StatementForm(initial={"since": since, "until": until})
    made = None
    if not is_given or form.is_valid():
        if is_given:
            since, until = form.cleaned_data["since"], form.cleaned_data["until"]
        try:
            made = statements.statement(account=account, since=since, until=until)
        except WauleError as error:
            for field, why in (error.details.get("fields") or {"": [str(error)]}).items():
                form.add_error({"from": "since", "to": "until"}.get(field), why)
    return made, {
        "account": account,
        "period": documents.period_name(made) if made else "",
        "zone": documents.zone_name(),
        "archived": made.archived if made else [],
        "months": _month_links(),
        "form": form,
        "facts": _facts(made) if made else [],
        "entries": _first_entries(made) if made else [],
        "more": max(0, made.entry_count - SHOWN_ENTRIES) if made else 0,
        "csv": _with(request, "csv"),
        "pdf": _with(request, "pdf"),
    }


def _with(request: HttpRequest, name: str) -> str:
    query = request.GET.copy()
    query[name] = "1"
    return f"?{query.urlencode()}"


def _month_links() -> list[tuple[str, str]]:
    """Return the last month, and the two before it, in one click each."""
    last = documents.Month.current().before()
    months = [last, last.before(), last.before().before()]
    names = [_("Last month"), *(date_format(month.first_day, "YEAR_MONTH_FORMAT") for month in months[1:])]
    return [(name, f"?month={month}") for name, month in zip(names, months, strict=True)]


def _period(request: HttpRequest) -> tuple[datetime, datetime]:
    """Return the month that was asked for; else this month so far."""
    month = documents.Month.read(request.GET.get("month", ""))
    if month is not None:
        return month.since, month.until
    now = timezone.localtime()
    next_minute = now.replace(second=0, microsecond=0) + timedelta(minutes=1)
    return now.replace(day=1, hour=0, minute=0, second=0, microsecond=0), next_minute


def _facts(made: statements.Statement) -> list[tuple[Any, Any]]:
    kinds = [(Kind(kind).label, f"{made.sums[kind]:+,} ({made.counts[kind]:,})") for kind in made.sums]
    return [(_("Opening"), spaced_number(made.opening)), *kinds, (_("Closing"), spaced_number(made.closing))]


def _first_entries(made: statements.Statement) -> list[dict[str, Any]]:
    rows = made.entries()
    return [
        {
            "seq": entry.seq,
            "at": entry.created_at,
            "kind": entry.get_kind_display(),
            "amount": signed_number(entry.amount),
            "balance": spaced_number(entry.balance),
            "description": code_in_words(entry.description),
        }
        for entry, _number in zip(rows, range(SHOWN_ENTRIES), strict=False)
    ]
