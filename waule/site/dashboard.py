"""The admin's first page: what an operator wants to know in the morning. Its figures may be a minute or two old.

Days are read from the figures that workers keep (`billing.monitoring.daily_stats`), never added up here: the page is as
quick with ten million charges as with ten. What is counted now, such as open holds, is found by small indexes and kept for
half a minute.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any

from django.core.cache import cache
from django.db.models import Count, F, Q, Sum
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from aiservices.admin.generations import STATE_COLOURS, urls_of
from aiservices.generations.models import Generation
from aiservices.monitoring import daily_stats as outcomes
from billing.admin.words import error_in_words
from billing.catalog.models import AIModel
from billing.ledger.expiry import open_holds
from billing.ledger.models import Account
from billing.monitoring import daily_stats as figures
from billing.monitoring.models import Alert
from billing.monitoring.rejections import REASONS
from tenants.models import Mode, Tenant
from waule.core.admin import local_url, spaced_number
from waule.core.admin.charts import BAD, GOOD, MUTED, PRIMARY, bar_chart, line_chart
from waule.site import morning

FRESH_SECONDS = 30
DAYS = 14
LATEST_GENERATIONS = 8
LOWEST_BALANCES = 5
TOP = 6
UNKNOWN = "?state__exact=unknown"
AGES = (timedelta(minutes=10), timedelta(hours=1), timedelta(days=1))
May = Callable[[str], bool]
Series = tuple[str, str, Sequence[float | None]]  # title, colour, a value for each day


def dashboard(request: HttpRequest) -> dict[str, Any]:
    """Return what the reader may see, by their permissions."""
    may: May = request.user.has_perm
    days = figures.Days(DAYS)
    context: dict[str, Any] = {"cards": list(_cards(may, days))}
    unknown = _cached("unknown", _unknown_outcomes) if may("aiservices.view_generation") else 0
    if context["cards"]:
        context["attention"] = morning.attention(may, unknown)
    if may("billing.view_ledgerentry"):
        context["grants"] = morning.grants(days)
    if may("billing.view_charge"):
        context["credits"] = _credits_chart(days)
        context["models"] = _shares(days.by_key(figures.OF_MODEL), _model_names)
        context["rejections"] = _shares(days.by_key(figures.REJECTIONS), _reasons)
    if may("billing.view_account"):
        context["spenders"] = morning.spenders(days)
        context["tenants"] = _shares(days.by_key(figures.OF_ACCOUNT), _account_names)
        context["low_balances"] = _low_balances()
    if may("billing.view_hold"):
        context["holds"] = _ages(_cached("holds", _open_holds))
    if may("aiservices.view_generation"):
        context["outcomes"], context["latency"] = _outcomes_chart(days), _latency_chart(days)
        context["failures"] = _shares(days.by_key(outcomes.FAILURES), _codes)
        context["generations"] = _latest_generations()
    return context


def _cached(name: str, figure: Callable[[], Any]) -> Any:
    return cache.get_or_set(f"dashboard:{name}", figure, FRESH_SECONDS)


# --- cards ---------------------------------------------------------------------------------------------------------


def _cards(may: May, days: figures.Days) -> Iterator[morning.Card]:
    yield from morning.cards(may, days)
    if may("tenants.view_tenant"):
        active, switched_off = _cached("tenants", _tenants)
        note = _("%(count)s switched off") % {"count": spaced_number(switched_off)}
        yield morning.card(_("Active tenants"), active, morning.list_address("tenants_tenant"), "apartment", note)
    if may("aiservices.view_generation"):
        unknown = _cached("unknown", _unknown_outcomes)
        note, link = (_("wait for a decision") if unknown else ""), morning.list_address("aiservices_generation", UNKNOWN)
        yield morning.card(_("Unknown outcomes"), unknown, link, "help", note)
    if may("billing.view_hold"):
        count, credits, _ages_found = _cached("holds", _open_holds)
        note = _("%(credits)s credits held") % {"credits": spaced_number(credits)}
        yield morning.card(
            _("Open holds"), count, morning.list_address("billing_hold", "?state__exact=held"), "hourglass_top", note
        )
    if may("billing.view_alert"):
        standing = _cached("alerts", _open_alerts)
        link = morning.list_address("billing_alert", "?is_raised__exact=1")
        yield morning.card(_("Open alerts"), standing, link, "notifications")


def _tenants() -> tuple[int, int]:
    found = Tenant.objects.aggregate(on=Count("id", filter=Q(is_active=True)), off=Count("id", filter=Q(is_active=False)))
    return found["on"], found["off"]


def _unknown_outcomes() -> int:
    return Generation.objects.filter(state=Generation.State.UNKNOWN).order_by().count()


def _open_alerts() -> int:
    return Alert.objects.filter(is_raised=True).count()


def _open_holds() -> tuple[int, int, list[int]]:
    """Return how many there are, their credits, and how many of each age: up to each of AGES, older, and kept as unknown."""
    now = timezone.now()
    bounds = [now - age for age in AGES]
    between = [Q(created_at__gt=older, created_at__lte=newer) for newer, older in pairwise(bounds)]
    spans = [Q(created_at__gt=bounds[0]), *between, Q(created_at__lte=bounds[-1])]
    spans = [*(span & Q(is_unknown=False) for span in spans), Q(is_unknown=True)]
    ages = {f"age_{number}": Count("id", filter=span) for number, span in enumerate(spans)}
    found = open_holds(now).aggregate(count=Count("id"), credits=Sum("credits"), **ages)
    return found["count"], found["credits"] or 0, [found[name] for name in ages]


# --- charts --------------------------------------------------------------------------------------------------------


def _labels(days: figures.Days) -> list[str]:
    return [day.strftime("%m-%d") for day in days.days]


def _net(days: figures.Days) -> list[int | None]:
    """Charged less given back, on the day of each; None where a day was not computed."""
    pairs = zip(days.by_day(figures.CREDITS), days.by_day(figures.REFUNDED), strict=True)
    return [None if charged is None else charged - (refunded or 0) for charged, refunded in pairs]


def _drawn(draw: Callable[..., str], days: figures.Days, series: list[Series]) -> dict[str, Any]:
    """Return a chart of those series that have something to show, with a legend where there are several; {} of none."""
    series = [each for each in series if any(each[2])]
    legend = [(title, colour) for title, colour, _values in series]
    return {"data": draw(_labels(days), *series), "legend": legend if len(series) > 1 else []} if series else {}


def _credits_chart(days: figures.Days) -> dict[str, Any]:
    return _drawn(bar_chart, days, [(_("Credits"), PRIMARY, _net(days))])


def _outcomes_chart(days: figures.Days) -> dict[str, Any]:
    shown = ((_("Succeeded"), GOOD, "succeeded"), (_("Failed"), BAD, "failed"), (_("Unknown outcome"), MUTED, "unknown"))
    return _drawn(bar_chart, days, [(title, colour, days.by_day(outcomes.ENDED, state)) for title, colour, state in shown])


def _latency_chart(days: figures.Days) -> dict[str, Any]:
    shown = (
        (_("Images, median"), PRIMARY, outcomes.MEDIAN_MS, "image"),
        (_("Images, 95th percentile"), "#7dd3fc", outcomes.P95_MS, "image"),
        (_("Videos, median"), "#7c3aed", outcomes.MEDIAN_MS, "video"),
        (_("Videos, 95th percentile"), "#c4b5fd", outcomes.P95_MS, "video"),
    )
    return _drawn(line_chart, days, [(title, colour, _seconds(days.by_day(name, kind))) for title, colour, name, kind in shown])


def _seconds(milliseconds: list[int | None]) -> list[float | None]:
    return [None if value is None else round(value / 1000, 2) for value in milliseconds]


# --- lists ---------------------------------------------------------------------------------------------------------

Names = Callable[[list[str]], dict[str, tuple[str, str]]]


def _shares(sums: Counter[str], names: Names) -> list[dict[str, Any]]:
    """Return the largest of the sums with their names, links and share of the largest; what has no name is left out."""
    top = [(key, value) for key, value in sums.most_common(TOP) if value > 0]
    named = names([key for key, _value in top])
    largest = top[0][1] if top else 1
    return [
        {"name": named[key][0], "link": named[key][1], "value": spaced_number(value), "percent": max(1, 100 * value // largest)}
        for key, value in top
        if key in named
    ]


def _account_names(keys: list[str]) -> dict[str, tuple[str, str]]:
    rows = Account.objects.select_related("tenant", "user").filter(pk__in=[int(key) for key in keys])
    return {str(row.pk): (str(row), reverse("admin:billing_account_change", args=[row.pk])) for row in rows}


def _model_names(keys: list[str]) -> dict[str, tuple[str, str]]:
    rows = AIModel.objects.filter(pk__in=[key for key in keys if key])
    named = {str(row.pk): (row.name, reverse("admin:billing_aimodel_change", args=[row.pk])) for row in rows}
    return named | {"": (_("Without a model"), "")}


def _reasons(keys: list[str]) -> dict[str, tuple[str, str]]:
    return {key: (str(REASONS.get(key, key)), "") for key in keys}


def _codes(keys: list[str]) -> dict[str, tuple[str, str]]:
    failed = f"{reverse('admin:aiservices_generation_changelist')}?state__exact=failed"
    return {key: (error_in_words(key), failed) for key in keys}


def _ages(found: tuple[int, int, list[int]]) -> list[dict[str, Any]]:
    _count, _credits, counts = found
    titles = (
        _("Up to 10 minutes"),
        _("Up to an hour"),
        _("Up to a day"),
        _("Older than a day"),
        _("Kept for an unknown outcome"),
    )
    largest = max(*counts, 1)
    link = f"{reverse('admin:billing_hold_changelist')}?state__exact=held"
    return [
        {"name": title, "link": link, "value": spaced_number(count), "percent": 100 * count // largest}
        for title, count in zip(titles, counts, strict=True)
        if count
    ]


def _latest_generations() -> list[dict[str, Any]]:
    rows = Generation.objects.select_related("tenant", "user", "model").order_by("-pk")[:LATEST_GENERATIONS]
    return [
        {
            "link": reverse("admin:aiservices_generation_change", args=[row.pk]),
            "picture": local_url(next(iter(urls_of(row)), "")),
            "is_video": row.type == Generation.Type.VIDEO,
            "prompt": row.prompt[:120],
            "owner": str(row.tenant or row.user),
            "model": str(row.model),
            "state": row.get_state_display(),
            "colour": STATE_COLOURS[row.state],
            "credits": spaced_number(row.credits_charged),
            "at": row.created_at,
        }
        for row in rows
    ]


def _low_balances() -> list[dict[str, Any]]:
    return [
        {
            "owner": owner,
            "credits": spaced_number(spendable),
            "is_empty": spendable <= 0,
            "link": reverse("admin:billing_account_change", args=[account_id]),
        }
        for account_id, owner, spendable in _cached("low", _lowest_accounts)
    ]


def _lowest_accounts() -> list[tuple[int, str, int]]:
    rows = Account.objects.filter(tenant__is_active=True, mode=Mode.LIVE).annotate(left=F("balance") - F("held"))
    return [tuple(row) for row in rows.order_by("left", "id").values_list("id", "tenant__name", "left")[:LOWEST_BALANCES]]
