"""Models that end: warned of ahead, refused from the day on with their replacement named, or served by it."""

from datetime import date, timedelta
from typing import Any

import pytest
from django.utils import timezone

from aiservices.generations.models import Generation
from billing.catalog import file as catalog_file
from billing.catalog.models import AIModel
from billing.ledger.models import Charge
from billing.monitoring import alerts
from billing.monitoring.models import Alert
from billing.services.permissions import billing_day
from tenants.models import Tenant
from tests.callers import Api
from tests.catalog import image_model
from waule.core.errors import InvalidRequest

IMAGES = "/v1/images/generations"


def in_days(days: int) -> date:
    return billing_day(timezone.now()) + timedelta(days=days)


@pytest.fixture
def old(any_database: None) -> AIModel:
    """A model that ends today, and costs 15; `new` costs 20."""
    image_model("new", base=20)
    return image_model("old", base=15, retires_at=in_days(0), replaced_by="new")


def test_from_the_day_on_it_is_refused_and_the_replacement_named(as_acme: Api, as_alice: Api, old: AIModel) -> None:
    status, answer = as_acme.post(IMAGES, {"model": "old", "prompt": "x"})
    assert (status, answer["error"]["code"]) == (403, "model_disabled")
    assert "Use new instead" in answer["error"]["message"]
    status, answer = as_alice.post("/api/ai/image/generate", {"modelId": "old", "prompt": "x"})
    assert (status, answer["code"], answer["details"]["replacedBy"]) == (403, "model_disabled", "new")
    assert not Generation.objects.exists() and not Charge.objects.exists()


def test_the_day_before_it_is_still_there(as_acme: Api, old: AIModel) -> None:
    AIModel.objects.filter(pk=old.pk).update(retires_at=in_days(1))
    old.refresh_from_db()
    old.save()
    assert as_acme.post(IMAGES, {"model": "old", "prompt": "x"})[0] == 200
    assert as_acme.get("/v1/models/old")[1]["retiresAt"] == in_days(1).isoformat()
    assert as_acme.get("/v1/models/old")[1]["replacedBy"] == "new"


def test_charges_by_the_gateway_are_refused_too(internal: Any, acme: Tenant, old: AIModel) -> None:
    body = {"targetType": "tenant", "targetId": str(acme.pk), "modelId": "old"}
    status, answer = internal.post("/internal/billing/charge", body)
    assert (status, answer["code"], answer["details"]["replacedBy"]) == (403, "model_disabled", "new")


def test_the_replacement_serves_and_is_charged_where_the_operator_wants_it(as_acme: Api, acme: Tenant, old: AIModel) -> None:
    old.serve_replacement = True
    old.save()
    Tenant.objects.filter(pk=acme.pk).update(enabled_models=["old"])
    status, answer = as_acme.post(IMAGES, {"model": "old", "prompt": "x"})
    assert (status, answer["usage"]["credits_charged"]) == (200, 20)
    assert Generation.objects.get().model.model_id == "new"
    assert [model["id"] for model in as_acme.get("/v1/models")[1]["data"]] == ["new"]


def test_a_replacement_that_is_not_there_serves_nobody(as_acme: Api, old: AIModel) -> None:
    old.serve_replacement, old.replaced_by = True, "nobody"
    old.save()
    assert as_acme.post(IMAGES, {"model": "old", "prompt": "x"})[0] == 403


def test_models_that_replace_one_another_end_the_search(as_acme: Api, old: AIModel) -> None:
    AIModel.objects.filter(model_id="new").update(retires_at=in_days(-1), replaced_by="old", serve_replacement=True)
    old.serve_replacement = True
    old.save()
    assert as_acme.post(IMAGES, {"model": "old", "prompt": "x"})[0] == 403


@pytest.mark.parametrize(("days", "raised"), [(31, 0), (30, 1), (0, 1), (-5, 1)])
def test_an_operator_is_warned_thirty_days_ahead(old: AIModel, days: int, raised: int) -> None:
    old.retires_at = in_days(days)
    old.save()
    assert alerts.check() == raised
    assert alerts.check() == 0
    assert Alert.objects.filter(kind="model.ends", is_raised=True).count() == raised
    if raised:
        details = Alert.objects.get(kind="model.ends").details
        assert details == {
            "model": "old",
            "name": "Old",
            "provider": "sandbox",
            "retiresAt": in_days(days).isoformat(),
            "replacedBy": "new",
        }
        AIModel.objects.filter(pk=old.pk).update(is_active=False)
        alerts.check()
        assert not Alert.objects.filter(kind="model.ends", is_raised=True).exists()


def test_the_catalog_file_carries_it(db: None) -> None:
    model = {"modelId": "m", "provider": "gemini", "type": "IMAGE_GENERATION", "retiresAt": "2027-06-30", "replacedBy": "n"}
    catalog_file.apply(catalog_file.from_json({"models": [model | {"serveReplacement": True}]}), actor="test")
    row = AIModel.objects.get()
    assert (row.retires_at, row.replaced_by, row.serve_replacement) == (date(2027, 6, 30), "n", True)
    written = catalog_file.export().as_json()["models"][0]
    assert (written["retiresAt"], written["replacedBy"], written["serveReplacement"]) == ("2027-06-30", "n", True)
    yaml = b"models:\n  - {modelId: m, provider: gemini, type: IMAGE_GENERATION, retiresAt: 2027-07-01}\n"
    catalog_file.apply(catalog_file.parse(yaml), actor="test")
    row.refresh_from_db()
    assert (row.retires_at, row.replaced_by, row.serve_replacement) == (date(2027, 7, 1), "", False)


@pytest.mark.parametrize("wrong", [{"retiresAt": "soon"}, {"retiresAt": 20270630}, {"serveReplacement": True}])
def test_a_file_that_says_no_date_is_refused(db: None, wrong: dict[str, Any]) -> None:
    model = {"modelId": "m", "provider": "gemini", "type": "IMAGE_GENERATION"}
    with pytest.raises(InvalidRequest):
        catalog_file.from_json({"models": [model | wrong]})


# --- what is shown of models ---------------------------------------------------------------------------------------

PRICES: dict[str, dict[str, Any]] = {
    "PER_REQUEST": {"baseCredits": 3},
    "PER_IMAGE": {"baseCredits": 15, "prices": [{"dimension": "resolution", "value": "2K", "credits": 30}]},
    "PER_DURATION": {"baseCredits": 2},
    "DURATION_RESOLUTION": {"prices": [{"dimension": "resolution", "value": "720p_5", "credits": 30}]},
    "PER_CHARACTER": {"prices": [{"dimension": "character", "credits": 2, "unitSize": 100}]},
    "DURATION_MODE": {"pricingUnit": "per_second", "prices": [{"dimension": "mode", "value": "std", "credits": 5}]},
    "OPERATION_MODE": {
        "prices": [
            {"dimension": "operationType", "value": "imagine", "credits": 8},
            {"dimension": "mode", "value": "fast", "multiplier": "2"},
        ]
    },
}


@pytest.fixture
def every_type(any_database: None) -> None:
    models = [{"modelId": name.lower(), "provider": "sandbox", "type": "AUDIO_SYNTHESIS"} for name in PRICES]
    rules = [{"scope": {"modelId": name.lower()}, "billingType": name} | price for name, price in PRICES.items()]
    catalog_file.apply(catalog_file.from_json({"models": models, "rules": rules}), actor="test")


def test_every_model_shows_its_price_whatever_it_depends_on(as_acme: Api, as_alice: Api, every_type: None) -> None:
    shown = {model["id"]: model["price"] for model in as_acme.get("/v1/models")[1]["data"]}
    for name, price in PRICES.items():
        assert shown[name.lower()]["billingType"] == name
        assert {field: shown[name.lower()][field] for field in price} == price
    platform = {model["modelId"]: model["price"] for model in as_alice.get("/api/ai/models")[1]["models"]}
    assert platform == shown


def test_the_list_is_made_once_for_each_catalog(
    as_acme: Api, every_type: None, django_assert_max_num_queries: Any, django_assert_num_queries: Any
) -> None:
    first = as_acme.get("/v1/models")[1]
    with django_assert_max_num_queries(3) as seen:
        assert as_acme.get("/v1/models")[1] == first
    assert not [query for query in seen.captured_queries if "aiservices_aimodel" in query["sql"]]
    AIModel.objects.get(model_id="per_request").save()
    AIModel.objects.filter(model_id="per_image").update(name="Another")
    AIModel.objects.get(model_id="per_request").save()  # a bulk change raises no version by itself
    assert "Another" in [model["name"] for model in as_acme.get("/v1/models")[1]["data"]]
