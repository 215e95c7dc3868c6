"""The page of an account's statement, with its download."""

from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminSplitDateTimeWidget

from billing import statements
from billing.models import Account, Kind
from waule.admin_kit import admin_page, signed_number, spaced_number
from waule.errors import WauleError

SHOWN_ENTRIES = 200


class StatementForm(forms.Form):
    """Two moments in the reader's time zone; the second is exclusive."""

    since = forms.SplitDateTimeField(label=gettext_lazy("From"), widget=UnfoldAdminSplitDateTimeWidget)
    until = forms.SplitDateTimeField(label=gettext_lazy("To (exclusive)"), widget=UnfoldAdminSplitDateTimeWidget)


def statement_view(request: HttpRequest, account_id: int) -> HttpResponseBase:
    """This month's statement, unless two moments are given; `csv` among the parameters downloads it."""
    if not request.user.has_perm("billing.view_account") or not request.user.has_perm("billing.view_ledgerentry"):
        raise PermissionDenied
    account = get_object_or_404(Account.objects.select_related("tenant", "user"), id=account_id)
    since, until = _this_month()
    is_given = any(name in request.GET for name in ("since_0", "until_0"))
    form = StatementForm(request.GET) if is_given else StatementForm(initial={"since": since, "until": until})
    made = None
    if not is_given or form.is_valid():
        if is_given:
            since, until = form.cleaned_data["since"], form.cleaned_data["until"]
        try:
            made = statements.statement(account=account, since=since, until=until)
        except WauleError as error:
            form.add_error(None, str(error))
    if made is not None and "csv" in request.GET:
        return statements.csv_response(made)
    query = request.GET.copy()
    query["csv"] = "1"
    return admin_page(
        request,
        "admin/billing/statement.html",
        title=_("Statement of %(account)s") % {"account": account},
        form=form,
        facts=_facts(made) if made else [],
        entries=_first_entries(made) if made else [],
        more=max(0, made.entry_count - SHOWN_ENTRIES) if made else 0,
        csv=f"?{query.urlencode()}",
        back=reverse("admin:billing_account_change", args=[account.id]),
    )


def _this_month() -> tuple[datetime, datetime]:
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
            "description": entry.description,
        }
        for entry, _number in zip(rows, range(SHOWN_ENTRIES), strict=False)
    ]
