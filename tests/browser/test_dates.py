"""The calendar and the clock beside dates: in the reader's language, and what is chosen stays; times of day are the reader's."""

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect

from billing.ledger.models import Account
from tenants.models import Tenant
from tests.browser.conftest import log_in, log_in_to_console


def open_calendar(page: Page) -> None:
    page.locator("a[id^=calendarlink]").first.click()


@pytest.mark.parametrize(
    ("locale", "caption", "days"), [("en", "February 2024", "SMTWTFS"), ("zh-CN", "2024年2月", "一二三四五六日")]
)
def test_a_date_is_chosen_in_the_calendar(open_page, root, locale, caption, days) -> None:
    tenant = Tenant.objects.create(name="Acme")
    account, _made = Account.objects.get_or_create(tenant=tenant, mode="live")
    page = log_in(open_page(locale=locale), confirm=False)
    page.wait_for_url("**/admin/")
    page.goto(f"{reverse('admin:billing_statement', args=[account.pk])}?month=2024-02")
    open_calendar(page)
    box = page.locator(".calendarbox:visible")
    expect(box.locator("caption")).to_have_text(caption)
    assert "".join(box.locator("th").all_inner_texts()) == days
    assert box.locator("td.selected").inner_text() == "1"
    assert box.locator("td.selected a").evaluate("day => getComputedStyle(day).boxShadow") != "none"
    box.get_by_text("29", exact=True).click()
    assert page.input_value("[name=since_0]") == "2024-02-29"
    page.locator("a[id^=clocklink]").first.click()
    page.locator(".clockbox:visible li a").nth(2).click()
    assert page.input_value("[name=since_1]") == "06:00:00"
    page.fill("[name=until_0]", "2024-03-05")
    page.click("#statement-form button[type=submit]")
    page.wait_for_url("**since_0=2024-02-29**")
    assert [page.input_value(f"[name={name}]") for name in ("since_0", "until_0")] == ["2024-02-29", "2024-03-05"]


def test_the_console_shows_the_readers_times(open_page, studio) -> None:
    page = open_page(timezone_id="America/New_York")
    log_in_to_console(page, studio)
    page.goto("/console/statement/")
    expect(page.locator(".waule-period")).to_contain_text("America/New_York")
