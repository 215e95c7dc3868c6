"""The console's first page: what there is to spend, what was used, what went wrong, and how to begin."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from aiservices.generations.listing import to_be_tried
from aiservices.generations.models import Generation
from billing.admin.words import error_in_words
from billing.budgets.limits import standings, zone_of
from billing.catalog.models import AIModel
from billing.ledger.balances import Balance, balance_of
from billing.usage_reports.selectors import Period, ledger_usage, midnight
from tenants.models import ApiKey
from waule.console.tenant import Membership, Right, membership_of
from waule.core.admin import in_readers_language, spaced_number
from waule.core.admin.charts import PRIMARY, bar_chart

CHART_DAYS = 14
SHOWN_ERRORS = 5
SHOWN_KEYS = 5
MAX_MODELS = 12


def home(request: HttpRequest) -> dict[str, Any]:
    """Return what the page shows."""
    found = membership_of(request)
    assert found is not None
    account = found.account()
    balance = balance_of(account.id)
    return {
        "cards": _cards(found, balance),
        "usage": usage_by_day(found, days=CHART_DAYS),
        "keys": _keys(found),
        "budgets": _budgets(found, account.id, balance.held),
        "errors": _errors(found),
        "may_try": found.may(Right.GENERATE),
        "may_make_keys": found.may(Right.MANAGE_KEYS),
        "base_url": f"{settings.PUBLIC_URL}/v1",
        "first_model": _first_model(found),
    }


def _cards(found: Membership, balance: Balance) -> list[dict[str, Any]]:
    usage, ledger = reverse("console:usage"), reverse("console:billing_ledgerentry_changelist")
    facts = [
        (_("Balance"), spaced_number(balance.spendable), "account_balance_wallet", ledger),
        (_("Used today"), spaced_number(_used(found, 1)), "today", usage),
        (_("Used this month"), spaced_number(_used_this_month(found)), "calendar_month", usage),
        (_("Success in 7 days"), _success_rate(found), "check_circle", reverse("console:aiservices_generation_changelist")),
    ]
    cards = [{"title": title, "value": value, "icon": icon, "link": link} for title, value, icon, link in facts]
    if balance.held:
        cards[0]["note"] = _("%(credits)s are held") % {"credits": spaced_number(balance.held)}
    return cards


def _keys(found: Membership) -> list[ApiKey]:
    rows = ApiKey.objects.filter(tenant=found.tenant, revoked_at__isnull=True)
    return list(rows.order_by("-last_used_at", "-id")[:SHOWN_KEYS])


def _errors(found: Membership) -> list[dict[str, Any]]:
    rows = Generation.objects.filter(tenant=found.tenant, state="failed", deleted_at__isnull=True).select_related("model")
    return [
        {"row": each, "why": in_readers_language(each.error_message) or error_in_words(each.error_code)}
        for each in rows.order_by("-id")[:SHOWN_ERRORS]
    ]


def _budgets(found: Membership, account_id: int, held: int) -> list[dict[str, Any]]:
    rows = standings(tenant_id=found.tenant.id, api_key_id=None, account_id=account_id, is_live=True, held=held)
    return [
        {
            "period": each.budget.get_period_display(),
            "percent": min(100, round(each.percent)),
            "used": spaced_number(each.used),
            "limit": spaced_number(each.budget.limit_credits),
        }
        for each in rows
    ]


def _period(found: Membership, days: int) -> Period:
    zone = zone_of(found.tenant.time_zone)
    tomorrow = timezone.now().astimezone(zone).date() + timedelta(days=1)
    return Period(midnight(tomorrow - timedelta(days=days), zone), midnight(tomorrow, zone), zone)


def _net(found: Membership, period: Period) -> int:
    used = ledger_usage(found.account().id, period, ["day"], zone_name=found.tenant.time_zone)
    return sum(each.credits - each.refunded for each in used.values())


def _used(found: Membership, days: int) -> int:
    return _net(found, _period(found, days))


def _used_this_month(found: Membership) -> int:
    today = timezone.now().astimezone(zone_of(found.tenant.time_zone)).date()
    return _used(found, today.day)


def _success_rate(found: Membership) -> str:
    """Of the newest generations of seven days; a sample is enough and stays quick."""
    since = timezone.now() - timedelta(days=7)
    rows = Generation.objects.filter(tenant=found.tenant, created_at__gte=since, state__in=["succeeded", "failed"])
    states = list(rows.order_by("-id").values_list("state", flat=True)[:1000])
    return f"{100 * states.count('succeeded') / len(states):.0f} %" if states else "–"


def usage_by_day(found: Membership, *, days: int) -> dict[str, Any]:
    """Credits after refunds by day of the tenant's zone, as a chart."""
    period = _period(found, days)
    used = ledger_usage(found.account().id, period, ["day"], zone_name=found.tenant.time_zone)
    shown = [period.first_day + timedelta(days=number) for number in range(days)]
    values = [(each.credits - each.refunded) if (each := used.get((day,))) else 0 for day in shown]
    labels = [f"{day:%m-%d}" for day in shown]
    return {"data": bar_chart(labels, (_("Credits"), PRIMARY, values)) if any(values) else "", "legend": []}


def usage_by_model(found: Membership, *, days: int) -> list[dict[str, Any]]:
    """Credits after refunds by model, the most first."""
    used = ledger_usage(found.account().id, _period(found, days), ["model"], zone_name=found.tenant.time_zone)
    sums = sorted(((each.credits - each.refunded, each.requests, key) for (key,), each in used.items()), reverse=True)
    sums = sums[:MAX_MODELS]
    rows = AIModel.objects.filter(id__in=[key for _credits, _count, key in sums if key]).values_list("id", "name")
    names = {str(pk): name for pk, name in rows}
    most = max((credits for credits, _count, _key in sums), default=0) or 1
    return [
        {"name": names.get(key, key or "–"), "value": f"{credits:,} ({count:,})", "percent": round(100 * credits / most)}
        for credits, count, key in sums
    ]


def _first_model(found: Membership) -> str:
    images = [each.model.model_id for each in to_be_tried(found.tenant) if each.model.type == AIModel.Type.IMAGE_GENERATION]
    return images[0] if images else ""
