"""What a usage costs by one version of the catalog, with all that its rows will say: the same for whoever buys it.

An offer is made once and kept. It is good for as long as its catalog is current: whoever goes by it lets the database
check the version (`billing.ledger.fast_path`).
"""

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from django.conf import settings
from django.utils.translation import gettext as _

from billing.catalog import pricing
from billing.catalog.current import UNLIMITED, Catalog, ModelInfo
from billing.catalog.usage import UsageRequest
from billing.errors import PriceNotConfigured
from tenants.models import ALL_MODELS, UNLIMITED_LEVELS, Level
from waule.core.errors import WauleError

OFFERS_KEPT = 4096


@dataclass(frozen=True, eq=False)
class Offer:
    """A price above 0, and for whom it needs no further look."""

    catalog: int  # its version
    credits: int
    model_id: UUID | None
    model: str | None  # the same as text
    ending: ModelInfo | None  # the model, where a day is known on which it ends
    operation: str
    quantity: int
    enabled_by: list[str]  # names of the model: a tenant must have one of them enabled
    levels: list[str]  # users of these levels pay this price; nothing counts or limits their use
    use: dict[str, Any]
    use_json: str
    snapshot_json: str
    description: str
    document: str  # all that its rows say, as JSON


def offer_of(catalog: Catalog, use: UsageRequest) -> Offer | None:
    """Return the offer for `use` (its metadata is of no concern); None where it is refused or free, or its model has ended."""
    offer = _offer_of(catalog, use if use.metadata is None else replace(use, metadata=None), settings.BILLING_DEFAULT_PRICES)
    if offer is not None and offer.ending is not None and offer.ending.is_retired(datetime.now(UTC)):
        return None
    return offer


@lru_cache(maxsize=OFFERS_KEPT)
def _offer_of(catalog: Catalog, use: UsageRequest, _has_default_prices: bool) -> Offer | None:
    try:
        model = use.resolved(catalog)
        if model is not None and not model.is_on(datetime.now(UTC)):
            return None
        rule, quote = price_of(catalog, use, model)
    except WauleError:
        return None
    if not quote.credits:
        return None
    said: dict[str, Any] = {
        "catalog": catalog.version,
        "credits": quote.credits,
        "model": str(model.id) if model else None,
        "operation": use.operation,
        "quantity": use.quantity,
        "enabled_by": [ALL_MODELS, str(model.id), model.model_id] if model else [],
        "levels": [level.value for level in Level if _is_plain(catalog, level, model, use)],
        "use": use_to_json(use),
        "description": use.operation or description_of(model, use.node_type, use.module_type),
    }
    price = snapshot(rule, quote.steps, catalog.version)
    return Offer(
        **said,
        model_id=model.id if model else None,
        ending=model if model and model.retires_at else None,
        use_json=_as_json(said["use"]),
        snapshot_json=_as_json(price),
        document=_as_json(said | {"snapshot": price}),
    )


def fingerprint_of(catalog: Catalog, use: UsageRequest, others: dict[str, Any]) -> str:
    """`use.fingerprint` with the further fields `others`."""
    if use.metadata is not None:
        return use.fingerprint(catalog, **others)
    return _fingerprint_of(catalog, use, tuple(others.items()))


@lru_cache(maxsize=OFFERS_KEPT)
def _fingerprint_of(catalog: Catalog, use: UsageRequest, others: tuple[tuple[str, Any], ...]) -> str:
    return use.fingerprint(catalog, **dict(others))


def _is_plain(catalog: Catalog, level: Level, model: ModelInfo | None, use: UsageRequest) -> bool:
    if level in UNLIMITED_LEVELS or catalog.max_concurrency.get(level, UNLIMITED) != UNLIMITED:
        return False
    return catalog.permission_for(level, model=model, node_type=use.node_type, module_type=use.module_type) is None


def price_of(catalog: Catalog, use: UsageRequest, model: ModelInfo | None) -> tuple[pricing.Rule | None, pricing.Quote]:
    """Return the rule and what it makes of the use; the rule is None where the default price took its place.

    Raises:
        a PricingError.
    """
    rule = catalog.rule_for(model=model, node_type=use.node_type, module_type=use.module_type)
    if rule is not None:
        return rule, pricing.price(rule, use.inputs())
    if settings.BILLING_DEFAULT_PRICES:
        return None, pricing.default_price(use.inputs())
    what: Any = model.name if model else use.node_type or use.module_type
    raise PriceNotConfigured(_("No price is configured for %(what)s.") % {"what": what})


def use_to_json(use: UsageRequest) -> dict[str, Any]:
    """Return the inputs of the price and the scopes it was looked up by."""
    return pricing.inputs_to_json(use.inputs()) | {
        name: value for name, value in (("nodeType", use.node_type), ("moduleType", use.module_type)) if value
    }


def snapshot(rule: pricing.Rule | None, steps: tuple[pricing.Step, ...], catalog_version: int) -> dict[str, Any]:
    return {
        "catalogVersion": catalog_version,
        "rule": pricing.rule_to_json(rule) if rule else None,
        "steps": pricing.steps_to_json(steps),
    }


def description_of(model: ModelInfo | None, node_type: str, module_type: str) -> str:
    """Return what the ledger says where a use has no operation."""
    return model.name if model else node_type or module_type


def _as_json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
