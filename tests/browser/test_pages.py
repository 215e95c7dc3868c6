"""A tenant's page with its tabs, and the first page: in English and in Chinese, light and dark, wide and narrow."""

from datetime import timedelta
from uuid import UUID

import pytest
from django.utils import timezone

from aiservices.generations.models import Generation
from aiservices.monitoring import daily_stats as outcomes
from billing import services
from billing.budgets.models import Budget
from billing.catalog.models import AIModel, BillingRule
from billing.catalog.usage import UsageRequest
from billing.ledger.models import Account, Charge, Hold, LedgerEntry
from billing.monitoring import daily_stats as figures
from storage.models import StorageUsage
from tenants.models import Tenant
from tenants.principal import Principal
from tenants.services import create_api_key
from tests.browser.conftest import log_in
from waule.core.ids import uuid7_floor

TABS = {
    "en": ("Credits", "API keys", "Models", "Storage", "Statement"),
    "zh-hans": ("积分", "API 密钥", "模型", "存储", "对账单"),
}


@pytest.fixture
def busy(live_waule, acme, root):
    """Acme, which has been a customer for some weeks."""
    account = Account.objects.get(tenant=acme, mode="live")
    balance = 1000
    for back in range(28, 0, -1):
        balance += 4000 if back % 9 == 0 else -17 * (back % 11)
        seq = account.entries.count() + 1
        kind, why = ("RECHARGE", "invoice") if back % 9 == 0 else ("CONSUME", "image_generation")
        LedgerEntry.objects.create(
            account=account, seq=seq, kind=kind, amount=-17, balance=balance, spendable=balance, description=why,
            hash="0" * 64, created_at=timezone.now() - timedelta(days=back),
        )  # fmt: skip
    Account.objects.filter(pk=account.pk).update(balance=balance, last_seq=seq)
    for name in ("shop", "backend"):
        create_api_key(tenant=acme, name=name, actor="test")
    for name in ("Gemini 2.5 Flash Image", "Sora 2 Landscape"):
        AIModel.objects.create(model_id=name.lower().replace(" ", "-"), name=name, provider="sandbox", type="IMAGE_GENERATION")
    Budget.objects.create(tenant=acme, period="month", limit_credits=5000)
    StorageUsage.objects.create(tenant=acme, used_bytes=734_003_200, quota_bytes=1 << 30)
    return acme


@pytest.fixture
def weeks(busy):
    """Two weeks of uses, rejections and failures, added up."""
    models = list(AIModel.objects.order_by("name"))
    account = Account.objects.get(tenant=busy, mode="live")
    test_account = Account.objects.get(tenant=Tenant.objects.create(name="Xinghe Studio 星河影业"), mode="live")
    for back in range(13, -1, -1):
        then = timezone.now() - timedelta(days=back)
        for number in range(3 + back * 7 % 5):
            key = UUID(int=uuid7_floor(then).int + number)
            owner = account if number % 3 else test_account
            model = models[number % len(models)]
            Charge.objects.create(id=key, account=owner, model=model, credits=120 + 60 * number, created_at=then)
            state, code = ("failed", "content_refused") if number == 2 else ("succeeded", "")
            Generation.objects.create(
                id=key, type="video" if number % 2 else "image", tenant=busy, model=model, prompt="水墨画：江南小桥流水人家",
                state=state, error_code=code, created_at=then, started_at=then,
                completed_at=then + timedelta(seconds=4 + back % 4 + 40 * (number % 2)),
            )  # fmt: skip
    figures.add_up()
    outcomes.add_up()
    figures.count(figures.REJECTIONS, {"insufficient_credits": 41, "daily_limit": 17, "model_not_enabled": 3})
    target = Principal("tenant", str(busy.pk))
    AIModel.objects.filter(pk=models[0].pk).update(model_id="held")
    BillingRule.objects.create(name="held", model=models[0], billing_type="PER_REQUEST", base_credits=9)
    for age in (0, 0, 2, 30):
        made = services.hold(target=target, use=UsageRequest(model="held"), actor="test", expires_in_seconds=86400).hold
        Hold.objects.filter(pk=made.pk).update(created_at=timezone.now() - timedelta(hours=age))


WORDS = {"en": ("Refused, by reason", "Not enough credits", "Up to a day"), "zh-hans": ("被拒绝", "积分不足", "一天以内")}


@pytest.mark.parametrize("language", WORDS)
def test_the_first_page_tells_the_last_two_weeks(open_page, weeks, shot, language):
    page = log_in(open_page(locale=language, color_scheme="dark" if language == "en" else "light", height=1400))
    page.locator("canvas.chart").nth(2).wait_for(state="visible")
    for words in WORDS[language]:
        assert page.get_by_text(words).first.is_visible()
    shot(page, f"first-page-{language}", full_page=True)
    page.set_viewport_size({"width": 390, "height": 844})
    page.reload()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    shot(page, f"first-page-phone-{language}", full_page=True)


@pytest.mark.parametrize("language", TABS)
def test_a_tenants_page_has_tabs(open_page, busy, shot, language):
    page = log_in(open_page(locale=language, color_scheme="light" if language == "en" else "dark"))
    page.goto(f"/admin/tenants/tenant/{busy.pk}/change/")
    shows = {0: "canvas", 1: "text=backend", 2: "text=Sora 2 Landscape", 3: "[name=storage-0-quota_bytes]", 4: "text=#29"}
    for number, title in enumerate(TABS[language]):
        page.click(f"#tabs-wrapper a:has-text('{title}')")
        page.locator(shows[number]).first.wait_for(state="visible")
        assert page.locator("[name=name]").is_hidden()
        shot(page, f"tenant-{number}-{language}")
    page.click(f"#tabs-wrapper a:has-text('{TABS[language][2]}')")
    page.check("label:has-text('Sora 2 Landscape') input")
    page.click("[name=_continue]")
    page.locator("text=Sora 2 Landscape").wait_for(state="visible")  # the same tab is open again
    busy.refresh_from_db()
    assert len(busy.enabled_models) == 2
    page.set_viewport_size({"width": 390, "height": 844})
    for slug in ("credits", "statement"):
        page.goto(f"/admin/tenants/tenant/{busy.pk}/change/#{slug}")
        page.reload()
        page.locator(f"#{slug}-group").wait_for(state="visible")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        shot(page, f"tenant-phone-{slug}-{language}", full_page=True)
