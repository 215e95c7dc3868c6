"""Models with their prices, and who may use them."""

from typing import Any

from billing.catalog.models import AIModel, BillingPrice, BillingRule, LevelConfig, ModelPermission


def image_model(model_id: str = "painter", *, provider: str = "sandbox", base: int = 15, **more: Any) -> AIModel:
    """A model of images at `base` credits each, unless `prices` say more about resolutions."""
    prices = more.pop("prices", {})
    options = more.pop("options", {})
    model = AIModel.objects.create(
        model_id=model_id, name=model_id.title(), provider=provider, type="IMAGE_GENERATION", options=options, **more
    )
    rule = BillingRule.objects.create(name=model_id, model=model, billing_type="PER_IMAGE", base_credits=base)
    for resolution, credits in prices.items():
        BillingPrice.objects.create(rule=rule, dimension="resolution", value=resolution, credits=credits)
    return model


def video_model(model_id: str = "filmer", *, provider: str = "sandbox", base: int = 10, **more: Any) -> AIModel:
    """A model of videos at `base` credits a second."""
    options = more.pop("options", {})
    model = AIModel.objects.create(
        model_id=model_id, name=model_id.title(), provider=provider, type="VIDEO_GENERATION", options=options, **more
    )
    BillingRule.objects.create(name=model_id, model=model, billing_type="PER_DURATION", base_credits=base)
    return model


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
