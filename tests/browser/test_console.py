"""The tenants' console as somebody sees it who has just been let in: from the login to the first picture and the first key."""

import re

import pytest
from playwright.sync_api import Page

from billing.ledger.models import Account
from tenants.models import ApiKey
from tests.browser.conftest import PASSWORD, log_in_to_console

LOOKS = [
    pytest.param("en", 1440, "light", id="en-1440-light"),
    pytest.param("en", 390, "dark", id="en-390-dark"),
    pytest.param("zh-CN", 390, "light", id="zh-390-light"),
    pytest.param("zh-CN", 1440, "dark", id="zh-1440-dark"),
]
PAGES = [
    *("", "try/", "usage/", "prices/", "statement/", "redeem/", "webhook/", "webhook/edit/", "bucket/", "bucket/edit/"),
    *("aiservices/generation/", "tenants/apikey/", "tenants/apikey/new/", "billing/ledgerentry/", "tenants/outboxmessage/"),
    *("tenants/tenantmember/", "tenants/tenantmember/new/"),
]


def assert_fits(page: Page, where: str) -> None:
    """Nothing is wider than the window."""
    too_wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert too_wide <= 0, f"{where} is {too_wide} px too wide"


@pytest.mark.parametrize(("locale", "width", "scheme"), LOOKS)
def test_from_the_login_to_the_first_picture_and_key(open_page, studio, shot, locale, width, scheme) -> None:
    page = open_page(width=width, locale=locale, color_scheme=scheme)
    name = f"console-{locale}-{width}-{scheme}"
    log_in_to_console(page, studio)
    assert_fits(page, "home")
    shot(page, f"{name}-home", full_page=True)
    page.click("a[href='/console/try/']:visible")
    page.fill("[name=prompt]", "a red bicycle")
    page.click("#page-form button[type=submit]")
    picture = page.locator("#made-1")
    picture.wait_for()
    page.wait_for_function("document.querySelector('#made-1').naturalWidth > 0")
    assert_fits(page, "try")
    shot(page, f"{name}-try", full_page=True)
    assert Account.objects.get(tenant__name="Studio 星河", mode="live").balance == 493

    page.goto("/console/")
    page.click("a[href='/console/tenants/apikey/new/']:visible")
    page.fill("[name=name]", "server")
    page.click("#page-form button[type=submit]")
    page.fill("form.waule-door [name=password]", PASSWORD)  # a live key
    page.click("form.waule-door button[type=submit]")
    page.fill("[name=name]", "server")
    page.click("#page-form button[type=submit]")
    text = page.locator("#new-api-key").inner_text()
    assert re.fullmatch(r"wk_live_\w+", text)
    shot(page, f"{name}-key", full_page=True)
    assert ApiKey.objects.filter(tenant__name="Studio 星河", name="server").count() == 1

    for address, button in (("tenants/apikey/", "tenants/apikey/new/"), ("tenants/tenantmember/", "tenants/tenantmember/new/")):
        page.goto(f"/console/{address}")
        assert "9999" not in page.inner_text("body")  # rows of a short list are counted
        page.click(f"a.waule-tool[href='/console/{button}']")
        page.locator("#page-form").wait_for()

    for address in PAGES:
        page.goto(f"/console/{address}")
        assert_fits(page, address)
        shot(page, f"{name}-{address.replace('/', '-') or 'used-'}", full_page=True)
