"""Prices, budgets and outcomes, as finance sees them: in English, then the same pages in Chinese."""

import pytest

from aiservices.generations.models import Generation
from billing import services
from billing.budgets.limits import OverBudget
from billing.budgets.models import Budget
from billing.catalog.models import BillingPrice, BillingRule
from billing.catalog.usage import UsageRequest
from billing.ledger.models import Account
from billing.monitoring import alerts
from billing.monitoring.models import AlertThreshold
from tenants.principal import Principal
from tests.browser.conftest import log_in
from tests.catalog import priced_model

WORDS = {
    "en": {
        "steps": "Times the quantity of 3.",
        "publish": "Publish",
        "worked": "Settle as succeeded and charge",
        "charge": "Charge",
        "rehearse": "Rehearse",
        "show": "Show the price",
    },
    "zh-hans": {
        "steps": "乘以数量 3",
        "publish": "发布",
        "worked": "判定为成功并扣费",
        "charge": "扣费",
        "rehearse": "预演",
        "show": "显示价格",
    },
}


@pytest.fixture
def sold(live_waule, acme):
    """Acme has bought pictures for 15 credits; the outcome of one is unknown."""
    model = priced_model("flash", base=15, billing_type="PER_IMAGE")
    BillingPrice.objects.create(rule=BillingRule.objects.get(), dimension="resolution", value="2K", credits=30)
    target = Principal("tenant", str(acme.id))
    for number in range(6):
        services.charge(target=target, use=UsageRequest(model="flash", quantity=number + 1), actor="gateway")
    held = services.hold(target=target, use=UsageRequest(model="flash"), actor="gateway", pinned=True).hold
    services.mark_unknown(hold_id=str(held.id), actor="gateway")
    Budget.objects.create(tenant=acme, period="month", limit_credits=5000)
    AlertThreshold.objects.update_or_create(account=Account.objects.get(tenant=acme, mode="live"), defaults={"low_balance": 800})
    return Generation.objects.create(
        type="image", tenant=acme, model=model, prompt="水墨画", state="unknown", outcome="unknown", hold=held
    )


@pytest.mark.parametrize("language", WORDS)
def test_prices_are_simulated_rehearsed_and_an_outcome_is_decided(open_page, root, sold, acme, shot, language):
    words = WORDS[language]
    page = log_in(open_page(locale=language, color_scheme="dark" if language == "en" else "light"))
    page.goto("/admin/price-simulator/")
    page.select_option("[name=model]", str(sold.model_id))
    page.fill("[name=quantity]", "3")
    page.fill("[name=resolution]", "2K")
    page.click(f"button:has-text('{words['show']}')")
    assert words["steps"] in page.content()
    assert "90" in page.locator(".waule-card-value").inner_text()
    shot(page, f"simulator-{language}", full_page=True)

    page.goto("/admin/catalog-rehearsal/")
    text = page.locator("textarea[name=text]")
    text.fill(text.input_value().replace("baseCredits: 15", "baseCredits: 20"))
    page.click(f"button:has-text('{words['rehearse']}')")
    assert "+105" in page.content()  # 21 pictures at 5 more
    shot(page, f"rehearsal-{language}", full_page=True)
    page.click(f"button:has-text('{words['publish']}')")
    page.wait_for_load_state()
    assert BillingRule.objects.get().base_credits == 20

    page.goto(f"/admin/aiservices/generation/{sold.pk}/change/")
    page.click(f"text={words['worked']}")
    page.fill("[name=reason]", "seen on the provider's page")
    shot(page, f"unknown-{language}")
    page.click(f"form button:has-text('{words['charge']}')")
    page.wait_for_load_state()
    sold.refresh_from_db()
    assert (sold.state, sold.credits_charged) == ("succeeded", 15)

    account = Account.objects.get(tenant=acme, mode="live")
    for name, address in {
        "statement": f"/admin/billing/account/{account.pk}/statement/",
        "budgets": "/admin/billing/budget/",
        "thresholds": "/admin/billing/alertthreshold/",
        "alerts": "/admin/billing/alert/",
        "versions": "/admin/billing/catalogversion/",
    }.items():
        answer = page.goto(address)
        assert answer.status == 200, name
        shot(page, f"{name}-{language}")
    page.set_viewport_size({"width": 390, "height": 844})
    for name, address in {
        "simulator": "/admin/price-simulator/",
        "rehearsal": "/admin/catalog-rehearsal/",
    }.items():
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
        shot(page, f"{name}-phone-{language}")


SAID = {"en": ("Low balance", "Budget used"), "zh-hans": ("余额过低", "预算使用")}


@pytest.mark.parametrize("language", SAID)
def test_a_budget_and_a_threshold_are_set_and_an_alert_is_seen(open_page, root, sold, acme, shot, language):
    Budget.objects.all().delete()
    AlertThreshold.objects.all().delete()
    page = log_in(open_page(locale=language, color_scheme="light" if language == "en" else "dark"))

    def choose(name, text):
        page.click(f"#id_{name} + .select2")
        page.fill(".select2-search__field", text)
        page.get_by_role("option", name=text, exact=True).click()  # not the test account

    page.goto("/admin/billing/budget/add/")
    choose("tenant", "Acme")
    page.select_option("[name=period]", "day")
    page.fill("[name=limit_credits]", "340")
    page.click("[name=_continue]")
    page.get_by_text("330 (97 %)").wait_for()  # 315 charged, 15 held
    shot(page, f"budget-{language}")
    with pytest.raises(OverBudget):
        services.charge(target=Principal("tenant", str(acme.id)), use=UsageRequest(model="flash"), actor="gateway")

    page.goto("/admin/billing/alertthreshold/add/")
    choose("account", "Acme")
    page.fill("[name=low_balance]", "900")
    page.click("[name=_save]")
    page.locator("#result_list").get_by_text("900").wait_for()
    alerts.check()
    page.goto("/admin/billing/alert/")
    for words in SAID[language]:
        page.locator("#result_list").get_by_text(words).first.wait_for()
    shot(page, f"alerts-raised-{language}")
    page.locator("#result_list tbody a").first.click()
    page.get_by_text("Acme").first.wait_for()
    shot(page, f"alert-{language}")
