"""A real Chromium in front of a real server. What its console complains of, and any call to elsewhere, fails the test."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from billing.catalog.models import AIModel, BillingRule
from tenants.models import User
from tests import tools
from tests.live import LiveWaule

# Playwright's own, whose list this one replaces, and the list below the address bar: with every profile Chromium draws it
# anew, for nobody to see, which takes a quarter of a second.
FEATURES_OFF = (
    *("AimEnabled", "AvoidCorsURLLoaderRestartOnRedirect", "AvoidUnnecessaryBeforeUnloadCheckSync"),
    *("DestroyProfileOnBrowserClose", "HttpsFirstBalancedModeAutoEnable", "HttpsUpgrades", "LensOverlay", "MediaRouter"),
    *("NetworkTimeServiceQuerying", "OptimizationHints", "PaintHolding", "PreconnectToSearch", "ThirdPartyStoragePartitioning"),
    *("WebUIOmniboxAimPopup", "WebUIOmniboxPopup"),
)
ARGUMENTS = [
    f"--disable-features={','.join(FEATURES_OFF)}",
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PASSWORD = "root-password"
TOO_WIDE = """
    () => document.documentElement.scrollWidth <= innerWidth ? [] : [...document.querySelectorAll("main *, #main *, body *")]
        .filter(one => one.getBoundingClientRect().right > innerWidth + 1)
        .map(one => `${one.tagName}.${one.className}: ${one.textContent.trim().slice(0, 60)}`).slice(0, 8)
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="module", autouse=True)
def orm_beside_playwright() -> Iterator[None]:
    """Playwright's loop runs in this thread; Django would take it for asynchronous code and refuse."""
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    yield
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser for a file. It ends with the file: Playwright's loop would stand in the way of every later test's ORM."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium-browser") or tools.program("chromium", package="chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def live_waule(live_waule: LiveWaule) -> LiveWaule:
    live_waule.environ["DJANGO_SETTINGS_MODULE"] = "tests.browser.settings"
    return live_waule


@pytest.fixture
def site(live_waule: LiveWaule) -> LiveWaule:
    """The server in front of which the browser is; a file may share one among its tests."""
    return live_waule


@pytest.fixture
def open_page(chromium: Browser, site: LiveWaule) -> Iterator[Any]:
    """Opens pages with fresh profiles: `open_page(width=390, color_scheme="dark")`."""
    contexts, complaints = [], []

    def make(*, width: int = 1440, height: int = 900, **options: Any) -> Page:
        context = chromium.new_context(base_url=site.url, viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(15_000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: _is_ours(request.url, site.url) or complaints.append(f"asked {request.url}"))
        page.on("response", lambda answer: complaints.append(f"{answer.status} {answer.url}") if answer.status >= 500 else None)
        return page

    yield make
    for context in contexts:
        context.close()
    assert not complaints, "\n".join(complaints)


def _is_ours(url: str, ours: str) -> bool:
    return url.startswith((f"{ours}/", "data:", "blob:"))


def log_in(page: Page, username: str = "root", *, confirm: bool = True) -> Page:
    """Logs in to the admin, and gives the password once more, which then holds for five minutes."""
    page.goto("/admin/")
    page.fill("[name=username]", username)
    page.fill("[name=password]", PASSWORD)
    page.click("#login-form button[type=submit]")
    if not confirm:
        return page
    page.wait_for_url("**/admin/")
    page.goto("/admin/confirm-password/")
    page.fill("[name=password]", PASSWORD)
    page.click("form.waule-door button[type=submit]")
    page.wait_for_url("**/admin/")
    return page


@pytest.fixture
def shot(request: pytest.FixtureRequest) -> Any:
    """Keeps a picture of a page where WAULE_SHOTS names a directory; for people to look at."""
    directory = os.environ.get("WAULE_SHOTS")

    def take(page: Page, name: str, **options: Any) -> None:
        if directory:
            page.wait_for_load_state("networkidle")
            page.wait_for_timeout(600)  # charts grow
            page.screenshot(path=f"{directory}/{name}.png", **options)

    return take


def too_wide(page) -> list[str]:
    """What makes the page wider than its window."""
    return page.evaluate(TOO_WIDE)


@pytest.fixture
def studio(live_waule: LiveWaule) -> str:
    """A tenant and its owner, made as the operator makes them."""
    model = AIModel.objects.create(model_id="sandbox-image", name="Sandbox Image", provider="sandbox", type="IMAGE_GENERATION")
    BillingRule.objects.create(name="sandbox image", model=model, billing_type="PER_REQUEST", base_credits=7)
    made = live_waule.manage("create_tenant", "Studio 星河", "--credits", "500", "--all-models")
    assert made.returncode == 0, made.stderr
    User.objects.create_user("olga", "olga@studio.example", PASSWORD)
    added = live_waule.manage("add_member", "Studio 星河", "olga")
    assert added.returncode == 0, added.stderr
    return "olga"


def log_in_to_console(page: Page, username: str) -> None:
    page.goto("/console/")
    page.fill("[name=username]", username)
    page.fill("[name=password]", PASSWORD)
    page.click("#login-form button[type=submit]")
    page.wait_for_url("**/console/")
