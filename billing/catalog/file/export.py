"""The catalog that stands, as a `Document` and as the text of a file."""

import json
from collections import Counter
from typing import Any

import yaml

from billing.catalog.file.document import Document, LevelEntry, ModelEntry, PermissionEntry, PriceEntry, RuleEntry, ScopeEntry
from billing.catalog.file.yaml_loader import add_core_types
from billing.catalog.models import AIModel, BillingPrice, BillingRule, LevelConfig, ModelPermission
from tenants.models import Level


def export() -> Document:
    """Return everything, in an order that does not change from one export to the next."""
    models = list(AIModel.objects.order_by("provider", "model_id", "type"))
    shared = shared_names(models)
    rules = [
        rule_entry(rule, shared)
        for rule in BillingRule.objects.select_related("model").prefetch_related("prices").order_by("name", "scope")
    ]
    levels = [
        level_entry(level, shared) for level in LevelConfig.objects.prefetch_related("permissions__model").order_by("level")
    ]
    return Document(
        models=tuple(model_entry(model) for model in models),
        rules=tuple(rules),
        levels=tuple(sorted(levels, key=lambda entry: Level.values.index(entry.level))),
    )


def dump(document: Document, *, as_json: bool = False) -> str:
    """Return the text of a file that reads back as `document`."""
    data = document.as_json()
    if as_json:
        return json.dumps(data, ensure_ascii=False, indent=2) + "\n"
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


class _Dumper(yaml.SafeDumper):
    """Entries take a line for each field; scopes, prices, permissions and options stand on one line."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        is_entry = not _BLOCKS.isdisjoint(mapping)
        return super().represent_mapping(tag, mapping, flow_style=not is_entry)

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        holds_objects = any(isinstance(item, dict) for item in sequence)
        return super().represent_sequence(tag, sequence, flow_style=not holds_objects)

    def represent_text(self, text: str) -> yaml.ScalarNode:
        """In double quotes where PyYAML would else write a line break of Unicode as it is, and read it back as a space."""
        style = '"' if _UNICODE_BREAKS.intersection(text) else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_UNICODE_BREAKS = frozenset("\x85\u2028\u2029")
_Dumper.add_representer(str, _Dumper.represent_text)

add_core_types(_Dumper)  # text that our loader would take for a number is written in quotation marks
_BLOCKS = frozenset({"models", "isActive", "maxConcurrency"})  # a field of what is written over several lines


def shared_names(models: list[AIModel]) -> frozenset[str]:
    """Provider's names that more than one model has."""
    counted = Counter(model.model_id for model in models)
    return frozenset(name for name, count in counted.items() if count > 1)


def model_entry(model: AIModel) -> ModelEntry:
    return ModelEntry(
        model_id=model.model_id,
        provider=model.provider,
        type=model.type,
        name=model.name,
        is_active=model.is_active,
        options=model.options,
        gateway_endpoint=model.gateway_endpoint,
        retires_at=model.retires_at,
        replaced_by=model.replaced_by,
        serve_replacement=model.serve_replacement,
    )


def rule_entry(rule: BillingRule, shared: frozenset[str]) -> RuleEntry:
    return RuleEntry(
        name=rule.name,
        scope=_scope_entry(rule, shared),
        billing_type=rule.billing_type,
        base_credits=rule.base_credits,
        is_free=rule.is_free,
        round_up=rule.round_up,
        pricing_unit=rule.pricing_unit,
        is_active=rule.is_active,
        prices=tuple(_price_entry(price) for price in sorted(rule.prices.all(), key=lambda price: price.pk)),
    )


def _price_entry(price: BillingPrice) -> PriceEntry:
    return PriceEntry(price.dimension, price.value, price.credits, price.multiplier, price.unit_size)


def level_entry(level: LevelConfig, shared: frozenset[str]) -> LevelEntry:
    return LevelEntry(
        level=level.level,
        max_concurrency=level.max_concurrency,
        permissions=tuple(
            permission_entry(row, shared) for row in sorted(level.permissions.all(), key=lambda permission: permission.pk)
        ),
    )


def permission_entry(row: ModelPermission, shared: frozenset[str]) -> PermissionEntry:
    return PermissionEntry(
        scope=_scope_entry(row, shared),
        is_allowed=row.is_allowed,
        daily_limit=row.daily_limit,
        is_free_for_member=row.is_free_for_member,
        free_daily_limit=row.free_daily_limit,
    )


def _scope_entry(row: BillingRule | ModelPermission, shared: frozenset[str]) -> ScopeEntry:
    if row.model is None:
        return ScopeEntry(node_type=row.node_type, module_type=row.module_type)
    if row.model.model_id in shared:
        return ScopeEntry(model_id=row.model.model_id, provider=row.model.provider, type=row.model.type)
    return ScopeEntry(model_id=row.model.model_id)
