"""Models as those who may generate with them see them: options and prices, and nothing of how a provider is reached."""

import re
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Any

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _

from aiservices.generations import providers
from aiservices.generations.models import Generation
from aiservices.generations.requests import GenerationRequest
from billing.catalog import pricing
from billing.catalog.current import Catalog, ModelInfo, current_catalog
from billing.catalog.models import AIModel
from billing.errors import PricingError
from tenants.models import Tenant
from waule.core.errors import InvalidRequest

_SECRET_NAME = re.compile(r"(?i)key|secret|token|password|url|endpoint|host|credential|header")
_ADDRESS = re.compile(r"(?i)\b[a-z][a-z0-9+.-]*://")


@dataclass(frozen=True)
class Shown:
    """A model with its rule."""

    model: AIModel
    rule: pricing.Rule | None
    example: pricing.Quote | None  # one use with the model's defaults, where that is enough for a price
    is_off_sale: bool = False  # there is a rule, and it is switched off

    def as_platform(self) -> dict[str, Any]:
        return {
            "id": str(self.model.id),
            "modelId": self.model.model_id,
            **self._facts,
            "provider": self.model.provider,
            "credits": self.example.credits if self.example else None,
            "explanation": pricing.explain(self.example.steps) if self.example else [],
        }

    @cached_property
    def as_openai(self) -> dict[str, Any]:
        """As `/v1/models` shows it, made once. Not to be changed."""
        return {
            "id": self.model.model_id,
            "object": "model",
            "created": int(self.model.created_at.timestamp()),
            "owned_by": self.model.provider,
            **self._facts,
        }

    @cached_property
    def _facts(self) -> dict[str, Any]:
        return {
            "name": self.model.name,
            "type": self.model.type,
            "options": public_options(self.model.options),
            "price": public_price(self.rule),
            "retiresAt": self.model.retires_at.isoformat() if self.model.retires_at else None,
            "replacedBy": self.model.replaced_by or None,
        }

    def as_price(self) -> dict[str, Any]:
        """Return every figure of the price, and what they mean in words."""
        if self.rule is None and settings.BILLING_DEFAULT_PRICES and not self.is_off_sale:
            words = pricing.explain_default()
        else:
            words = pricing.explain_rule(self.rule) if self.rule else [str(_("This model has no price: it cannot be used."))]
        return {
            "model": self.model.model_id,
            "name": self.model.name,
            "type": self.model.type,
            "price": public_price(self.rule),
            "explanation": words,
        }


def models_on_show(tenant: Tenant | None = None) -> list[Shown]:
    """Return the models that are on; of those the ones that `tenant` may use, where one is given."""
    now = timezone.now()
    catalog = current_catalog()
    by_id = {key for key, model in catalog.models.items() if model.is_on(now) and _may_use(tenant, model, catalog, now)}
    return [shown for shown in _all_shown(catalog) if shown.model.id in by_id]


def to_be_tried(tenant: Tenant) -> list[Shown]:
    """Return what `models_on_show` says, first the models that can be made here."""
    set_up: dict[str, bool] = {}
    shown = models_on_show(tenant)
    for each in shown:
        if each.model.provider not in set_up:
            set_up[each.model.provider] = providers.is_set_up(each.model.provider)
    return sorted(shown, key=lambda each: not set_up[each.model.provider])


@lru_cache(maxsize=2)
def _all_shown(catalog: Catalog) -> list[Shown]:
    """Return every model, read and priced once for each version of the catalog."""
    return [show(model, catalog) for model in AIModel.objects.order_by("name", "model_id") if model.id in catalog.models]


def _may_use(tenant: Tenant | None, model: ModelInfo, catalog: Catalog, now: datetime) -> bool:
    """Return whether its list names the model, or one that has ended and is served by it."""
    return tenant is None or tenant.may_use(model) or any(map(tenant.may_use, catalog.served_by(model, now)))


def show(model: AIModel, catalog: Catalog) -> Shown:
    """Return a model with its price, whatever that depends on."""
    try:
        rule = catalog.rule_for(model=catalog.models[model.id], node_type="", module_type="")
    except PricingError:
        return Shown(model, rule=None, example=None, is_off_sale=True)
    try:
        example = pricing.price(rule, example_of(model, catalog)) if rule else None
    except (PricingError, InvalidRequest):  # the price depends on what each use says
        example = None
    return Shown(model, rule, example)


def example_of(model: AIModel, catalog: Catalog) -> pricing.Inputs:
    """Return one use with everything left out that may be."""
    type = Generation.Type.IMAGE if model.type == AIModel.Type.IMAGE_GENERATION else Generation.Type.VIDEO
    request = GenerationRequest(type=type, model=str(model.id), prompt="").with_defaults(model.options)
    return request.in_sold_size(model, catalog, pricing.ANY_SIZE).use(model, model.id).inputs()


def public_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options without anything that names a secret or an address."""
    return {name: value for name, value in options.items() if not _SECRET_NAME.search(name) and not _ADDRESS.search(str(value))}


def public_price(rule: pricing.Rule | None) -> dict[str, Any] | None:
    if rule is None:
        return None
    wanted = ("billingType", "baseCredits", "isFree", "roundUp", "pricingUnit", "prices")
    return {name: value for name, value in pricing.rule_to_json(rule).items() if name in wanted}
