"""The price simulator and the rehearsal of a catalog."""

import json
import re

import pytest
from django.contrib.auth.models import Group
from django.urls import reverse

from billing import services
from billing.catalog import file as catalog_file
from billing.catalog import provider_lists
from billing.catalog.models import BillingPrice, BillingRule, CatalogState, CatalogVersion
from billing.catalog.usage import UsageRequest
from billing.ledger.models import Charge, LedgerEntry
from tenants.models import User
from tenants.principal import Principal
from tests.callers import confirm_password
from tests.catalog import priced_model
from waule.core.errors import InvalidState


@pytest.fixture
def flash_by_size(db):
    model = priced_model("flash", base=15, billing_type="PER_IMAGE")
    BillingPrice.objects.create(rule=BillingRule.objects.get(), dimension="resolution", value="2K", credits=30)
    return model


def simulate(client, **values):
    return client.get(reverse("admin:billing_simulator"), values)


def test_a_price_builds_up_step_by_step(admin_client, flash_by_size):
    page = simulate(admin_client, model=str(flash_by_size.id), quantity="3", resolution="2K")
    assert page.context["steps"] == [
        ("30 credits per image at 2K.", "30"),
        ("Times the quantity of 3.", "90"),
        ("Total: 90 credits.", "90"),
    ]
    assert "90 credits" in page.text
    assert (
        "每张图片"
        in admin_client.get(
            reverse("admin:billing_simulator"), {"model": str(flash_by_size.id)}, headers={"Accept-Language": "zh-hans"}
        ).text
    )
    assert not Charge.objects.exists()


def test_it_says_why_not(admin_client, flash_by_size, birch):
    assert "No price covers the resolution" in simulate(admin_client, model=str(flash_by_size.id), resolution="8K").text
    page = simulate(admin_client, model=str(flash_by_size.id), tenant="Birch")
    assert "15 credits" in page.text
    assert "0 credits can be spent" in page.context["rejection"] or "15" in page.context["rejection"]
    assert simulate(admin_client, model=str(flash_by_size.id), tenant="nobody").context["rejection"]
    assert simulate(admin_client, model=str(flash_by_size.id), username="nobody").context["rejection"]
    assert simulate(admin_client, quantity="2").context["rejection"]
    assert simulate(admin_client, model="no-such-model").context["form"].errors
    assert simulate(admin_client, model=str(flash_by_size.id), duration="-1").context["form"].errors


def test_both_take_a_permission(client, db):
    client.force_login(User.objects.create_user("ada", password="x", is_staff=True))
    confirm_password(client)
    assert client.get(reverse("admin:billing_simulator")).status_code == 403
    assert client.get(reverse("admin:aiservices_rehearsal")).status_code == 403


@pytest.fixture
def dearer(flash_by_size, acme):
    """A draft in which a picture costs 20 instead of 15; Acme has bought two."""
    for _number in range(2):
        services.charge(target=Principal("tenant", str(acme.id)), use=UsageRequest(model="flash"), actor="test")
    return catalog_file.dump(catalog_file.export()).replace("baseCredits: 15", "baseCredits: 20")


def send(client, text, **values):
    return client.post(reverse("admin:aiservices_rehearsal"), {"days": "30", "text": text} | values)


def test_a_draft_is_rehearsed_then_published(admin_client, dearer):
    assert "baseCredits: 15" in admin_client.get(reverse("admin:aiservices_rehearsal")).text
    entries = LedgerEntry.objects.count()
    page = send(admin_client, dearer)
    (model,) = page.context["models"]
    assert (model["uses"], model["old"], model["new"], model["difference"]) == ("2", "30", "40", "+10")
    assert page.context["accounts"][0]["name"].startswith("Acme")
    assert any("baseCredits" in line for line in page.context["changes"])
    assert BillingRule.objects.get().base_credits == 15
    mark = re.search(r'name="rehearsed" value="(\w+)"', page.text)[1]
    changed = dearer.replace("baseCredits: 20", "baseCredits: 99")
    assert send(admin_client, changed, publish="1", rehearsed=mark).status_code == 200  # what was not rehearsed is, first
    assert BillingRule.objects.get().base_credits == 15
    assert send(admin_client, dearer, publish="1", rehearsed=mark).status_code == 302
    assert BillingRule.objects.get().base_credits == 20
    assert CatalogVersion.objects.order_by("-number").first().author == "admin:root"
    assert LedgerEntry.objects.count() == entries


def test_a_rehearsal_says_which_models_would_not_be_made(admin_client, flash_by_size):
    provider_lists.keep("gemini", {"gemini-3-pro-image": "2027-01-31"})
    models = [
        {"modelId": name, "provider": provider, "type": "IMAGE_GENERATION"} | more
        for name, provider, more in [
            ("gemini-3-pro-image", "gemini", {}),
            ("gemini-9", "gemini", {"options": {"ratios": ["2:1"]}}),
            ("seedream", "doubao", {}),
            ("old", "openai", {"retiresAt": "2026-01-01", "replacedBy": "gemini-3-pro-image"}),
        ]
    ]
    rules = [{"scope": {"modelId": model["modelId"]}, "billingType": "PER_IMAGE", "baseCredits": 1} for model in models]
    page = send(admin_client, json.dumps({"models": models, "rules": rules}))
    assert page.context["warnings"] == (
        "gemini-3-pro-image (gemini): gemini ends gemini-3-pro-image on 2027-01-31.",
        "gemini-9 (gemini): gemini does not list gemini-9.",
        "old (openai): It ended on 2026-01-01: requests for it are rejected.",
        "seedream (doubao): Only a gateway reaches doubao, and AI_SERVICE_MODE is not gateway: requests for it are rejected.",
    )
    assert page.context["problems"] == ("gemini-9 (gemini): ratios: The provider does not make 2:1.",)
    assert "gemini does not list gemini-9." in page.text and "The provider does not make 2:1." in page.text
    assert "does not list" not in send(admin_client, catalog_file.dump(catalog_file.export())).text


def test_a_catalog_changed_since_the_rehearsal_is_shown_and_not_overwritten(admin_client, dearer):
    mark = re.search(r'name="rehearsed" value="(\w+)"', send(admin_client, dearer).text)[1]
    catalog_file.apply(catalog_file.parse(dearer.replace("baseCredits: 20", "baseCredits: 17").encode()), actor="somebody else")
    page = send(admin_client, dearer, publish="1", rehearsed=mark)
    assert "has changed since it was rehearsed" in page.text
    assert any("17 → 20" in line for line in page.context["changes"])
    assert BillingRule.objects.get().base_credits == 17
    mark = re.search(r'name="rehearsed" value="(\w+)"', page.text)[1]
    assert send(admin_client, dearer, publish="1", rehearsed=mark).status_code == 302
    assert BillingRule.objects.get().base_credits == 20


def test_finance_publishes_prices_and_no_models(client, dearer):
    client.force_login(User.objects.create_user("fay", password="x", is_staff=True))
    confirm_password(client)
    User.objects.get(username="fay").groups.add(Group.objects.get(name="finance"))
    assert send(client, dearer).context["may_publish"]
    switched = dearer.replace("isActive: true", "isActive: false", 1)
    page = send(client, switched)
    assert [line for line in page.context["changes"] if line.startswith("~ model")]
    assert not page.context["may_publish"]
    assert send(client, switched, publish="1", rehearsed=page.context["mark"]).status_code == 403


def test_whoever_expected_another_catalog_publishes_nothing(dearer):
    document = catalog_file.parse(dearer.encode())
    with pytest.raises(InvalidState):
        catalog_file.apply(document, actor="test", expected_version=CatalogState.objects.get().version - 1)
    assert BillingRule.objects.get().base_credits == 15


def test_a_draft_that_cannot_work_is_told_and_changes_nothing(admin_client, dearer):
    page = send(admin_client, dearer.replace("baseCredits: 20", "baseCredits: -1"))
    assert "baseCredits" in str(page.context["form"].errors)
    assert send(admin_client, "models: [").context["form"].errors
    assert BillingRule.objects.get().base_credits == 15


def test_models_without_a_price_are_listed(admin_client, dearer):
    bare = "models: [{modelId: bare, name: Bare, provider: sandbox, type: IMAGE_GENERATION}]"
    assert send(admin_client, bare).context["without_price"] == ["Bare (sandbox)"]
