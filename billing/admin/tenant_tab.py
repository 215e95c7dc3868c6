"""What the ledger says of one tenant, on its page: balances over time, and the last movements."""

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing.admin.words import description_in_words
from billing.budgets.limits import zone_of
from billing.budgets.models import Budget
from billing.ledger.balances import balances_before
from billing.ledger.models import Account, LedgerEntry
from tenants.admin.tabs import TenantPanel, add_panel
from tenants.models import Mode, Tenant
from waule.core.admin import signed_number, spaced_number
from waule.core.admin.charts import PRIMARY, line_chart

CHART_DAYS = 30
SHOWN_ENTRIES = 20
SHOWN_BUDGETS = 20


def _accounts(tenant: Tenant) -> list[Account]:
    """Return the live account first."""
    return sorted(tenant.accounts.all(), key=lambda account: account.mode)


def _live(tenant: Tenant) -> Account | None:
    return next((account for account in _accounts(tenant) if account.mode == Mode.LIVE), None)


def _credits(tenant: Tenant) -> dict[str, Any]:
    accounts = _accounts(tenant)
    shown = [(account, spaced_number(account.spendable), spaced_number(account.held)) for account in accounts]
    live = _live(tenant)
    if live is None:
        return {"accounts": shown}
    labels, balances = balance_by_day(live, zone=zone_of(tenant.time_zone))
    budgets = Budget.objects.filter(tenant=tenant).select_related("api_key").order_by("pk")[:SHOWN_BUDGETS]
    return {
        "accounts": shown,
        "chart": line_chart(labels, (_("Balance"), PRIMARY, balances)),
        "has_entries": bool(live.last_seq),
        "budgets": [(budget, spaced_number(budget.limit_credits)) for budget in budgets],
    }


def balance_by_day(account: Account, *, zone: ZoneInfo, days: int = CHART_DAYS) -> tuple[list[str], list[int]]:
    """Return the balance at the end of each of the last days of `zone`, and now; in one query, each by an index."""
    today = timezone.now().astimezone(zone).date()
    shown = [today - timedelta(days=back) for back in range(days - 1, -1, -1)]
    ends = [datetime(day.year, day.month, day.day, tzinfo=zone) for day in shown[1:]]
    return [day.strftime("%m-%d") for day in shown], [*balances_before(account.id, ends), account.balance]


def _statement(tenant: Tenant) -> dict[str, Any]:
    live = _live(tenant)
    if live is None:
        return {}
    rows = LedgerEntry.objects.filter(account=live).order_by("-seq")[:SHOWN_ENTRIES]
    return {
        "entries": [
            {
                "seq": entry.seq,
                "at": entry.created_at,
                "kind": entry.get_kind_display(),
                "amount": signed_number(entry.amount),
                "balance": spaced_number(entry.balance),
                "description": description_in_words(entry.description) if entry.description else "",
            }
            for entry in rows
        ],
        "statement": reverse("admin:billing_statement", args=[live.pk]),
        "ledger": f"{reverse('admin:billing_ledgerentry_changelist')}?account__id__exact={live.pk}",
    }


add_panel(TenantPanel(10, "credits", gettext_lazy("Credits"), "billing.view_account", "admin/tenant/credits.html", _credits))
add_panel(
    TenantPanel(50, "statement", gettext_lazy("Statement"), "billing.view_ledgerentry", "admin/tenant/statement.html", _statement)
)
