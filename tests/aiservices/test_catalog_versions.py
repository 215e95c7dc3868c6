"""Every change of the catalog is a version: who, when, and what became of the one before."""

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.test import Client

from billing.catalog import availability as switches
from billing.catalog import file as catalog_file
from billing.catalog.changes import compare
from billing.catalog.current import current_catalog
from billing.catalog.file.versions import changes_of
from billing.catalog.models import AIModel, BillingRule, CatalogVersion, LevelConfig
from tenants.models import AuditEntry

pytestmark = pytest.mark.django_db

DEMO = (Path(catalog_file.__file__).parents[1] / "demo_catalog.yaml").read_bytes()


@pytest.fixture(autouse=True)
def demo_alone(db: None) -> None:
    """The demonstration catalog, and no model or level besides."""
    LevelConfig.objects.all().delete()
    AIModel.objects.all().delete()
    catalog_file.apply(catalog_file.parse(DEMO), actor="command", source="demo.yaml")


def newest() -> CatalogVersion:
    version = CatalogVersion.objects.order_by("-number").first()
    assert version is not None
    return version


def told(version: CatalogVersion) -> list[str]:
    return [line for change in changes_of(version) for line in change.lines()]


def rule_form(rule: BillingRule, **changed: Any) -> dict[str, Any]:
    prices = list(rule.prices.order_by("pk"))
    form: dict[str, Any] = {
        "name": rule.name,
        "model": rule.model_id,
        "billing_type": rule.billing_type,
        "base_credits": rule.base_credits,
        "round_up": "unknown",
        "is_active": "on",
        "prices-TOTAL_FORMS": len(prices),
        "prices-INITIAL_FORMS": len(prices),
    }
    for number, price in enumerate(prices):
        row = {"id": price.pk, "rule": rule.pk, "dimension": price.dimension, "value": price.value, "credits": price.credits}
        form |= {f"prices-{number}-{name}": value for name, value in row.items()}
    return form | changed


def test_a_file_makes_one_version_and_one_audit_entry() -> None:
    version = newest()
    assert (version.number, version.author, version.note) == (1, "command", "catalog file demo.yaml")
    assert version.document == catalog_file.export().as_json()
    entry = AuditEntry.objects.get(action="catalog.apply")
    assert (entry.actor, entry.after["rule added"]) == ("command", BillingRule.objects.count())
    catalog_file.apply(catalog_file.parse(DEMO), actor="command")
    catalog_file.apply(catalog_file.parse(b"levels: [{level: VIP}]"), actor="command", dry_run=True)
    assert CatalogVersion.objects.count() == AuditEntry.objects.filter(action="catalog.apply").count() == 1


def test_each_save_in_the_admin_makes_one_version(staff: Client) -> None:
    rule = BillingRule.objects.get(name="Gemini 3.1 Flash Image")
    address = f"/admin/billing/billingrule/{rule.pk}/change/"
    assert staff.post(address, rule_form(rule)).status_code == 302
    assert CatalogVersion.objects.count() == 1
    assert staff.post(address, rule_form(rule, base_credits=16, **{"prices-1-credits": 33})).status_code == 302
    version = newest()
    assert (version.number, version.author, version.note) == (2, "admin:root", "price rule Gemini 3.1 Flash Image")
    assert told(version) == [
        "~ rule gemini-3.1-flash-image",
        "    baseCredits: 15 → 16",
        "    prices[resolution 2K] credits: 30 → 33",
    ]
    entry = AuditEntry.objects.get(action="billingrule.change")
    assert (entry.before["baseCredits"], entry.after["baseCredits"], entry.after["version"]) == (15, 16, 2)


def test_deleting_rules_and_changing_levels_are_versions_too(staff: Client) -> None:
    first, second = BillingRule.objects.filter(name__in=["Sora 2", "Sora 2 Pro"]).order_by("name")
    staff.post(f"/admin/billing/billingrule/{first.pk}/delete/", {"post": "yes"})
    assert told(newest()) == ["- rule sora2"]
    form = {"action": "delete_selected", "_selected_action": str(second.pk), "post": "yes"}
    staff.post("/admin/billing/billingrule/", form)
    assert told(newest()) == ["- rule sora2-pro"]
    assert AuditEntry.objects.filter(action="billingrule.delete", target_id=str(second.pk)).exists()
    level = LevelConfig.objects.get(level="ADMIN")
    form = {"max_concurrency": "7", "permissions-TOTAL_FORMS": "0", "permissions-INITIAL_FORMS": "0"}
    assert staff.post(f"/admin/billing/levelconfig/{level.pk}/change/", form).status_code == 302
    assert told(newest()) == ["~ level ADMIN", "    maxConcurrency: -1 → 7"]
    assert [version.number for version in CatalogVersion.objects.order_by("number")] == [1, 2, 3, 4]
    assert current_catalog().max_concurrency["ADMIN"] == 7


def test_switching_a_model_is_a_version_too(staff: Client) -> None:
    model = AIModel.objects.get(model_id="sora2")
    switches.switch_model(model=model, is_active=False, reason="too dear", actor="admin:root")
    assert (newest().author, newest().note) == ("admin:root", "model Sora 2 off")
    assert told(newest()) == ["~ model sora2 (sora, VIDEO_GENERATION)", "    isActive: true → false"]
    form = {
        "name": "Sora Two",
        "model_id": "sora2",
        "provider": "sora",
        "type": model.type,
        "options": "{}",
        "disabled_reason": "too dear",
    }
    assert staff.post(f"/admin/billing/aimodel/{model.pk}/change/", form).status_code == 302
    assert newest().number == 3
    assert "    name: Sora 2 → Sora Two" in told(newest())


def test_a_refused_save_makes_no_version(staff: Client) -> None:
    rule = BillingRule.objects.get(name="Gemini 3.1 Flash Image")
    address = f"/admin/billing/billingrule/{rule.pk}/change/"
    assert staff.post(address, rule_form(rule, **{"prices-1-credits": -1})).status_code == 200
    assert CatalogVersion.objects.count() == 1


def test_the_admin_shows_what_changed(staff: Client) -> None:
    rule = BillingRule.objects.get(name="Gemini 3.1 Flash Image")
    staff.post(f"/admin/billing/billingrule/{rule.pk}/change/", rule_form(rule, base_credits=16))
    assert "price rule Gemini 3.1 Flash Image" in staff.get("/admin/billing/catalogversion/").content.decode()
    page = staff.get(f"/admin/billing/catalogversion/{newest().pk}/change/").content.decode()
    assert "baseCredits: 15 → 16" in page
    assert staff.post(f"/admin/billing/catalogversion/{newest().pk}/delete/", {"post": "yes"}).status_code == 403


def test_versions_are_written_once() -> None:
    version = newest()
    with pytest.raises(TypeError):
        version.save()
    for statement in ("UPDATE billing_catalogversion SET note = 'x'", "DELETE FROM billing_catalogversion"):
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)


def test_a_version_can_be_applied_again() -> None:
    before = newest().document
    catalog_file.apply(catalog_file.parse(b"rules: []"), actor="command", prune=True)
    assert newest().number == 2
    text = StringIO()
    call_command("export_catalog", "--number", "1", stdout=text)
    catalog_file.apply(catalog_file.parse(text.getvalue().encode()), actor="command")
    assert compare(before, newest().document) == []
    with pytest.raises(CommandError, match="no catalog version 99"):
        call_command("export_catalog", "--number", "99")
