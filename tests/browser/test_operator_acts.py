"""Statements, undoing and acting, the audit log and lists of one's own: in both languages, at 1440 and 390."""

from typing import Any

import pytest

from billing.budgets.models import Budget
from billing.catalog.usage import UsageRequest
from billing.ledger.models import Account, Hold
from billing.monitoring import alerts
from billing.monitoring.models import Alert
from billing.services import hold
from tenants import audit
from tenants.models import Tenant
from tenants.principal import Principal
from tests.archive.conftest import History, month_name
from tests.browser.conftest import log_in
from tests.catalog import priced_model

BOTH = [("en", 1440), ("zh-hans", 390), ("en", 390), ("zh-hans", 1440)]


@pytest.fixture
def busy_studio(live_waule: Any, root: Any) -> Account:
    """星河工作室 with two months of uses, a stuck hold and an open alert."""
    tenant = Tenant.objects.create(name="星河工作室", enabled_models=["*"])
    account = Account.objects.get(tenant=tenant, mode="live")
    model = priced_model()
    history = History(account, model)
    for ago in (2, 1):
        history.month(ago, uses=12)
    hold(target=Principal("tenant", str(tenant.id)), use=UsageRequest(model="flash"), actor="gateway")
    Budget.objects.create(tenant=tenant, period="month", limit_credits=5)
    alerts.check()
    audit.record(
        actor="admin:root", action="budget.change", target=tenant, reason="合同续签",
        before={"limit_credits": 1000, "is_active": False}, after={"limit_credits": 5, "is_active": True},
    )  # fmt: skip
    audit.record(
        actor="gateway", action="credits.grant", target=account, reason="发票 17", after={"credits": 500, "balance": 1398}
    )
    return account


def fits(page: Any, width: int) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth") <= width)


@pytest.mark.parametrize(("language", "width"), BOTH)
def test_a_statement_of_last_month_on_screen_on_paper_and_as_files(
    open_page: Any, busy_studio: Account, shot: Any, language: str, width: int
) -> None:
    page = log_in(open_page(locale=language, width=width))
    page.goto(f"/admin/billing/account/{busy_studio.id}/statement/")
    page.click(f'.waule-months a[href="?month={month_name(1)}"]')
    page.locator(".waule-period").wait_for()
    assert month_name(1) in page.inner_text(".waule-period") and "星河工作室" in page.inner_text(".waule-period")
    assert fits(page, width)
    shot(page, f"statement-{language}-{width}", full_page=True)
    with page.expect_download() as saved:
        page.click('a[href*="csv=1"]')
    assert saved.value.suggested_filename == f"星河工作室 {month_name(1)}.csv"
    page.emulate_media(media="print")
    assert page.locator("#statement-form").is_hidden() and page.locator(".waule-period").is_visible()
    shot(page, f"statement-print-{language}-{width}", full_page=True)
    if width == 1440:
        pytest.importorskip("reportlab")
        page.emulate_media(media="screen")
        with page.expect_download() as saved:
            page.click('a[href*="pdf=1"]')
        assert saved.value.suggested_filename == f"星河工作室 {month_name(1)}.pdf"


@pytest.mark.parametrize(("language", "width"), BOTH)
def test_a_stuck_hold_is_released(open_page: Any, busy_studio: Account, shot: Any, language: str, width: int) -> None:
    page = log_in(open_page(locale=language, width=width))
    held = Hold.objects.get()
    page.goto(f"/admin/billing/hold/{held.id}/change/")
    page.locator(f'a[href="/admin/billing/hold/{held.id}/release/"]').first.wait_for(state="attached")
    page.goto(f"/admin/billing/hold/{held.id}/release/")
    page.locator(".waule-intro").wait_for()
    assert fits(page, width)
    shot(page, f"release-{language}-{width}")
    page.fill("[name=reason]", "网关丢了")
    page.click("#page-form button[type=submit]")
    page.wait_for_url("**/change/")
    assert Hold.objects.get().state == "released" and Account.objects.get(id=busy_studio.id).held == 0


@pytest.mark.parametrize(("language", "width"), BOTH)
def test_an_alert_is_silenced(open_page: Any, busy_studio: Account, shot: Any, language: str, width: int) -> None:
    page = log_in(open_page(locale=language, width=width))
    alert = Alert.objects.filter(is_raised=True).first()
    assert alert is not None
    page.goto(f"/admin/billing/alert/{alert.id}/acknowledge/")
    page.select_option("[name=silence]", "28800")
    page.fill("[name=reason]", "known")
    assert fits(page, width)
    shot(page, f"acknowledge-{language}-{width}")
    page.click("#page-form button[type=submit]")
    page.wait_for_url("**/change/")
    shot(page, f"alert-{language}-{width}")
    alert.refresh_from_db()
    assert alert.acknowledged_by == "admin:root" and alert.silenced_until is not None


@pytest.mark.parametrize(("language", "width"), BOTH)
def test_the_audit_log_tells_both_values(open_page: Any, busy_studio: Account, shot: Any, language: str, width: int) -> None:
    page = log_in(open_page(locale=language, width=width))
    page.goto("/admin/tenants/auditentry/?actor=admin:root")
    assert page.get_by_text("1,000 → 5").first.is_visible()
    assert fits(page, width)
    shot(page, f"audit-{language}-{width}", full_page=True)


@pytest.mark.parametrize(("language", "width"), BOTH)
def test_columns_and_filters_of_ones_own(open_page: Any, busy_studio: Account, shot: Any, language: str, width: int) -> None:
    page = log_in(open_page(locale=language, width=width))
    page.goto("/admin/billing/charge/?since=24h")
    page.locator('a[href^="this-list/"]').first.wait_for(state="attached")
    page.goto("/admin/billing/charge/this-list/?since=24h")
    page.fill("[name=name]", "今天")
    page.locator("[name=columns]").nth(1).uncheck()
    assert fits(page, width)
    shot(page, f"own-list-{language}-{width}", full_page=True)
    page.click("#page-form button[type=submit]")
    page.wait_for_url("**/charge/?since=24h")
    assert page.locator(".waule-kept").count() == 1
    shot(page, f"own-list-after-{language}-{width}")
