"""Making the catalog what a file says: all of it or nothing, in one transaction."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from billing.catalog.changes import Change, differences
from billing.catalog.current import Catalog, load_catalog
from billing.catalog.file.document import Document, LevelEntry, ModelEntry, RuleEntry, ScopeEntry
from billing.catalog.file.export import level_entry, model_entry, rule_entry
from billing.catalog.file.fields import reject
from billing.catalog.file.sizes import check_sizes
from billing.catalog.file.versions import record as record_version
from billing.catalog.models import (
    AIModel,
    BillingPrice,
    BillingRule,
    CatalogState,
    LevelConfig,
    ModelPermission,
    raise_catalog_version,
    scope_of,
)
from billing.catalog.provider_lists import warnings
from billing.catalog.rules import mark_changed
from tenants import audit
from waule.core.db.transactions import durable
from waule.core.errors import InvalidState
from waule.core.fail_points import failpoint


@dataclass(frozen=True)
class Result:
    changes: tuple[Change, ...]
    problems: tuple[str, ...] = ()  # sizes that can be applied, but do not work for customers as they stand
    warnings: tuple[str, ...] = ()  # models, listed or not, that their services no longer make

    def count(self, what: str) -> int:
        return sum(change.what == what for change in self.changes)


def apply(
    document: Document,
    *,
    actor: str,
    prune: bool = False,
    dry_run: bool = False,
    source: str = "",
    expected_version: int | None = None,
) -> Result:
    """Make models, rules and levels what `document` says; what it does not list stays, or is switched off with `prune`.

    What changed is kept as a version of the catalog, `source` says where it came from, and in the audit log.

    Raises:
        InvalidRequest: a scope names no model or several, two rules one scope, or a model sells what its provider can
            never be asked for. Nothing was changed.
        InvalidState: the catalog is no longer the one whose `CatalogState.version` the caller expects. Nothing was changed.
    """
    return _apply(document, actor, prune, dry_run, source, expected_version)


@durable
def _apply(document: Document, actor: str, prune: bool, dry_run: bool, source: str, expected_version: int | None) -> Result:
    # One catalog at a time: whoever comes second compares with what the first has written.
    state = CatalogState.objects.select_for_update(no_key=True).get(id=1)
    if expected_version not in (None, state.version):
        raise InvalidState(_("Somebody changed the catalog in the meantime. Look at the difference again."))
    work = _Work(document, actor)
    work.write_all(prune=prune)
    problems, warned = check_sizes(document), tuple(warnings(AIModel.objects.order_by("model_id", "provider"), timezone.now()))
    if dry_run:
        transaction.set_rollback(True)
    elif work.changes:
        raise_catalog_version()
        note = f"catalog file {source}".strip()
        record_version(author=actor, note=note)
        counts = Counter(f"{change.kind} {change.what}" for change in work.changes)
        audit.record(actor=actor, action="catalog.apply", target_type="catalog", target_name=note, after=dict(counts))
        failpoint("catalog.before_commit")
    return Result(tuple(work.changes), problems, warned)


def draft(document: Document, *, prune: bool = False) -> Catalog:
    """Return the catalog as it would be if `document` were applied now. Nothing is changed.

    Raises:
        InvalidRequest: as `apply`.
    """
    with transaction.atomic():
        work = _Work(document, "draft")
        work.write_all(prune=prune)
        catalog = load_catalog()
        transaction.set_rollback(True)
    return catalog


class _Work:
    """One application of a document."""

    def __init__(self, document: Document, actor: str) -> None:
        self.document = document
        self.actor = actor
        self.changes: list[Change] = []
        self.models = {(row.provider, row.model_id, row.type): row for row in AIModel.objects.all()}
        self.listed_models = {entry.key for entry in document.models}
        self.rules = {
            row.scope: row for row in BillingRule.objects.select_related("model").prefetch_related("prices").order_by("pk")
        }
        self.listed_rules: dict[str, int] = {}

    def write_all(self, *, prune: bool) -> None:
        self.write_models()
        self.write_rules()
        self.write_levels()
        if prune:
            self.switch_off_the_rest()

    # --- models

    def write_models(self) -> None:
        for entry in self.document.models:
            row = self.models.get(entry.key)
            if row is None:
                row = AIModel(provider=entry.provider, model_id=entry.model_id, type=entry.type)
                self.models[entry.key] = row
                change = Change("added", "model", _model_name(row), differences({}, entry.as_json()))
            elif fields := differences(model_entry(row).as_json(), entry.as_json()):
                change = Change("changed", "model", _model_name(row), fields)
            else:
                continue
            self._save_model(row, entry)
            self.changes.append(change)

    def _save_model(self, row: AIModel, entry: ModelEntry) -> None:
        row.name = entry.name
        row.options = entry.options
        row.gateway_endpoint = entry.gateway_endpoint
        row.retires_at, row.replaced_by = entry.retires_at, entry.replaced_by
        row.serve_replacement = entry.serve_replacement
        if entry.is_active:
            row.is_active, row.disabled_reason, row.disabled_by, row.disabled_until = True, "", "", None
        elif row.is_active:
            self._switch_off(row)
        row.save()

    def _switch_off(self, row: AIModel) -> None:
        row.is_active, row.disabled_until = False, None
        row.disabled_reason, row.disabled_by = "catalog file", self.actor

    def _model(self, scope: ScopeEntry, path: str) -> AIModel:
        """Return the model a scope names: one that the file lists, else one that is there.

        Raises:
            InvalidRequest: none, or several.
        """
        named = [
            row
            for row in self.models.values()
            if row.model_id == scope.model_id and scope.provider in ("", row.provider) and scope.type in ("", row.type)
        ]
        found = [row for row in named if (row.provider, row.model_id, row.type) in self.listed_models] or named
        if not found:
            raise reject(f"{path}.modelId", _("There is no model %(model)s.") % {"model": scope})
        if len(found) > 1:
            names = "; ".join(f"{row.provider} {row.type}" for row in found)
            raise reject(
                path,
                _("%(count)s models are named %(model)s: give provider and type as well (%(names)s).")
                % {"count": len(found), "model": scope.model_id, "names": names},
            )
        return found[0]

    def _columns(self, scope: ScopeEntry, path: str) -> dict[str, Any]:
        """Return the columns of a row of this scope."""
        model = self._model(scope, path) if scope.model_id else None
        return {"model": model, "node_type": scope.node_type, "module_type": scope.module_type}

    # --- rules

    def write_rules(self) -> None:
        for number, entry in enumerate(self.document.rules):
            path = f"rules[{number}]"
            columns = self._columns(entry.scope, f"{path}.scope")
            scope = _scope_text(columns)
            if scope in self.listed_rules:
                raise reject(
                    f"{path}.scope",
                    _("%(where)s prices this already: a scope has one rule.") % {"where": f"rules[{self.listed_rules[scope]}]"},
                )
            self.listed_rules[scope] = number
            self._write_rule(entry, self.rules.get(scope), columns)

    def _write_rule(self, entry: RuleEntry, row: BillingRule | None, columns: dict[str, Any]) -> None:
        name = f"{entry.name} ({entry.scope})"
        if row is None:
            self.changes.append(Change("added", "rule", name, differences({}, entry.facts())))
            row = BillingRule(**columns)
            self._fill_rule(row, entry)
            row.save()
            self._write_prices(row, entry)
            return
        before = rule_entry(row, frozenset())
        fields = differences(before.facts(), entry.facts())
        if not fields:
            return
        self.changes.append(Change("changed", "rule", name, fields))
        self._fill_rule(row, entry)
        row.save()
        row.prices.all().delete()
        self._write_prices(row, entry)
        mark_changed(row)

    @staticmethod
    def _fill_rule(row: BillingRule, entry: RuleEntry) -> None:
        row.name = entry.name
        row.billing_type = entry.billing_type
        row.base_credits = entry.base_credits
        row.is_free = entry.is_free
        row.round_up = entry.round_up
        row.pricing_unit = entry.pricing_unit
        row.is_active = entry.is_active

    @staticmethod
    def _write_prices(row: BillingRule, entry: RuleEntry) -> None:
        BillingPrice.objects.bulk_create(
            BillingPrice(
                rule=row,
                dimension=price.dimension,
                value=price.value,
                credits=price.credits,
                multiplier=price.multiplier,
                unit_size=price.unit_size,
            )
            for price in entry.prices
        )

    # --- levels

    def write_levels(self) -> None:
        rows = {row.level: row for row in LevelConfig.objects.prefetch_related("permissions__model")}
        for number, entry in enumerate(self.document.levels):
            self._write_level(entry, rows.get(entry.level), f"levels[{number}]")

    def _write_level(self, entry: LevelEntry, row: LevelConfig | None, path: str) -> None:
        permissions: dict[str, ModelPermission] = {}
        labels: dict[str, str] = {}
        for number, permission in enumerate(entry.permissions):
            where = f"{path}.permissions[{number}].scope"
            columns = self._columns(permission.scope, where)
            scope = _scope_text(columns)
            if scope in permissions:
                raise reject(where, _("Another permission of this level has this scope."))
            permissions[scope] = ModelPermission(
                **columns,
                scope=scope,
                is_allowed=permission.is_allowed,
                daily_limit=permission.daily_limit,
                is_free_for_member=permission.is_free_for_member,
                free_daily_limit=permission.free_daily_limit,
            )
            labels[scope] = str(permission.scope)
        before = _level_facts(row, labels) if row else {}
        after: dict[str, Any] = {"maxConcurrency": entry.max_concurrency}
        for scope, permission in zip(permissions, entry.permissions, strict=True):
            after[f"permissions[{labels[scope]}]"] = permission.facts()
        fields = differences(before, after)
        if row is not None and not fields:
            return
        self.changes.append(Change("changed" if row else "added", "level", entry.level, fields))
        row = row or LevelConfig(level=entry.level)
        row.max_concurrency = entry.max_concurrency
        row.save()
        row.permissions.all().delete()
        for new in permissions.values():
            new.level = row
        ModelPermission.objects.bulk_create(permissions.values())

    # --- what is not listed

    def switch_off_the_rest(self) -> None:
        for key, model in self.models.items():
            if key not in self.listed_models and (model.is_active or model.disabled_until is not None):
                self._switch_off(model)
                model.save()
                self.changes.append(Change("switched off", "model", _model_name(model)))
        for scope, rule in self.rules.items():
            if scope not in self.listed_rules and rule.is_active:
                rule.is_active = False
                rule.save()
                mark_changed(rule)
                label = str(rule_entry(rule, frozenset()).scope)
                self.changes.append(Change("switched off", "rule", f"{rule.name} ({label})"))


def _scope_text(columns: dict[str, Any]) -> str:
    return scope_of(
        model_pk=columns["model"].pk if columns["model"] else None,
        node_type=columns["node_type"],
        module_type=columns["module_type"],
    )


def _model_name(row: AIModel) -> str:
    return f"{row.model_id} ({row.provider}, {row.type})"


def _level_facts(row: LevelConfig, labels: dict[str, str]) -> dict[str, Any]:
    """Return a level's fields, its permissions named as the file names them where it lists them."""
    facts: dict[str, Any] = {"maxConcurrency": row.max_concurrency}
    entries = level_entry(row, frozenset()).permissions
    for permission, entry in zip(sorted(row.permissions.all(), key=lambda each: each.pk), entries, strict=True):
        label = labels.get(permission.scope, str(entry.scope))
        facts[f"permissions[{label}]"] = entry.facts()
    return facts
