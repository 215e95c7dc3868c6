"""Models and prices that the tests of the ledger use."""

from typing import Any

import pytest

from billing.catalog.models import AIModel, BillingPrice, BillingRule, LevelConfig, ModelPermission


def priced_model(model_id: str = "flash", *, base: int = 7, billing_type: str = "PER_REQUEST", **rule: Any) -> AIModel:
    """A model that costs `base` credits a request, unless said otherwise."""
    prices = rule.pop("prices", [])
    model = AIModel.objects.create(model_id=model_id, name=model_id.title(), provider="sandbox", type="IMAGE_GENERATION")
    made = BillingRule.objects.create(name=model_id, model=model, billing_type=billing_type, base_credits=base, **rule)
    for row in prices:
        BillingPrice.objects.create(rule=made, **row)
    return model


def permit(level: str, model: AIModel, **row: Any) -> None:
    """A permission row of that level for that model."""
    config, _ = LevelConfig.objects.get_or_create(level=level)
    ModelPermission.objects.create(level=config, model=model, **row)


@pytest.fixture
def flash(any_database: None) -> AIModel:
    """A model at 7 credits a request."""
    return priced_model()


@pytest.fixture
def film(any_database: None) -> AIModel:
    """A model at 10 credits a second."""
    return priced_model("film", base=10, billing_type="PER_DURATION")
