"""Models as those who may generate with them see them: options and prices, and nothing of how a provider is reached."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.utils import timezone

from aiservices.models import AIModel, Generation
from aiservices.wishes import Wish
from billing import pricing
from billing.catalog import Catalog, current_catalog
from billing.errors import PricingError
from tenants.models import Tenant

_SECRET_NAME = re.compile(r"(?i)key|secret|token|password|url|endpoint|host|credential|header")
_ADDRESS = re.compile(r"(?i)\b[a-z][a-z0-9+.-]*://")


@dataclass(frozen=True)
class Shown:
    """A model with its rule."""

    model: AIModel
    rule: pricing.Rule | None
    example: pricing.Quote | None  # one use with the model's defaults, where that is enough for a price

    def as_platform(self) -> dict[str, Any]:
        return {
            "id": str(self.model.id),
            "modelId": self.model.model_id,
            "name": self.model.name,
            "provider": self.model.provider,
            "type": self.model.type,
            "options": public_options(self.model.options),
            "price": public_price(self.rule),
            "credits": self.example.credits if self.example else None,
            "explanation": pricing.explain(self.example.steps) if self.example else [],
        }

    def as_openai(self) -> dict[str, Any]:
        return {
            "id": self.model.model_id,
            "object": "model",
            "created": int(self.model.created_at.timestamp()),
            "owned_by": self.model.provider,
            "name": self.model.name,
            "type": self.model.type,
            "options": public_options(self.model.options),
            "price": public_price(self.rule),
        }


def models_on_show(tenant: Tenant | None = None) -> list[Shown]:
    """The models that are on; of those the ones that `tenant` may use, where one is given."""
    now = timezone.now()
    catalog = current_catalog()
    on = {key for key, model in catalog.models.items() if model.is_on(now) and (tenant is None or tenant.may_use(model))}
    return [show(model, catalog) for model in models_of(on)]


def models_of(ids: Iterable[UUID]) -> Iterable[AIModel]:
    return AIModel.objects.filter(id__in=list(ids)).order_by("name", "model_id")


def show(model: AIModel, catalog: Catalog) -> Shown:
    try:
        rule = catalog.rule_for(model=catalog.models[model.id], node_type="", module_type="")
        example = pricing.price(rule, example_of(model)) if rule else None
    except PricingError:
        return Shown(model, rule=None, example=None)
    return Shown(model, rule, example)


def example_of(model: AIModel) -> pricing.Inputs:
    """One use with everything left out that may be."""
    type = Generation.Type.IMAGE if model.type == AIModel.Type.IMAGE_GENERATION else Generation.Type.VIDEO
    wish = Wish(type=type, model=str(model.id), prompt="").with_defaults(model.options)
    return wish.use(model, model.id).inputs()


def public_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options without anything that names a secret or an address."""
    return {name: value for name, value in options.items() if not _SECRET_NAME.search(name) and not _ADDRESS.search(str(value))}


def public_price(rule: pricing.Rule | None) -> dict[str, Any] | None:
    if rule is None:
        return None
    wanted = ("billingType", "baseCredits", "isFree", "roundUp", "pricingUnit", "prices")
    return {name: value for name, value in pricing.rule_to_json(rule).items() if name in wanted}
