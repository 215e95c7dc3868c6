"""The page "AI services", as an operator uses it on a bad day, in both languages."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone, translation
from django.utils.translation import gettext, ngettext
from playwright.sync_api import Page
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from aiservices.credentials.models import GeminiKey, SoraToken
from aiservices.generations.models import Generation
from aiservices.monitoring.models import HealthCheck, Service
from billing.catalog.models import AIModel, BillingRule
from tenants.models import Tenant, User
from tenants.services import create_api_key
from tests.aiservices.credential_rows import access_token, key, token
from tests.books import give
from tests.live import LiveWaule
from tests.upstreams.sora_service import PASSWORD, USERNAME, SoraService
from waule.core.ids import uuid7

LANGUAGES = {"en": "en-US", "zh-hans": "zh-CN"}
PAGE = "/admin/ai-services/"


@pytest.fixture(scope="module")
def sora_service() -> Iterator[SoraService]:
    service = SoraService()
    yield service
    service.stop()


def gemini(request: Request) -> Response:
    """Its list of models, for keys that do not say that they are dead."""
    if "dead" in request.headers["x-goog-api-key"]:
        reason = {"error": {"code": 400, "message": "API key not valid.", "details": [{"reason": "API_KEY_INVALID"}]}}
        return Response(str(reason).replace("'", '"'), status=400, content_type="application/json")
    return Response('{"models": []}', content_type="application/json")


@pytest.fixture(scope="module")
def site(standing_waule: LiveWaule, sora_service: SoraService, django_db_blocker: Any) -> Iterator[LiveWaule]:
    with HTTPServer(host="127.0.0.1", port=0) as upstream:
        upstream.expect_request("/v1beta/models").respond_with_handler(gemini)
        standing_waule.environ |= {
            "SORA_API_URL": sora_service.url,
            "SORA_API_USERNAME": USERNAME,
            "SORA_API_PASSWORD": PASSWORD,
            "GEMINI_API_URL": upstream.url_for("/v1beta"),
            "OPENAI_API_KEY": "",
        }
        with django_db_blocker.unblock(), standing_waule.database.as_default():
            yield standing_waule


@pytest.fixture(scope="module")
def session(site: LiveWaule) -> dict[str, Any]:
    """Root's, logged in once for all tests of the file, as Chromium keeps it."""
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    cookie = {"name": settings.SESSION_COOKIE_NAME, "value": client.cookies[settings.SESSION_COOKIE_NAME].value}
    where = {"domain": "127.0.0.1", "path": "/", "expires": -1, "httpOnly": True, "secure": False, "sameSite": "Lax"}
    return {"cookies": [cookie | where], "origins": []}


@pytest.fixture
def visit(open_page: Any, session: dict[str, Any]) -> Any:
    """Opens the page in a language: `visit("zh-hans", width=390)`."""

    def make(language: str, **options: Any) -> Page:
        page: Page = open_page(locale=LANGUAGES[language], storage_state=session, **options)
        page.goto(PAGE)
        return page

    return make


@pytest.fixture(params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> Iterator[str]:
    """Of the reader; the test names buttons in it with `gettext`."""
    with translation.override(request.param):
        yield request.param


def row(page: Page, name: str) -> Any:
    return page.locator(".waule-cred", has_text=name)


def press(page: Page, name: str, act: str) -> None:
    row(page, name).get_by_label(gettext(act), exact=True).click()


def told(page: Page, text: str | re.Pattern[str]) -> None:
    page.get_by_text(text).first.wait_for()


# Names, codes, and words that are the same in both languages.
_SAME = re.compile(
    r"(?ia)…\w+|\(\w+\)|\S+@\S+|\b(waule|sora\S*|gemini\S*|api|csv|ai|ms|root|admin:root|sandbox|webhooks?|ctrl|OPENAI(_API_KEY)?|"
    # … and a provider's own words
    r"painter\S*|project\S*|landscape|nano banana|image|manage\.py worker|google)\b|[0-9]{3}: [a-z .]+"
)


def is_in_one_language(page: Page, language: str) -> None:
    """Nothing on the page was left in the other one."""
    text = page.locator("body").inner_text()
    icons = page.locator(".material-symbols-outlined").all_inner_texts()
    lines = [line for line in text.splitlines() if line.strip() not in icons]
    if language == "en":
        found = [line for line in lines if re.search(r"[\u4e00-\u9fff]", line) and "简体中文" not in line]
    else:
        found = [line for line in lines if re.search(r"[A-Za-z]{3,}", _SAME.sub("", line)) and line.strip() != "English"]
    assert not found, found


@pytest.mark.parametrize("provider", ["gemini", "sora"])
def test_a_credential_from_adding_to_deleting(visit, site, sora_service, shot, language, provider):
    page = visit(language)
    name = f"project-{language}-{provider}@example.com"
    secret = access_token(name) if provider == "sora" else f"AIza-{uuid7().hex}"
    model = SoraToken if provider == "sora" else GeminiKey
    page.click(f"[data-provider={provider}] .waule-tool:has-text('{gettext('Add')}'):not(:has-text('{gettext('Paste many')}'))")
    page.fill("[name=name]", name)
    page.fill("[name=secret]", secret)
    page.click("[name=_save]")
    page.locator("#result_list", has_text=name).wait_for()
    page.goto(PAGE)
    press(page, name, "Test")
    works = re.escape(gettext("%(name)s works (%(ms)s ms).") % {"name": name, "ms": "MS"})
    told(page, re.compile(works.replace(re.escape(name), f"{re.escape(name)}.*").replace("MS", r"\d+")))
    press(page, name, "Disable")
    page.fill("[name=reason]", f"slow since Monday {provider}" if language == "en" else f"周一起很慢 {provider}")
    shot(page, f"disable-{language}-{provider}")
    page.click("#page-form button[type=submit]")
    told(page, ngettext("%(count)s is disabled.", "%(count)s are disabled.", 1) % {"count": 1})
    assert gettext("Off") in row(page, name).inner_text()
    assert ("slow since Monday" if language == "en" else "周一起很慢") in row(page, name).inner_text()
    assert model.objects.get(name=name).is_active is False
    if provider == "sora":
        assert sora_service.by_secret(secret)["is_active"] is False
    is_in_one_language(page, language)
    press(page, name, "Enable")
    told(page, ngettext("%(count)s is enabled.", "%(count)s are enabled.", 1) % {"count": 1})
    assert model.objects.get(name=name).is_active
    press(page, name, "Delete")
    assert model.objects.filter(name=name).exists()
    shot(page, f"delete-{language}-{provider}")
    page.click("#content form [type=submit]")
    page.locator("#changelist, .errornote, #result_list").first.wait_for()
    page.goto(PAGE)
    assert row(page, name).count() == 0
    if provider == "sora":
        assert sora_service.by_secret(secret) is None
    else:
        assert not model.objects.filter(name=name).exists()


def test_forty_are_pasted_with_three_duplicates(visit, shot, language):
    page = visit(language)
    page.click(f"[data-provider=gemini] .waule-tool:has-text('{gettext('Paste many')}')")
    secrets = [f"AIza-{language}-{number:02}-{uuid7().hex}" for number in range(40)]
    secrets[10], secrets[20], secrets[30] = secrets[0], secrets[1], secrets[2]
    page.fill("[name=secrets]", "\n".join(secrets))
    before = GeminiKey.objects.count()
    page.click("#page-form button[type=submit]")
    lines = page.locator("#pasted .waule-line")
    lines.first.wait_for()
    assert lines.count() == 40
    duplicates = lines.filter(has_text=re.compile(rf"{gettext('duplicate')}", re.IGNORECASE))
    assert [line.get_attribute("data-line") for line in duplicates.all()] == ["11", "21", "31"]
    assert GeminiKey.objects.count() == before + 37
    assert not [secret for secret in secrets if secret in page.content()]
    is_in_one_language(page, language)
    shot(page, f"pasted-{language}")


def test_a_model_is_switched_off_and_a_generation_is_refused(visit, site, shot, language):
    model_id = f"painter-{language}"
    model = AIModel.objects.create(model_id=model_id, name=model_id, provider="sandbox", type="IMAGE_GENERATION")
    BillingRule.objects.create(name=model_id, model=model, billing_type="PER_IMAGE", base_credits=15)
    tenant = Tenant.objects.create(name=f"Acme {language}", enabled_models=["*"])
    give(tenant, 100)
    authorization = {"Authorization": f"Bearer {create_api_key(tenant=tenant, name='shop', actor='test')[1]}"}

    def generate() -> Any:
        body = {"model": model_id, "prompt": "a whale at dusk", "size": "64x64"}
        return site.post("/v1/images/generations", body, headers=authorization)

    page = visit(language)
    reason = "costs too much" if language == "en" else "成本过高"
    page.locator(f"[data-model={model_id}]").get_by_label(gettext("Switch off")).click()
    page.fill("[name=reason]", reason)
    page.fill("[name=until_0]", (datetime.now(UTC) + timedelta(days=2)).strftime("%Y-%m-%d"))
    page.fill("[name=until_1]", "08:00")
    shot(page, f"switch-off-{language}")
    page.click("#page-form button[type=submit]")
    told(page, gettext("%(model)s is off.") % {"model": model_id})
    shown = page.locator(f"[data-model={model_id}]").inner_text()
    assert reason in shown and "admin:root" in shown
    is_in_one_language(page, language)
    refused = generate()
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_disabled")
    assert reason in refused.json()["error"]["message"]
    page.locator(f"[data-model={model_id}]").get_by_label(gettext("Switch on")).click()
    told(page, gettext("%(model)s is on.") % {"model": model_id})
    assert generate().status_code == 200


def test_a_dying_key_and_a_service_that_is_down(visit, sora_service, shot, language):
    dying = key(f"project-dying-{language}", last_used_at=timezone.now())
    dying.secret = f"AIza-dead-{uuid7().hex}"
    dying.save()
    sora_service.stop()
    try:
        page = visit(language)
        press(page, dying.name, "Test")
        trouble = page.locator(".waule-trouble", has_text=dying.name)
        trouble.wait_for()
        assert gettext("The upstream refused it lately; it is tried again after a rest.") in trouble.inner_text()
        page.click("button[name=check]")
        told(page, gettext("%(name)s is down.") % {"name": gettext("Sora service")})
        is_in_one_language(page, language)
        shot(page, f"down-{language}", full_page=True)
        page.click("button[name=sync]")
        page.get_by_text(gettext("The Sora service cannot be asked, nothing was changed: %(why)s").partition("%")[0]).wait_for()
    finally:
        sora_service.start()
    page.click("button[name=check]")
    page.locator(".waule-alarm", has_text=gettext("Sora service")).first.wait_for(state="detached")  # no worker lives here
    GeminiKey.objects.filter(pk=dying.pk).delete()


@pytest.fixture(scope="module")
def busy_day(site: LiveWaule) -> None:
    """A platform on an ordinary day with its ordinary troubles."""
    now = timezone.now()
    GeminiKey.objects.all().delete()
    SoraToken.objects.all().delete()
    AIModel.objects.filter(generations=None).delete()
    image = AIModel.objects.create(
        model_id="gemini-2.5-flash-image", name="Nano Banana", provider="gemini", type="IMAGE_GENERATION"
    )
    video = AIModel.objects.create(
        model_id="sora2-landscape-10s", name="Sora 2 Landscape", provider="sora", type="VIDEO_GENERATION"
    )
    off = {"is_active": False, "disabled_by": "admin:root", "disabled_until": now + timedelta(hours=9)}
    AIModel.objects.create(model_id="sora2-image", name="Sora Image", provider="sora", type="IMAGE_GENERATION", **off)
    tenant = Tenant.objects.create(name="Acme", enabled_models=["*"])
    for model, type_, state, count in (
        (image, "image", "succeeded", 46),
        (video, "video", "succeeded", 17),
        (video, "video", "failed", 2),
        (image, "image", "unknown", 1),
    ):
        for _number in range(count):
            Generation.objects.create(type=type_, tenant=tenant, model=model, prompt="a whale", state=state)
    checks = []
    for back in range(24 * 12):
        at = now - timedelta(minutes=5 * back)
        for place, name in enumerate(("database", "storage", "sora", "gemini", "openai", "sandbox")):
            status = "ok"
            if name == "sora" and 100 < back < 118:
                status = "down"
            elif name == "gemini" and back % 71 == 3:
                status = "degraded"
            elif name == "openai":
                status = "unknown"
            latency_ms = None if status == "unknown" else 3 + place * 37 + back % 11 * place
            checks.append(HealthCheck(service=name, status=status, latency_ms=latency_ms, checked_at=at))
    HealthCheck.objects.bulk_create(checks)
    for name in ("database", "storage", "sora", "gemini", "openai", "sandbox"):
        last = HealthCheck.objects.filter(service=name).latest("checked_at")
        message = "OPENAI_API_KEY is not set." if name == "openai" else ""
        Service.objects.update_or_create(
            name=name, defaults={"status": last.status, "latency_ms": last.latency_ms, "checked_at": now, "message": message}
        )
    day = now.astimezone(timezone.get_default_timezone()).date()
    for number in range(13):
        used = {"day": day, "uses_today": 37 - 2 * number, "last_used_at": now - timedelta(minutes=number)}
        token(
            email=f"pool{number:02}@example.com",
            remote={"sora2_remaining_count": 30 - 2 * number, "sora2_total_count": 30},
            **used,
        )
        key(f"project-{number:02}", daily_limit=40 if number % 3 else -1, **used | {"errors_today": number % 4 // 3})
    latest = {"last_used_at": now, "last_error_at": now - timedelta(minutes=3), "day": day}
    token(email="pool13@example.com", state="cooling", cooling_until=now + timedelta(minutes=20), uses_today=31, **latest)
    token(
        email="pool14@example.com", is_active=False, is_probably_quota=True, state="quota_exhausted", cooling_until=now, **latest
    )
    token(email="pool15@example.com", expires_at=now + timedelta(hours=30), uses_today=12, **latest)
    refused = "The AI service refused our credential."
    key("project-13", state="invalid", last_error=refused, uses_today=6, errors_today=3, **latest)
    key("project-14", recent="ooqrqrqrqq", last_error="quota_exhausted", uses_today=22, errors_today=9, **latest)


@pytest.mark.parametrize(
    ("width", "scheme", "language"),
    [(1440, "light", "en"), (1440, "dark", "zh-hans"), (768, "light", "zh-hans"), (390, "light", "zh-hans"), (390, "dark", "en")],
    indirect=["language"],
)
def test_it_fits(visit, busy_day, shot, width, scheme, language):
    reason = "Maintenance at the provider" if language == "en" else "上游维护中"
    AIModel.objects.filter(model_id="sora2-image").update(disabled_reason=reason)
    page = visit(language, width=width, color_scheme=scheme, height=844 if width == 390 else 900)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for box in page.locator(".waule-section *:not(.material-symbols-outlined)").evaluate_all(
        "all => all.map(each => [each.className, each.getBoundingClientRect().right, each.textContent.slice(0, 40)])"
    ):
        assert box[1] <= width, box
    is_in_one_language(page, language)
    shot(page, f"ai-services-{width}-{scheme}-{language}", full_page=True)
    row(page, "pool15").locator("a").first.click()
    page.locator("[name=weight]").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    shot(page, f"token-{width}-{scheme}-{language}", full_page=True)
