"""From the bytes of a file to a `Document`; whatever is not meant is refused with its path."""

import re
from collections.abc import Hashable, Iterable
from typing import Any

from django.utils.translation import gettext as _

from billing.catalog import pricing
from billing.catalog.file.document import (
    MAX_FILE_BYTES,
    MAX_LIMIT,
    MAX_OPTIONS_BYTES,
    Document,
    LevelEntry,
    ModelEntry,
    PermissionEntry,
    PriceEntry,
    RuleEntry,
    ScopeEntry,
)
from billing.catalog.file.fields import Fields, reject
from billing.catalog.file.yaml_loader import load_yaml
from billing.catalog.models import AIModel, BillingPrice, BillingType
from tenants.models import Level
from waule.core.errors import InvalidJSON, InvalidRequest, TooLarge
from waule.core.http import strict_json

_WIRE_NAMES = {
    "base_credits": "baseCredits",
    "billing_type": "billingType",
    "pricing_unit": "pricingUnit",
    "unit_size": "unitSize",
}


def parse(raw: bytes, *, name: str = "") -> Document:
    """Return the catalog that the file `name` with the content `raw` spells.

    Raises:
        InvalidRequest: what is wrong first, with its path. TooLarge: more than 1 MiB.
    """
    if len(raw) > MAX_FILE_BYTES:
        raise TooLarge(_("The catalog file is larger than %(limit)s bytes.") % {"limit": MAX_FILE_BYTES})
    data = _load(raw, name)
    if data is None:
        raise InvalidRequest(_("The catalog file is empty."))
    return from_json(data)


def from_json(data: Any) -> Document:
    """Return the catalog that `data`, the content of a file or a kept version, spells.

    Raises:
        InvalidRequest: as `parse`.
    """
    file = Fields(data, "")
    document = Document(
        models=file.entries("models", _model),
        rules=file.entries("rules", _rule),
        levels=file.entries("levels", _level),
    )
    file.end()
    _reject_twice("models", (entry.key for entry in document.models))
    _reject_twice("levels", (entry.level for entry in document.levels))
    return document


def _load(raw: bytes, name: str) -> Any:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidRequest(_("The catalog file is not UTF-8.")) from None
    is_json = name.lower().endswith(".json")
    if is_json or text.lstrip().startswith(("{", "[")):
        try:
            return strict_json.parse(text.encode())
        except InvalidJSON as error:
            if is_json:
                raise InvalidRequest(str(error)) from None
    return load_yaml(text)


def _reject_twice(path: str, keys: Iterable[Hashable]) -> None:
    seen: dict[Hashable, int] = {}
    for number, key in enumerate(keys):
        if key in seen:
            raise reject(f"{path}[{number}]", _("This is listed before, as %(where)s.") % {"where": f"{path}[{seen[key]}]"})
        seen[key] = number


def _model(fields: Fields) -> ModelEntry:
    model_id = fields.text("modelId", max_length=64)
    model = ModelEntry(
        model_id=model_id,
        provider=fields.text("provider", max_length=32),
        type=fields.choice("type", AIModel.Type.values),
        name=fields.text("name", max_length=200, default=model_id) or model_id,
        is_active=fields.flag("isActive", default=True),
        options=_options(fields),
        gateway_endpoint=fields.choice("gatewayEndpoint", AIModel.Endpoint.values, default=""),
        retires_at=fields.optional_day("retiresAt"),
        replaced_by=fields.text("replacedBy", max_length=64, default=""),
        serve_replacement=fields.flag("serveReplacement", default=False),
    )
    if model.serve_replacement and not (model.retires_at and model.replaced_by):
        raise reject(fields.at("serveReplacement"), _("Say when the model ends and what replaces it: retiresAt, replacedBy."))
    return model


def _options(fields: Fields) -> dict[str, Any]:
    options = fields.json_object("options", max_bytes=MAX_OPTIONS_BYTES)
    for name in ("ratios", "resolutions"):
        values = options.get(name)
        if values is not None and not (isinstance(values, list) and all(isinstance(value, str) for value in values)):
            raise reject(f"{fields.at('options')}.{name}", _("Write a list of texts here."))
    return options


def _scope(fields: Fields) -> ScopeEntry:
    inner = fields.nested("scope")
    scope = ScopeEntry(
        model_id=inner.text("modelId", max_length=64, default=""),
        provider=inner.text("provider", max_length=32, default=""),
        type=inner.choice("type", AIModel.Type.values, default=""),
        node_type=inner.text("nodeType", max_length=64, default=""),
        module_type=inner.text("moduleType", max_length=64, default=""),
    )
    inner.end()
    if sum(map(bool, (scope.model_id, scope.node_type, scope.module_type))) != 1:
        raise reject(inner.path, _("Give exactly one of modelId, nodeType and moduleType."))
    if (scope.provider or scope.type) and not scope.model_id:
        raise reject(inner.path, _("provider and type go with modelId only."))
    return scope


def _rule(fields: Fields) -> RuleEntry:
    scope = _scope(fields)
    rule = RuleEntry(
        name=fields.text("name", max_length=200, default=str(scope)[:200]) or str(scope)[:200],
        scope=scope,
        billing_type=fields.choice("billingType", BillingType.values),
        base_credits=fields.optional_integer("baseCredits") or 0,
        is_free=fields.flag("isFree", default=False),
        round_up=fields.optional_flag("roundUp"),
        pricing_unit=fields.choice("pricingUnit", ("per_second", "per_request"), default=""),
        is_active=fields.flag("isActive", default=True),
        prices=fields.entries("prices", _price),
    )
    _check_prices(rule, fields)
    return rule


def _price(fields: Fields) -> PriceEntry:
    return PriceEntry(
        dimension=fields.choice("dimension", BillingPrice.Dimension.values),
        value=fields.text("value", max_length=64, default=""),
        credits=fields.optional_integer("credits"),
        multiplier=fields.optional_decimal("multiplier"),
        unit_size=fields.optional_integer("unitSize"),
    )


def _check_prices(rule: RuleEntry, fields: Fields) -> None:
    _reject_twice(fields.at("prices"), ((price.dimension, price.value) for price in rule.prices))
    found = pricing.problems(
        pricing.Rule(
            billing_type=rule.billing_type,
            base_credits=rule.base_credits,
            is_free=rule.is_free,
            round_up=rule.round_up,
            pricing_unit=rule.pricing_unit,
            prices=tuple(
                pricing.PriceRow(price.dimension, price.value, price.credits, price.multiplier, price.unit_size)
                for price in rule.prices
            ),
        )
    )
    for path, why in found:
        raise reject(fields.at(re.sub(r"\w+$", lambda name: _WIRE_NAMES.get(name[0], name[0]), path)), why)


def _level(fields: Fields) -> LevelEntry:
    return LevelEntry(
        level=fields.choice("level", Level.values),
        max_concurrency=fields.integer("maxConcurrency", low=-1, high=MAX_LIMIT, default=-1),
        permissions=fields.entries("permissions", _permission),
    )


def _permission(fields: Fields) -> PermissionEntry:
    return PermissionEntry(
        scope=_scope(fields),
        is_allowed=fields.flag("isAllowed", default=True),
        daily_limit=fields.integer("dailyLimit", low=-1, high=MAX_LIMIT, default=-1),
        is_free_for_member=fields.flag("isFreeForMember", default=False),
        free_daily_limit=fields.integer("freeDailyLimit", low=-1, high=MAX_LIMIT, default=0),
    )
