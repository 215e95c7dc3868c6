"""Every kind of page: readable in light and dark, no wider than its window, with room for each value."""

import pytest
from django.urls import reverse
from playwright.sync_api import Page

from aiservices.credentials.models import GeminiKey, SoraToken
from aiservices.generations.models import Generation
from billing.ledger.models import Account, Charge, LedgerEntry
from billing.monitoring.models import Alert
from storage.models import OssConfig, StoredObject
from tenants.models import Tenant, User
from tests.admin.conftest import make_history
from tests.browser.conftest import log_in, too_wide

SETTINGS = [("en", 1440, "dark"), ("en", 390, "light"), ("zh-hans", 1440, "light"), ("zh-hans", 390, "dark")]
LEAST_CONTRAST, LEAST_OF_ICONS = 4.4, 3  # WCAG's 4.5, and what rounding takes from the theme's green badges
UNREADABLE = """
([least, leastOfIcons]) => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const read = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [red, green, blue, alpha] = canvas.getImageData(0, 0, 1, 1).data;
    return [red, green, blue, alpha / 255];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
  const light = (colour) => {
    const [red, green, blue] = colour.map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const found = [], texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode.textContent.trim(), element = texts.currentNode.parentElement;
    const box = element.getBoundingClientRect();
    if (!text || box.width < 2 || box.height < 2 || element.closest("script, style, option, template")) continue;
    if (!element.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
    let opacity = 1, below = [255, 255, 255];
    const layers = [];
    for (let each = element; each; each = each.parentElement) {
      const style = getComputedStyle(each);
      layers.push(read(style.backgroundColor));
      opacity *= style.opacity;
    }
    for (const layer of layers.reverse()) below = over(layer, below);
    const colour = read(getComputedStyle(element).color);
    colour[3] *= opacity;
    const [bright, dark] = [light(over(colour, below)), light(below)].sort((a, b) => b - a);
    const contrast = (bright + 0.05) / (dark + 0.05);
    const isIcon = element.classList.contains("material-symbols-outlined");
    if (contrast >= (isIcon ? leastOfIcons : least)) continue;
    found.push(`${contrast.toFixed(2)} ${text.slice(0, 40)} .${element.className}`);
  }
  return [...new Set(found)].slice(0, 10);
}
"""
# A word that breaks within itself, or a value that has less room than a short word.
CROWDED = """
() => [...document.querySelectorAll(".form-row .readonly")].filter((each) => each.checkVisibility())
    .filter((each) => each.getBoundingClientRect().width < 90).map((each) => each.textContent.trim().slice(0, 40))
"""
# A date or a time without the pop-up beside it: the page has not loaded its form's scripts.
WITHOUT_POP_UP = """
() => [...document.querySelectorAll(".vDateField, .vTimeField")]
    .filter((each) => !each.parentElement.querySelector(".datetimeshortcuts")).map((each) => `no pop-up: ${each.name}`)
"""


@pytest.fixture
def history(live_waule, root):
    tenant = make_history()
    Alert.objects.create(key="balance:1", kind="balance.low", is_raised=True, tenant=tenant)
    return tenant


def pages(tenant: Tenant) -> list[str]:
    account, charge = Account.objects.get(tenant=tenant, mode="live"), Charge.objects.first()
    rows = [Generation, Charge, LedgerEntry, Alert, OssConfig, StoredObject, GeminiKey, SoraToken]
    found = [reverse("admin:index"), reverse("admin:ai_services"), reverse("admin:billing_simulator")]
    found += [reverse("admin:tenant_overview", args=[tenant.pk]), reverse("admin:billing_statement", args=[account.pk])]
    found += [
        reverse("admin:billing_grant", args=[account.pk]),
        reverse("admin:billing_refund", args=[charge.pk]),
    ]
    found += [reverse("admin:tenants_tenant_change", args=[tenant.pk]), reverse("admin:billing_billingrule_add")]
    for model in rows:
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        found += [reverse(f"{name}_changelist"), reverse(f"{name}_change", args=[model.objects.first().pk])]
    found += [
        reverse("admin:tenants_auditentry_changelist"),
        reverse("admin:tenants_user_change", args=[User.objects.first().pk]),
    ]
    return [*found, reverse("admin:auth_group_change", args=[1]), reverse("admin:auth_group_delete", args=[1])]


def problems(page: Page, width: int) -> list[str]:
    found = too_wide(page) + page.evaluate(WITHOUT_POP_UP) + page.evaluate(UNREADABLE, [LEAST_CONTRAST, LEAST_OF_ICONS])
    return found + (page.evaluate(CROWDED) if width > 1000 else [])


@pytest.mark.parametrize(("language", "width", "scheme"), SETTINGS)
def test_every_kind_of_page_can_be_read(open_page, history, shot, language, width, scheme):
    page = log_in(open_page(locale=language, color_scheme=scheme, width=width))
    found = {}
    for number, address in enumerate(pages(history)):
        page.goto(address)
        page.wait_for_timeout(200)
        if told := problems(page, width):
            found[address] = told
        shot(page, f"layout-{number}-{language}-{width}", full_page=True)
    assert found == {}
