"""What an operator does in a morning, with a mouse."""

from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from django.utils import timezone
from django_otp.oath import totp
from PIL import Image, ImageDraw

from aiservices.credentials.models import GeminiKey, SoraToken
from aiservices.generations.models import Generation
from billing.catalog.models import AIModel, BillingRule
from billing.catalog.usage import UsageRequest
from billing.ledger.models import Account, Charge, LedgerEntry
from billing.monitoring import daily_stats as figures
from billing.services import charge, grant
from tenants.models import ApiKey, AuthenticatorDevice, Tenant
from tenants.principal import Principal
from tenants.services import create_api_key
from tests.browser.conftest import PASSWORD, log_in
from waule.core.crypto.encryption import keyed_hash, mask
from waule.core.ids import uuid7_floor

PROMPTS = (
    "A lighthouse on a basalt cliff at dawn, long exposure, mist over the sea",
    "水墨画：江南小桥流水人家，细雨，远山如黛",
    "Product photo of a ceramic teapot, soft window light, linen backdrop",
    "<script>alert('x')</script> <img src=x onerror=alert(1)> a friendly whale",
    "Isometric city block at night, neon signs, light rain, cinematic",
    "赛博朋克风格的猫，霓虹灯，8K，细节丰富",
)


def paint(path: Path, hue: int) -> None:
    """A small picture that looks like something."""
    picture = Image.new("HSV", (512, 512), (hue, 140, 235))
    draw = ImageDraw.Draw(picture)
    for ring in range(9):
        inset = 30 * ring
        draw.ellipse(
            (inset, inset + 60, 512 - inset, 572 - inset), fill=((hue + 12 * ring) % 255, 120 + 10 * ring, 240 - 14 * ring)
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.convert("RGB").save(path)


@pytest.fixture
def demo(live_waule, acme, birch, root, alice):
    """A platform that has been at work for a while."""
    for name in ("Xinghe Studio 星河影业", "Blue Whale", "Orange Labs"):
        tenant = Tenant.objects.create(name=name, enabled_models=["*"])
        target = Principal(kind="tenant", id=str(tenant.pk))
        grant(
            target=target, credits=20_000, kind="RECHARGE", reason="invoice", actor="test", idempotency_key=f"start-{tenant.pk}"
        )
    image = AIModel.objects.create(
        model_id="gemini-2.5-flash-image", name="Gemini 2.5 Flash Image", provider="gemini", type="IMAGE_GENERATION"
    )
    video = AIModel.objects.create(
        model_id="sora2-landscape-10s", name="Sora 2 Landscape", provider="sora", type="VIDEO_GENERATION"
    )
    BillingRule.objects.create(name="flash image", model=image, billing_type="PER_IMAGE", base_credits=15)
    BillingRule.objects.create(name="sora seconds", model=video, billing_type="PER_REQUEST", base_credits=120)
    media = Path(live_waule.environ["MEDIA_ROOT"])
    states = ["succeeded", "succeeded", "succeeded", "failed", "running", "succeeded"]
    made = []
    for number, (prompt, state) in enumerate(zip(PROMPTS, states, strict=True)):
        owner = Tenant.objects.order_by("id")[number % 3 + 2]
        is_video = number == 4
        model = video if is_video else image
        done = state == "succeeded"
        use = UsageRequest(model=str(model.pk), operation="video" if is_video else "image")
        paid = charge(target=Principal(kind="tenant", id=str(owner.pk)), use=use, actor="gateway").charge if done else None
        outputs = []
        if done:
            paint(media / f"results/{number}.png", 40 * number)
            outputs = [{"url": f"{live_waule.url}/media/results/{number}.png", "contentType": "image/png"}]
        made.append(
            Generation.objects.create(
                type="video" if is_video else "image",
                tenant=owner,
                model=model,
                prompt=prompt,
                state=state,
                outputs=outputs,
                charge=paid,
                credits_charged=paid.credits if paid else 0,
                parameters={"ratio": "1:1", "resolution": "1K", "quantity": 1},
                error_code="content_refused" if state == "failed" else "",
                error_message="The provider refused the prompt." if state == "failed" else "",
                started_at=timezone.now(),
                completed_at=timezone.now() if done else None,
            )
        )
    for back, credits in enumerate((410, 520, 480, 760, 640, 300, 280, 590, 720, 690, 810, 540, 450), start=1):
        then = timezone.now() - timedelta(days=back)
        account = Account.objects.filter(tenant__name="Blue Whale", mode="live").get()
        Charge.objects.create(
            id=UUID(int=uuid7_floor(then).int + 1), account=account, model=image, credits=credits, created_at=then
        )
    figures.add_up()
    for number, state in enumerate(("ready", "cooling", "quota_exhausted", "invalid")):
        secret = f"eyPlanted{number}.secret.0123456789abcdef"
        SoraToken.objects.create(
            email=f"pool{number}@example.com",
            secret=secret,
            fingerprint=keyed_hash(secret),
            masked=mask(secret),
            state=state,
            is_active=number != 3,
            cooling_until=timezone.now() + timedelta(hours=2) if state == "cooling" else None,
        )
        key = f"AIzaPlanted{number}0123456789"
        GeminiKey.objects.create(
            name=f"project {number}", secret=key, fingerprint=keyed_hash(key), masked=mask(key), state="ready"
        )
    return made


def test_credits_are_granted(open_page, live_waule, acme, root, shot):
    page = log_in(open_page())
    page.click("#nav-sidebar a:has-text('Tenants')")
    page.click("#result_list a:has-text('Acme')")
    page.click("#tabs-wrapper a:has-text('Credits')")
    shot(page, "tenant")
    page.click(".waule-panel-row:has-text('Live') >> text=Grant")
    page.fill("[name=credits]", "500")
    page.fill("[name=reason]", "Invoice 2026-117")
    shot(page, "grant")
    page.click("#money-form button[type=submit]")
    page.get_by_text("Please check, then confirm.").wait_for()
    shot(page, "grant-confirm")
    page.click("#money-form button[type=submit]")
    page.get_by_text("1,500 credits can be spent now").wait_for()
    page.click("a:has-text('Ledger'):not(#nav-sidebar a)")
    row = page.locator("#result_list tbody", has_text="Invoice 2026-117")
    assert "+500" in row.inner_text()
    shot(page, "ledger")
    entry = LedgerEntry.objects.get(description="Invoice 2026-117")
    assert (entry.amount, entry.balance, entry.actor) == (500, 1500, "admin:root")


def test_a_picture_is_seen(open_page, demo, shot):
    page = log_in(open_page())
    shot(page, "dashboard", full_page=True)
    page.click("#nav-sidebar a:has-text('Generations')")
    thumb = page.locator("#result_list img.waule-thumb").first
    thumb.wait_for()
    assert thumb.evaluate("picture => picture.complete && picture.naturalWidth") == 512
    assert page.locator("#result_list script").count() == 0
    shot(page, "generations")
    page.click("#result_list a:has-text('lighthouse')")
    large = page.locator("img.waule-result")
    large.wait_for()
    assert large.evaluate("picture => picture.decode().then(() => picture.naturalWidth)") == 512
    assert large.bounding_box()["width"] >= 300
    shot(page, "generation", full_page=True)


def test_what_a_tenant_generated_is_seen(open_page, live_waule, acme, root, shot):
    model = AIModel.objects.create(model_id="painter", name="Painter", provider="sandbox", type="IMAGE_GENERATION")
    BillingRule.objects.create(name="painter", model=model, billing_type="PER_IMAGE", base_credits=15)
    _key, plaintext = create_api_key(tenant=acme, name="shop", actor="test")
    answer = live_waule.post(
        "/v1/images/generations",
        {"model": "painter", "prompt": "a whale at dusk", "size": "512x512"},
        headers={"Authorization": f"Bearer {plaintext}"},
    )
    assert answer.status_code == 200, answer.text
    page = log_in(open_page())
    page.click("#nav-sidebar a:has-text('Generations')")
    page.click("#result_list a:has-text('a whale at dusk')")
    large = page.locator("img.waule-result")
    assert large.evaluate("picture => picture.decode().then(() => picture.naturalWidth)") == 512
    assert page.get_by_text("Succeeded").count()
    shot(page, "generated")
    page.click("a[href*='/billing/charge/']:has-text('15')")
    page.get_by_text("Charged", exact=True).first.wait_for()


def test_a_key_is_shown_once(open_page, acme, root, shot):
    page = log_in(open_page(permissions=["clipboard-read", "clipboard-write"]))
    page.goto(f"/admin/tenants/tenant/{acme.pk}/change/")
    page.click("#tabs-wrapper a:has-text('API keys')")
    page.click("text=New API key")
    page.fill("[name=name]", "shop")
    shot(page, "key-form")
    page.click("#page-form button[type=submit]")
    plaintext = page.locator("#new-api-key").inner_text()
    assert plaintext.startswith("wk_live_")
    page.click("[data-copy]")
    page.get_by_text("Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == plaintext
    shot(page, "key")
    page.click("text=I have kept it")
    page.get_by_text("shop").first.wait_for()
    assert plaintext not in page.content()
    assert ApiKey.objects.get().masked in page.content()


def test_a_gemini_key_is_added(open_page, root, shot):
    page = log_in(open_page())
    page.goto("/admin/aiservices/geminikey/add/")
    page.fill("[name=name]", "project one")
    page.fill("[name=secret]", "AIzaPlantedForTheBrowser0001")
    shot(page, "gemini-key")
    page.click("[name=_save]")
    page.locator("#result_list", has_text="…0001").wait_for()
    assert GeminiKey.objects.get().secret == "AIzaPlantedForTheBrowser0001"
    page.click("#result_list a:has-text('project one')")
    page.fill("[name=name]", "project two")
    page.click("[name=_save]")
    page.locator("#result_list", has_text="project two").wait_for()
    assert GeminiKey.objects.get().secret == "AIzaPlantedForTheBrowser0001"


def test_a_second_factor_is_asked_for(open_page, root, shot):
    device = AuthenticatorDevice.objects.create(user=root, name="authenticator")
    page = log_in(open_page(), confirm=False)
    page.get_by_text("Type the six digits").wait_for()
    shot(page, "second-factor")
    page.fill("[name=code]", f"{totp(device.bin_key):06d}")
    page.click(".waule-door button[type=submit]")
    page.wait_for_url("**/admin/")
    page.goto("/admin/second-factor/setup/")
    AuthenticatorDevice.objects.update(last_t=-1)  # else the next code would have to be waited for
    page.fill("[name=password]", PASSWORD)
    page.fill("[name=code]", f"{totp(device.bin_key):06d}")
    page.click(".waule-door button[type=submit]")
    code = page.locator("img.waule-qr")
    code.wait_for()
    assert code.evaluate("picture => picture.decode().then(() => picture.naturalWidth > 0)")
    shot(page, "second-factor-setup")


def test_the_language_is_switched(open_page, root, shot):
    page = log_in(open_page())
    page.locator("text=root").last.click()
    page.click("button:has-text('简体中文')")
    page.wait_for_load_state()
    assert page.locator("html").get_attribute("lang") == "zh-hans"
    shot(page, "chinese")
    page.locator("text=root").last.click()
    page.click("button:has-text('English')")
    page.wait_for_load_state()
    assert page.locator("html").get_attribute("lang") == "en"


PAGES = ("", "aiservices/generation/", "aiservices/soratoken/", "billing/ledgerentry/", "billing/account/", "tenants/user/")


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (1440, "dark"), (390, "light"), (390, "dark")])
def test_pages_fit(open_page, demo, shot, width, scheme):
    page = log_in(open_page(width=width, color_scheme=scheme, height=844 if width == 390 else 900))
    for address in PAGES:
        page.goto(f"/admin/{address}")
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, address
        shot(page, f"{width}-{scheme}-{address.strip('/').replace('/', '-') or 'dashboard'}", full_page=width == 390)
