"""The first page: right figures from daily roll-ups, in as many queries for many rows as for few."""

from collections import Counter
from datetime import datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import Group
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from aiservices.credentials.models import GeminiKey
from aiservices.generations.models import Generation
from aiservices.monitoring import daily_stats as outcomes
from aiservices.monitoring.models import Service
from billing import services
from billing.catalog.usage import UsageRequest
from billing.ledger.models import Account, Charge, Hold
from billing.monitoring import daily_stats as figures
from billing.monitoring import rejections
from billing.monitoring.models import Alert, DailyStat, ReconcileRun
from billing.services.permissions import billing_day
from tenants.models import User
from tenants.principal import Principal
from tests.books import body, give
from tests.catalog import priced_model
from tests.waiting import eventually
from waule.core.ids import uuid7_floor

ZONE = ZoneInfo("Asia/Shanghai")


def use(owner, **values) -> Charge:
    target = Principal("tenant", str(owner.pk), values.pop("mode", "live"))
    return services.charge(target=target, use=UsageRequest(model="flash", **values), actor="test").charge


def used_on(owner, model, at: datetime, credits: int, number: int = 0) -> Charge:
    """A charge as it would have been made then."""
    account = Account.objects.get(tenant=owner, mode="live")
    key = UUID(int=uuid7_floor(at).int + 1 + number)
    return Charge.objects.create(id=key, account=account, model=model, credits=credits, created_at=at)


def page_of(client):
    cache.clear()
    answer = client.get(reverse("admin:index"))
    assert answer.status_code == 200
    return answer


def value_of(page, title: str) -> str:
    return next(card["value"] for card in page.context["cards"] if card["title"] == title)


def named(rows) -> dict[str, str]:
    return {row["name"]: row["value"] for row in rows}


def test_credits_of_a_day_are_what_was_charged_less_what_was_given_back(flash_at_15, acme, birch):
    give(birch, 100)
    use(acme)
    services.refund(charge_id=str(use(acme).id), credits=4, reason="test", actor="test")
    use(birch)
    use(acme, mode="test")  # play money
    figures.add_up()
    figures.add_up()  # the same again
    days = figures.Days(14)
    assert [days.today(name) for name in (figures.USES, figures.CREDITS, figures.REFUNDED)] == [3, 45, 4]
    accounts = {str(Account.objects.get(tenant=owner, mode="live").pk): credits for owner, credits in ((acme, 26), (birch, 15))}
    assert days.by_key(figures.OF_ACCOUNT) == Counter(accounts)
    assert days.by_key(figures.OF_MODEL) == Counter({str(flash_at_15.pk): 41})


def test_a_day_is_one_of_the_billing_time_zone(flash_at_15, acme):
    midnight = datetime(2026, 11, 1, tzinfo=ZONE)
    for seconds, credits in ((-1, 1), (0, 10), (86_399, 100), (86_400, 1000)):
        used_on(acme, flash_at_15, midnight + timedelta(seconds=seconds), credits)
    figures.keep(midnight.date(), figures._credits(midnight.date()), names=(figures.CREDITS, figures.USES))
    assert DailyStat.objects.get(name=figures.CREDITS).value == 110


def test_days_that_are_over_are_computed_once(flash_at_15, acme):
    yesterday, long_ago = timezone.now() - timedelta(days=1), timezone.now() - timedelta(days=9)
    used_on(acme, flash_at_15, yesterday, 5)
    used_on(acme, flash_at_15, long_ago, 7)
    figures.add_up()
    assert figures.Days(14).by_day(figures.CREDITS) == [0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 5, 0]
    with CaptureQueriesContext(connection) as again:
        figures.add_up()
    read = [query["sql"] for query in again if 'FROM "billing_charge"' in query["sql"]]
    assert len(read) == 2 * figures.RECENT_DAYS  # by account and model, and by hour


def test_what_does_not_hold_any_more_is_forgotten(db):
    today = billing_day(timezone.now())
    figures.keep(today, {("account.credits", "1"): 5, ("credits", ""): 5}, names=("account.credits", "credits"))
    figures.keep(today, {("credits", ""): 6}, names=("account.credits", "credits"))
    assert list(DailyStat.objects.values_list("name", "value")) == [("credits", 6)]


def make(acme, flash_at_15, state: str, *, seconds: float = 2, code: str = "", **more) -> Generation:
    now = timezone.now()
    return Generation.objects.create(
        type="image", tenant=acme, model=flash_at_15, prompt="x", state=state, error_code=code,
        started_at=now - timedelta(seconds=seconds), completed_at=now, **more,
    )  # fmt: skip


def test_generations_are_counted_by_their_end_and_timed(flash_at_15, acme):
    for seconds in (1, 2, 3):
        make(acme, flash_at_15, "succeeded", seconds=seconds)
    make(acme, flash_at_15, "failed", code="content_refused")
    unknown = make(acme, flash_at_15, "unknown", code="upstream_timeout")
    make(acme, flash_at_15, "running")
    make(acme, flash_at_15, "succeeded", seconds=500, mode="test")
    outcomes.add_up()
    days = figures.Days(14)
    assert days.by_key(outcomes.ENDED) == Counter(succeeded=3, failed=1, unknown=1)
    assert days.by_key(outcomes.FAILURES) == Counter(content_refused=1, upstream_timeout=1)
    assert (days.today(outcomes.MEDIAN_MS, "image"), days.today(outcomes.P95_MS, "image")) == (2000, 2900)
    Generation.objects.filter(pk=unknown.pk).update(state="succeeded", error_code="", started_at=None)
    outcomes.add_up()  # it was settled since
    assert figures.Days(14).by_key(outcomes.ENDED) == Counter(succeeded=4, failed=1)


def test_refusals_are_counted_by_reason(internal, flash_at_15, birch, acme):
    rejections.write_down()  # those of other tests
    DailyStat.objects.all().delete()
    for _number in range(3):
        assert internal.post("/internal/billing/charge", body(birch))[0] == 402
    assert internal.post("/internal/billing/charge", body(acme, "nobody"))[0] == 404
    assert internal.post("/internal/billing/charge", body(acme))[0] == 200
    batch = {"charges": [body(birch) | {"idempotencyKey": f"item-{number}"} for number in range(2)]}
    assert internal.post("/internal/billing/charges/batch", batch)[0] == 200
    assert internal.get("/internal/billing/nothing")[0] == 404  # no use was asked for
    rejections.write_down()
    rejections.write_down()
    assert figures.Days(14).by_key(figures.REJECTIONS) == Counter(insufficient_credits=5, model_not_found=1)


def test_the_page_says_it_all(admin_client, flash_at_15, acme):
    use(acme)
    held = services.hold(target=Principal("tenant", str(acme.pk)), use=UsageRequest(model="flash"), actor="test").hold
    Hold.objects.filter(pk=held.id).update(created_at=timezone.now() - timedelta(hours=3))
    unknown = services.hold(target=Principal("tenant", str(acme.pk)), use=UsageRequest(model="flash"), actor="test").hold
    services.mark_unknown(hold_id=str(unknown.id), actor="test")
    make(acme, flash_at_15, "succeeded")
    make(acme, flash_at_15, "failed", code="content_refused")
    make(acme, flash_at_15, "unknown")
    figures.add_up()
    outcomes.add_up()
    figures.count(figures.REJECTIONS, {"insufficient_credits": 2, "daily_limit": 7})
    page = page_of(admin_client)
    told = {title: value_of(page, title) for title in ("Credits used today", "Success today", "Unknown outcomes", "Open holds")}
    assert told == {"Credits used today": "15", "Success today": "33.3%", "Unknown outcomes": "1", "Open holds": "2"}
    assert named(page.context["tenants"]) == {"Acme": "15"}
    assert named(page.context["models"]) == {"Flash": "15"}
    assert list(named(page.context["rejections"]).items()) == [("Daily limit", "7"), ("Not enough credits", "2")]
    assert named(page.context["failures"]) == {"Content refused by the provider": "1"}
    assert named(page.context["holds"]) == {"Up to a day": "1", "Kept for an unknown outcome": "1"}
    assert {row["owner"] for row in page.context["low_balances"]} == {"Acme"}
    assert page.text.count('class="chart"') == 3


def test_it_opens_before_anything_was_added_up(admin_client):
    page = page_of(admin_client)
    assert value_of(page, "Credits used today") == "0"
    assert 'class="chart"' not in page.text


def test_what_a_reader_may_not_see_is_not_there(client, acme):
    staff = User.objects.create_user("staff", is_staff=True)
    client.force_login(staff)
    page = page_of(client)
    assert (page.context["cards"], "tenants" in page.context, "generations" in page.context) == ([], False, False)
    staff.groups.add(Group.objects.get(name="auditor"))
    assert "Acme" in page_of(client).text


def test_it_asks_no_more_for_more_rows(admin_client, flash_at_15, acme):
    def queries() -> list[str]:
        figures.add_up()
        outcomes.add_up()
        with CaptureQueriesContext(connection) as found:
            page_of(admin_client)
        return [query["sql"] for query in found]

    use(acme)
    make(acme, flash_at_15, "failed", code="content_refused")
    few = queries()
    for number in range(30):
        used_on(acme, flash_at_15, timezone.now() - timedelta(days=number % 14), 5, number)
        make(acme, flash_at_15, "succeeded")
    many = queries()
    assert len(many) <= len(few) <= 28, "\n".join(query[:160] for query in many)
    assert not [query for query in many if 'FROM "billing_charge"' in query]
    ledger = [query for query in many if 'FROM "billing_ledgerentry"' in query]
    assert len(ledger) == 2  # single entries, each by an index, and what was granted to those who used most
    assert not [query for query in ledger if "SUM(" in query or "COUNT(" in query]


def test_today_stands_against_the_days_before_at_the_same_hour(flash_at_15, acme):
    now = datetime(2026, 11, 20, 10, 30, tzinfo=ZONE)
    for back, hour, minute, credits in ((0, 9, 59, 7), (1, 9, 59, 100), (1, 10, 5, 40), (1, 11, 0, 1000), (7, 0, 0, 8)):
        at = (now - timedelta(days=back)).replace(hour=hour, minute=minute)
        used_on(acme, flash_at_15, at, credits, number=credits)
    figures.add_up(now)
    days = figures.Days(14, now)
    shown = [days.until_this_hour(figures.CREDITS_BY_HOUR, back, computed=figures.CREDITS_BY_HOUR) for back in (0, 1, 7, 6)]
    assert shown == [7, 100 + 40 * 30 // 60, 8, 0]
    DailyStat.objects.filter(day=days.days[-8]).delete()
    assert figures.Days(14, now).until_this_hour(figures.CREDITS_BY_HOUR, 7, computed=figures.CREDITS_BY_HOUR) is None


def test_grants_count_by_kind_on_the_day_they_were_made(admin_client, flash_at_15, acme, birch):
    give(birch, 250)
    account = Account.objects.get(tenant=acme, mode="live")
    services.adjust(account_id=account.id, credits=-30, reason="test", actor="test", idempotency_key="a")
    give(acme, 999, mode="test")
    figures.add_up()
    days = figures.Days(14)
    assert days.of_today(figures.GRANTED) == Counter(GIFT=1250, ADMIN=-30)
    page = page_of(admin_client)
    assert value_of(page, "Grants today") == "1,220"
    assert named(page.context["grants"]) == {"Gift": "+1,250", "Adjustment": "-30"}


def test_who_spends_is_exact_and_leads_to_their_page(admin_client, flash_at_15, acme, birch):
    give(birch, 100)
    use(acme)
    services.refund(charge_id=str(use(acme).id), credits=4, reason="test", actor="test")
    use(birch)
    figures.add_up()
    page = page_of(admin_client)
    assert [(row["name"], row["value"]) for row in page.context["spenders"]] == [("Acme", "26"), ("Birch", "15")]
    assert page.context["spenders"][0]["link"] == reverse("admin:tenant_overview", args=[acme.pk])
    assert value_of(page, "Refunds today") == "4"


def test_what_is_wrong_is_on_top(admin_client, flash_at_15, acme):
    now = timezone.now()
    assert value_of(page_of(admin_client), "The ledger is") == "not checked yet"
    counts = {"accounts": 1, "entries": 1, "holds": 0, "charges": 0}
    ReconcileRun.objects.create(started_at=now, finished_at=now - timedelta(days=3), ok=True, **counts)
    money = next(card for card in page_of(admin_client).context["cards"] if card["title"] == "The ledger is")
    assert (money["value"], money["colour"]) == ("right", "warning")  # long ago
    run = ReconcileRun.objects.create(started_at=now, finished_at=now, ok=False, problem_count=2, **counts)
    Service.objects.create(name="database", status="down", checked_at=now)
    Alert.objects.create(key="x", kind=Alert.Kind.RECONCILE, is_raised=True, raised_at=now)
    GeminiKey.objects.create(name="bad", secret="AIza-planted", fingerprint="f", masked="…nted", state="invalid")
    make(acme, flash_at_15, "unknown")
    page = page_of(admin_client)
    money, services_card = page.context["cards"][:2]
    assert (money["value"], money["colour"], money["link"]) == (
        "2 differences", "danger", reverse("admin:billing_reconcilerun_change", args=[run.pk]),
    )  # fmt: skip
    assert (services_card["value"], services_card["colour"]) == ("2 are down", "danger")
    assert services_card["note"] == "Database, Workers"  # no worker lives
    assert named(page.context["attention"]) == {
        "Unknown outcomes": "1",
        "Alert: The ledger does not add up": "1",
        "Gemini keys": "1",
    }
    for row in [*page.context["attention"], *page.context["cards"]]:
        assert admin_client.get(row["link"]).status_code == 200, row


@pytest.mark.slow
def test_servers_count_refusals_and_workers_add_up(live_waule, birch, acme):
    priced_model("flash", base=15)
    for owner in (birch, birch, acme):
        live_waule.internal("POST", "/internal/billing/charge", body(owner))
    live_waule.run("worker")

    def told() -> tuple[Counter, int]:
        days = figures.Days(14)
        return days.by_key(figures.REJECTIONS), days.today(figures.CREDITS)

    eventually(lambda: told() == (Counter(insufficient_credits=2), 15))
