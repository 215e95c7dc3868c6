"""Above a limit: one person asks in her browser, the other approves in his."""

import pytest
from django.contrib.auth.models import Group

from billing.approvals.models import ApprovalRequest
from billing.ledger.models import Account
from tenants.models import User
from tests.browser.conftest import PASSWORD, log_in


@pytest.fixture
def ann_and_bob(any_database):
    for name in ("ann", "bob"):
        user = User.objects.create_user(name, password=PASSWORD, is_staff=True)
        user.groups.add(Group.objects.get(name="finance"))


def give_password(page):
    page.fill("[name=password]", PASSWORD)
    page.click("form.waule-door button[type=submit]")


@pytest.mark.parametrize(("locale", "width"), [("en-US", 1440), ("zh-CN", 390)])
def test_one_asks_and_the_other_approves(open_page, live_waule, acme, ann_and_bob, shot, locale, width):
    live_waule.environ["APPROVAL_ABOVE_CREDITS"] = "10000"
    account = Account.objects.get(tenant=acme, mode="live")
    ann = log_in(open_page(locale=locale, width=width), "ann", confirm=False)
    ann.wait_for_url("**/admin/")
    ann.goto(f"/admin/billing/account/{account.pk}/grant/")
    give_password(ann)
    ann.wait_for_selector("#money-form")
    assert "10,000" in ann.inner_text("#money-form")  # said before anything is typed
    ann.fill("[name=credits]", "50000")
    ann.fill("[name=reason]", "Invoice 2026-118")
    shot(ann, f"ask-{locale}")
    ann.click("#money-form button[type=submit]")
    ann.wait_for_selector("[name=confirmed]", state="attached")
    assert "10,000" in ann.inner_text("#money-form")  # and before the click that asks
    shot(ann, f"ask-confirm-{locale}")
    ann.click("#money-form button[type=submit]")
    ann.wait_for_url("**/approvalrequest/*/change/")
    row = ApprovalRequest.objects.get()
    assert ann.locator(f"a[href$='{row.pk}/approve/']").count() == 0
    shot(ann, f"asked-{locale}")
    bob = log_in(open_page(locale=locale, width=width), "bob", confirm=False)
    bob.wait_for_url("**/admin/")
    bob.goto("/admin/billing/approvalrequest/")
    shot(bob, f"approvals-{locale}")
    bob.click("#result_list a[href*='/change/']")
    approve = bob.locator(f"a[href$='{row.pk}/approve/']")
    bob.goto(approve.get_attribute("href"))  # on a phone it is in a menu
    give_password(bob)
    bob.wait_for_selector("#page-form")
    assert "Invoice 2026-118" in bob.inner_text("#page-form")
    shot(bob, f"approve-{locale}")
    bob.click("#page-form button[type=submit]")
    bob.wait_for_url("**/change/")
    shot(bob, f"approved-{locale}")
    account.refresh_from_db()
    row.refresh_from_db()
    assert (account.balance, row.state) == (51000, "done")
    assert bob.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
