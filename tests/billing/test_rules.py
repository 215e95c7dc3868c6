"""Rules and levels in the admin: what cannot work is refused with the reason beside the field, and changes are numbered."""

import re
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client

from billing.admin.catalog import prices as admin_prices  # noqa: F401  (its pages are there whichever test comes first)
from billing.catalog.current import current_catalog
from billing.catalog.models import AIModel, BillingPrice, BillingRule, LevelConfig
from billing.catalog.rules import check, rule_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def flash_without_price() -> AIModel:
    return AIModel.objects.create(model_id="flash", name="Flash", provider="gemini", type="IMAGE_GENERATION")


def rule_form(prices: list[dict[str, Any]] | None = None, *, initial: int = 0, **fields: Any) -> dict[str, Any]:
    form: dict[str, Any] = {
        "name": "flash image",
        "model": "",
        "node_type": "",
        "module_type": "",
        "billing_type": "PER_IMAGE",
        "base_credits": "15",
        "round_up": "unknown",
        "pricing_unit": "",
        "is_active": "on",
        "prices-TOTAL_FORMS": str(len(prices or [])),
        "prices-INITIAL_FORMS": str(initial),
        **fields,
    }
    for number, row in enumerate(prices or []):
        form |= {f"prices-{number}-{name}": str(value) for name, value in row.items()}
    return form


def rejections(answer: Any) -> str:
    """The page of a form that was not saved, without tags."""
    assert answer.status_code == 200
    return re.sub(r"<[^>]+>|\s+", " ", answer.content.decode())


def test_a_rule_is_saved_and_priced_at_once(staff: Client, flash_without_price: AIModel) -> None:
    before = current_catalog().version
    rows = [{"dimension": "resolution", "value": "2K", "credits": 30}]
    answer = staff.post("/admin/billing/billingrule/add/", rule_form(rows, model=flash_without_price.pk))
    assert answer.status_code == 302, answer.content.decode()
    rule = current_catalog().rules[f"model:{flash_without_price.pk}"]
    assert (rule.version, rule.base_credits, [row.credits for row in rule.prices]) == (1, 15, [30])
    assert current_catalog().version > before


def test_each_change_raises_the_version_once(staff: Client, flash_without_price: AIModel) -> None:
    rule = BillingRule.objects.create(name="flash image", model=flash_without_price, billing_type="PER_IMAGE", base_credits=15)
    price = BillingPrice.objects.create(rule=rule, dimension="resolution", value="2K", credits=30)
    address = f"/admin/billing/billingrule/{rule.pk}/change/"
    row = {"id": price.pk, "rule": rule.pk, "dimension": "resolution", "value": "2K", "credits": 30}
    assert staff.post(address, rule_form([row], initial=1, model=flash_without_price.pk)).status_code == 302
    rule.refresh_from_db()
    assert rule.version == 1
    assert staff.post(address, rule_form([row | {"credits": 31}], initial=1, model=flash_without_price.pk)).status_code == 302
    rule.refresh_from_db()
    assert rule.version == 2
    assert (
        staff.post(
            address, rule_form([row | {"credits": 32}], initial=1, model=flash_without_price.pk, base_credits="16")
        ).status_code
        == 302
    )
    assert current_catalog().rules[rule.scope].version == 3


@pytest.mark.parametrize(
    ("fields", "rows", "why"),
    [
        ({"base_credits": "0"}, [], "Give a price above 0"),
        ({"base_credits": "-1"}, [], "cannot be negative"),
        ({"billing_type": "DURATION_RESOLUTION"}, [], "needs at least one price row for a resolution"),
        ({}, [{"dimension": "resolution", "value": "16:9", "credits": 3}], "names no size"),
        ({}, [{"dimension": "resolution", "value": "HD", "credits": 0}], "Give a price above 0"),
        (
            {},
            [
                {"dimension": "resolution", "value": "HD", "credits": 3},
                {"dimension": "resolution", "value": "720p", "credits": 4},
            ],
            "Another row already gives the price of this value",
        ),
        ({"node_type": "image"}, [], "Give exactly one of model"),
        ({"model": ""}, [], "Give exactly one of model"),
    ],
)
def test_what_cannot_work_is_refused(
    staff: Client, flash_without_price: AIModel, fields: dict[str, Any], rows: list[dict[str, Any]], why: str
) -> None:
    answer = staff.post("/admin/billing/billingrule/add/", rule_form(rows, **({"model": flash_without_price.pk} | fields)))
    assert why in rejections(answer)
    assert not BillingRule.objects.exists()


def test_the_last_row_a_rule_needs_cannot_be_deleted(staff: Client, flash_without_price: AIModel) -> None:
    rule = BillingRule.objects.create(name="video", model=flash_without_price, billing_type="DURATION_RESOLUTION")
    price = BillingPrice.objects.create(rule=rule, dimension="resolution", value="720p", credits=4)
    row = {"id": price.pk, "rule": rule.pk, "dimension": "resolution", "value": "720p", "credits": 4, "DELETE": "on"}
    form = rule_form([row], initial=1, model=flash_without_price.pk, billing_type="DURATION_RESOLUTION", base_credits="0")
    assert "needs at least one price row" in rejections(staff.post(f"/admin/billing/billingrule/{rule.pk}/change/", form))
    assert rule.prices.count() == 1


@pytest.mark.parametrize("spelling", ["image-node", " IMAGE-Node "])
def test_a_second_rule_of_a_scope_is_refused_by_name(staff: Client, spelling: str) -> None:
    BillingRule.objects.create(name="the first", node_type="image-node", billing_type="PER_IMAGE", base_credits=15)
    answer = staff.post("/admin/billing/billingrule/add/", rule_form(node_type=spelling))
    assert "The rule “the first” already prices this" in rejections(answer)
    assert BillingRule.objects.count() == 1


def test_check_names_every_field(flash_without_price: AIModel) -> None:
    rule = BillingRule(name="x", model=flash_without_price, billing_type="OPERATION_MODE", base_credits=-1)
    with pytest.raises(ValidationError) as caught:
        check(rule, [BillingPrice(dimension="operationType", value="Imagine")])
    assert set(caught.value.message_dict) == {"base_credits", "prices"}


def test_a_multiplier_reads_back_as_it_was_written(flash_without_price: AIModel) -> None:
    rule = BillingRule.objects.create(name="x", model=flash_without_price, billing_type="OPERATION_MODE")
    BillingPrice.objects.create(rule=rule, dimension="mode", value="fast", multiplier="1.5")
    (row,) = rule_of(rule, rule.prices.all()).prices
    assert str(row.multiplier) == "1.5"


def test_deleting_from_the_list_reaches_the_catalog(staff: Client, flash_without_price: AIModel) -> None:
    rule = BillingRule.objects.create(name="x", model=flash_without_price, billing_type="PER_IMAGE", base_credits=15)
    assert current_catalog().rules
    form = {"action": "delete_selected", "_selected_action": str(rule.pk), "post": "yes"}
    assert staff.post("/admin/billing/billingrule/", form).status_code == 302
    assert not current_catalog().rules


def test_the_lists_open(staff: Client, flash_without_price: AIModel) -> None:
    rule = BillingRule.objects.create(name="flash price", model=flash_without_price, billing_type="PER_IMAGE", base_credits=1500)
    BillingPrice.objects.create(rule=rule, dimension="resolution", value="2K", credits=30)
    listed = staff.get("/admin/billing/billingrule/").content.decode()
    assert "flash price" in listed and "30 – 1,500" in listed
    assert staff.get(f"/admin/billing/billingrule/{rule.pk}/change/").status_code == 200
    LevelConfig.objects.update_or_create(level="VIP", defaults={"max_concurrency": 3})
    assert staff.get("/admin/billing/levelconfig/").status_code == 200


def level_form(rows: list[dict[str, Any]]) -> dict[str, Any]:
    form: dict[str, Any] = {
        "level": "SVIP",
        "max_concurrency": "5",
        "permissions-TOTAL_FORMS": str(len(rows)),
        "permissions-INITIAL_FORMS": "0",
    }
    for number, row in enumerate(rows):
        row = {"is_allowed": "on", "daily_limit": -1, "free_daily_limit": 0} | row
        form |= {f"permissions-{number}-{name}": str(value) for name, value in row.items()}
    return form


def test_permissions_of_a_level(staff: Client, flash_without_price: AIModel) -> None:
    LevelConfig.objects.filter(level="SVIP").delete()
    twice = [{"model": flash_without_price.pk}, {"model": flash_without_price.pk, "daily_limit": 3}]
    assert "Another row of this level is about the same" in rejections(
        staff.post("/admin/billing/levelconfig/add/", level_form(twice))
    )
    neither = [{"daily_limit": 3}]
    assert "Give exactly one of model" in rejections(staff.post("/admin/billing/levelconfig/add/", level_form(neither)))
    right = [{"model": flash_without_price.pk, "daily_limit": 3}, {"node_type": "image"}]
    assert staff.post("/admin/billing/levelconfig/add/", level_form(right)).status_code == 302
    permission = current_catalog().permissions["SVIP", f"model:{flash_without_price.pk}"]
    assert permission.daily_limit == 3
