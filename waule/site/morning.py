"""The top of the first page: is the money right, what is down, what needs attention, who spends, against the days before.

What a day came to until the same hour is read from figures by hour; what an account used, from the ledger's balances. Each
figure leads to its list.
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db.models import Count
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from aiservices.credentials import services as credentials
from aiservices.monitoring import daily_stats as outcomes
from aiservices.monitoring import probes
from aiservices.monitoring.models import ServiceStatus
from aiservices.monitoring.services_page.credentials import WELL, with_trouble
from aiservices.monitoring.services_page.services import SERVICE_NAMES
from billing.ledger.balances import used_within
from billing.ledger.models import GRANT_KINDS, Account
from billing.monitoring import daily_stats as figures
from billing.monitoring.models import Alert
from billing.reconciliation import runs
from storage.models import StoredObject
from waule.core.admin import spaced_number

May = Callable[[str], bool]
Card = dict[str, Any]
SHOWN_SPENDERS = 6
DAYS_BACK = (1, 7)  # yesterday and last week
RECONCILED_WITHIN = timedelta(hours=26)  # it is done daily


def card(title: Any, value: Any, link: str, icon: str, note: str = "", colour: str = "") -> Card:
    shown = spaced_number(value) if isinstance(value, int) else value
    return {"title": title, "value": shown, "link": link, "icon": icon, "note": note, "colour": colour}


def list_address(url_name: str, query: str = "") -> str:
    return reverse(f"admin:{url_name}_changelist") + query


def cards(may: May, days: figures.Days) -> Iterator[Card]:
    """Yield what the reader may see, by their permissions."""
    if may("billing.view_reconcilerun"):
        yield _money()
    if may("aiservices.view_service"):
        yield _upstreams()
    if may("billing.view_charge"):
        yield _credits(days)
    if may("aiservices.view_generation"):
        yield _success(days)
    if may("billing.view_refund"):
        yield _moved(_("Refunds today"), days, figures.REFUNDED_BY_HOUR, list_address("billing_refund", "?since=24h"), "undo")
    if may("billing.view_ledgerentry"):
        yield _moved(_("Grants today"), days, figures.GRANTED_BY_HOUR, list_address("billing_ledgerentry"), "add_card")


# --- is the money right, what is down ------------------------------------------------------------------------------


def _money() -> Card:
    title, link = _("The ledger is"), list_address("billing_reconcilerun")
    run = runs.last_run()
    if run is None:
        return card(title, _("not checked yet"), link, "balance", colour="warning")
    at = date_format(timezone.localtime(run.finished_at), "DATETIME_FORMAT")
    if not run.ok:
        differences = _("%(count)s differences") % {"count": run.problem_count}
        return card(title, differences, reverse("admin:billing_reconcilerun_change", args=[run.pk]), "balance", at, "danger")
    is_old = timezone.now() - run.finished_at > RECONCILED_WITHIN
    return card(title, _("right"), link, "balance", at, "warning" if is_old else "")


def _upstreams() -> Card:
    services = probes.last_results()
    down = [SERVICE_NAMES[each.name] for each in services if each.status == ServiceStatus.DOWN]
    shaky = [SERVICE_NAMES[each.name] for each in services if each.status == ServiceStatus.DEGRADED]
    link = reverse("admin:ai_services")
    note = _("Degraded: %(names)s") % {"names": ", ".join(map(str, shaky))} if shaky else ""
    if down:
        value = ngettext("%(count)s is down", "%(count)s are down", len(down)) % {"count": len(down)}
        return card(_("Services"), value, link, "monitor_heart", ", ".join(map(str, down)), "danger")
    unknown = sum(each.status == ServiceStatus.UNKNOWN for each in services)
    if unknown and not note:
        note = _("%(count)s not known") % {"count": unknown}
    return card(_("Services"), _("none is down"), link, "monitor_heart", note, "warning" if shaky else "")


# --- against the days before ---------------------------------------------------------------------------------------


def against(shown: Callable[[int], str | None]) -> str:
    """Return the note below a figure of today: what `shown` says of yesterday and of a week ago, until the same hour."""
    yesterday, week = (shown(back) or "–" for back in DAYS_BACK)
    return _("At this hour: %(yesterday)s yesterday, %(week)s a week ago") % {"yesterday": yesterday, "week": week}


def _number(value: int | None) -> str | None:
    return None if value is None else spaced_number(value)


def _net_until_now(days: figures.Days, back: int) -> int | None:
    charged = days.until_this_hour(figures.CREDITS_BY_HOUR, back, computed=figures.CREDITS_BY_HOUR)
    refunded = days.until_this_hour(figures.REFUNDED_BY_HOUR, back, computed=figures.CREDITS_BY_HOUR)
    return None if charged is None else charged - (refunded or 0)


def _credits(days: figures.Days) -> Card:
    used = days.today(figures.CREDITS) - days.today(figures.REFUNDED)
    note = against(lambda back: _number(_net_until_now(days, back)))
    return card(_("Credits used today"), used, list_address("billing_charge", "?since=24h"), "payments", note)


def _success(days: figures.Days) -> Card:
    ended = {state: days.today(outcomes.ENDED, state.value) for state in outcomes.OVER}
    today = _rate(ended[outcomes.State.SUCCEEDED], sum(ended.values()))
    link = list_address("aiservices_generation", "?since=24h")
    return card(_("Success today"), today or "–", link, "task_alt", against(lambda back: _rate_until_now(days, back)))


def _rate_until_now(days: figures.Days, back: int) -> str | None:
    names = (outcomes.SUCCEEDED_BY_HOUR, outcomes.ENDED_BY_HOUR)
    good, ended = (days.until_this_hour(name, back, computed=outcomes.SUCCEEDED_BY_HOUR) for name in names)
    return _rate(good or 0, ended or 0)


def _rate(good: int, ended: int) -> str | None:
    return f"{100 * good / ended:.1f}%" if ended else None


def _moved(title: Any, days: figures.Days, name: str, link: str, icon: str) -> Card:
    def until_now(back: int) -> int | None:
        return days.until_this_hour(name, back, computed=figures.CREDITS_BY_HOUR)

    return card(title, until_now(0) or 0, link, icon, against(lambda back: _number(until_now(back))))


def grants(days: figures.Days) -> list[dict[str, Any]]:
    """Return what was granted today, by kind."""
    found = days.of_today(figures.GRANTED)
    return [
        {
            "name": kind.label,
            "link": list_address("billing_ledgerentry", f"?kind__exact={kind.value}"),
            "value": f"{found[kind.value]:+,}",
        }
        for kind in GRANT_KINDS
        if found[kind.value]
    ]


def spenders(days: figures.Days) -> list[dict[str, Any]]:
    """Return the accounts that used most today, each against yesterday and a week ago until now; exact, by the ledger."""
    top = [int(key) for key, credits in days.of_today(figures.OF_ACCOUNT).most_common(SHOWN_SPENDERS) if credits > 0]
    now = timezone.now()
    midnight = now.astimezone(ZoneInfo(settings.BILLING_TIME_ZONE)).replace(hour=0, minute=0, second=0, microsecond=0)
    used = used_within(top, [_window(midnight, now, back) for back in (0, *DAYS_BACK)])
    rows = Account.objects.select_related("tenant", "user").in_bulk(top)
    return sorted((_spender(rows[pk], *used[pk]) for pk in top if pk in rows), key=lambda row: -row["credits"])


def _window(midnight: datetime, now: datetime, back: int) -> tuple[datetime, datetime]:
    return midnight - timedelta(days=back), now - timedelta(days=back)


def _spender(account: Account, today: int, yesterday: int, week: int) -> dict[str, Any]:
    kind, owner = ("tenant", account.tenant_id) if account.tenant_id else ("user", account.user_id)
    before = {1: yesterday, 7: week}
    return {
        "name": str(account),
        "link": reverse(f"admin:{kind}_overview", args=[owner]),
        "credits": today,
        "value": spaced_number(today),
        "note": against(lambda back: spaced_number(before[back])),
    }


# --- what needs attention ------------------------------------------------------------------------------------------


def attention(may: May, unknown: int) -> list[dict[str, Any]]:
    """Return everything that waits for a person, with how many of it there are."""
    return [
        {"name": name, "value": spaced_number(count), "link": link} for name, count, link in _attention(may, unknown) if count
    ]


def _attention(may: May, unknown: int) -> Iterator[tuple[Any, int, str]]:
    if may("aiservices.view_generation"):
        yield _("Unknown outcomes"), unknown, list_address("aiservices_generation", "?state__exact=unknown")
    if may("billing.view_alert"):
        kinds = dict(Alert.Kind.choices)
        raised: Any = Alert.objects.filter(is_raised=True).order_by().values_list("kind")
        for kind, count in sorted(raised.annotate(n=Count("id"))):
            name = _("Alert: %(kind)s") % {"kind": kinds.get(kind, kind)}
            yield name, count, list_address("billing_alert", f"?is_raised__exact=1&kind__exact={kind}")
    for provider, name in (("sora", _("Sora tokens")), ("gemini", _("Gemini keys"))):
        rows = credentials.rows(provider)
        if may(f"aiservices.view_{rows.model._meta.model_name}"):
            troubled = with_trouble(rows).filter(trouble__lt=WELL).count()
            yield name, troubled, reverse("admin:ai_services")
    if may("storage.view_storedobject"):
        waiting = StoredObject.objects.filter(waiting_since__isnull=False).order_by().count()
        yield _("Results that wait for their bucket"), waiting, list_address("storage_storedobject", "?waiting_since__isempty=0")
