"""An operator's day: the first page, the search, a tenant on one page and a complaint answered, in both languages."""

import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from aiservices.credentials.models import CredentialLease, GeminiKey
from aiservices.generations.models import Generation
from aiservices.monitoring import daily_stats as outcomes
from billing import services
from billing.budgets.models import Budget
from billing.catalog.models import AIModel, BillingRule
from billing.catalog.usage import UsageRequest
from billing.ledger.models import Charge
from billing.monitoring import daily_stats as figures
from storage.models import StorageUsage
from tenants import audit
from tenants.models import TenantMember
from tenants.principal import Principal
from tenants.services import create_api_key
from tests.books import give
from tests.browser.conftest import log_in, too_wide

PROMPT = "水墨画：江南小桥流水人家，a very slow albatross over a basalt cliff at dawn"
SETTINGS = {"en": "light", "zh-hans": "dark"}
WIDTHS = (1440, 390)


@pytest.fixture
def complaint(live_waule, acme, alice, root):
    """Acme, a generation of it that took two credentials, its near-twin, and a failed one."""
    model = AIModel.objects.create(model_id="flash", name="Flash", provider="gemini", type="IMAGE_GENERATION")
    BillingRule.objects.create(name="flash", model=model, billing_type="PER_REQUEST", base_credits=15)
    key, _plaintext = create_api_key(tenant=acme, name="shop", actor="admin:root")
    Budget.objects.create(tenant=acme, api_key=key, period="month", limit_credits=40)
    Budget.objects.create(tenant=acme, period="day", limit_credits=5000)
    TenantMember.objects.create(tenant=acme, user=alice, role="owner")
    StorageUsage.objects.create(tenant=acme, used_bytes=734_003_200, quota_bytes=1 << 30)
    audit.record(actor="admin:root", action="tenant.change", target=acme, reason="the name of the new owner")
    give(alice, 50)
    target, now = Principal("tenant", str(acme.pk), api_key_id=key.pk), timezone.now()
    made = []
    for number in range(2):
        paid = services.charge(target=target, use=UsageRequest(model="flash"), actor="generation").charge
        made.append(
            Generation.objects.create(
                type="image", tenant=acme, api_key=key, model=model, prompt=PROMPT, state="succeeded", charge_id=paid.id,
                credits_charged=15, created_at=now - timedelta(seconds=60 - 20 * number), started_at=now - timedelta(seconds=59),
                called_at=now - timedelta(seconds=58), completed_at=now - timedelta(seconds=30), route="gemini",
                request_id=f"req_{uuid.uuid4().hex}", upstream_id=f"models/flash/operations/{uuid.uuid4().hex}", attempt=1,
            )
        )  # fmt: skip
    Generation.objects.create(
        type="image", tenant=acme, model=model, prompt="x", state="failed", error_code="upstream_timeout", created_at=now
    )
    for number, (outcome, said) in enumerate((("quota_exhausted", "You exceeded your current quota, please check"), ("ok", ""))):
        credential = GeminiKey.objects.create(
            name=f"project {number}", secret=f"AIzaPlanted{number}", fingerprint=f"{number}", masked=f"…nted{number}"
        )
        began_at = now - timedelta(seconds=57 - 20 * number)
        CredentialLease.objects.create(
            provider="gemini", credential_id=credential.pk, model="flash", generation_id=made[0].pk, created_at=began_at,
            expires_at=now, ended_at=began_at + timedelta(seconds=4.2), outcome=outcome, message=said,
        )  # fmt: skip
    figures.add_up()
    outcomes.add_up()
    return made[0]


FIRST_PAGE = {
    "en": ("not checked yet", "Needs attention", "Most credits today", "At this hour:", "Grants today", "Refunds today"),
    "zh-hans": ("尚未对账", "需要处理", "今日用量最多", "同一时刻：", "今日发放", "今日退款"),
}
OVERVIEW = {
    "en": ("API keys and budgets", "30 / 40", "Last errors", "Members", "Used this month", "of 1.0", "tenant: changed"),
    "zh-hans": ("API 密钥与预算", "30 / 40", "Members", "本月", "配额 1.0"),
}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("language", SETTINGS)
def test_the_morning_and_a_tenant_on_one_page(open_page, complaint, acme, alice, shot, language, width):
    page = log_in(open_page(locale=language, color_scheme=SETTINGS[language], width=width), confirm=False)
    for words in FIRST_PAGE[language]:
        assert page.get_by_text(words).first.is_visible(), words
    assert too_wide(page) == []
    shot(page, f"day-morning-{language}-{width}", full_page=True)
    page.click(".waule-share a:has-text('Acme')")
    page.wait_for_url("**/overview/")
    page.get_by_text("30 / 40").wait_for()
    assert too_wide(page) == []
    shot(page, f"day-tenant-{language}-{width}", full_page=True)
    page.click("#overview a:has-text('alice')")
    page.wait_for_url(f"**/{alice.pk}/overview/")
    page.get_by_text("1,050").first.wait_for()
    assert too_wide(page) == []
    shot(page, f"day-user-{language}-{width}", full_page=True)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("language", SETTINGS)
def test_a_complaint_is_found_and_answered(open_page, complaint, acme, shot, language, width):
    page = log_in(open_page(locale=language, color_scheme=SETTINGS[language], width=width))
    box = page.locator("#search-input-command")
    page.keyboard.press("Control+k")
    box.wait_for(state="visible")
    box.press_sequentially("小桥 albatross")
    page.locator("#command-results-list li").nth(1).wait_for()
    assert too_wide(page) == []
    shot(page, f"day-search-words-{language}-{width}")
    box.fill("")
    box.press_sequentially("nothing-of-that-name")
    page.locator("#search-nothing").wait_for()
    shot(page, f"day-search-nothing-{language}-{width}")
    box.fill("")
    box.press_sequentially(complaint.request_id[9:22].upper())
    page.locator("#command-results-list li").wait_for()
    shot(page, f"day-search-id-{language}-{width}")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/{complaint.pk}/change/")
    story = page.locator("#generation-story")
    for words in ("project 0", "project 1", "You exceeded your current quota", "4.2 s"):
        assert story.get_by_text(words).first.is_visible(), words
    assert story.locator(".waule-twin").count() == 1
    assert too_wide(page) == []
    shot(page, f"day-story-{language}-{width}", full_page=True)
    story.locator("#generation-paid a").click()
    page.fill("[name=reason]", "charged twice")
    for _confirmation in range(2):
        page.click("#money-form button[type=submit]")
    page.wait_for_url("**/charge/**")
    assert Charge.objects.get(pk=complaint.charge_id).refunded == 15


@pytest.mark.parametrize("language", SETTINGS)
def test_the_box_opens_the_search(open_page, acme, root, language):
    page = log_in(open_page(locale=language), confirm=False)
    page.click("#open-search")
    page.locator("#search-input-command").press_sequentially("acm")
    page.locator("#command-results-list a:has-text('Acme')").click()
    page.wait_for_url(f"**/{acme.pk}/overview/")
