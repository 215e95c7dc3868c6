"""The catalog as a use sees it: models, rules, permissions and levels, read once per version and kept in memory.

Every change of a catalog row raises `CatalogState.version` in its own transaction. Whoever reads a target reads that
number with it, so a switch is effective at once in every process, and an unchanged catalog costs no query.
"""

import copy
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from uuid import UUID

from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from billing.catalog import pricing
from billing.catalog.models import AIModel, BillingRule, CatalogState, LevelConfig, ModelPermission, OnOrOff, scope_of
from billing.catalog.pricing import Rule
from billing.catalog.rules import rule_of
from billing.errors import ModelNotFound, PriceNotConfigured
from waule.core.db.prepared import PreparedQuery
from waule.core.errors import InvalidRequest
from waule.core.ids import parse_uuid

UNLIMITED = -1
MAX_REPLACEMENTS = 5  # in a row


@dataclass(frozen=True)
class ModelInfo(OnOrOff):
    """A model, as far as permissions and prices care."""

    id: UUID
    model_id: str
    name: str
    provider: str
    type: str
    is_active: bool
    disabled_reason: str
    disabled_until: datetime | None
    retires_at: date | None = None
    replaced_by: str = ""
    serve_replacement: bool = False


@dataclass(frozen=True)
class Permission:
    """One row of what a level may do within a scope. Limits: -1 unlimited, 0 none."""

    scope: str
    is_allowed: bool
    daily_limit: int
    is_free_for_member: bool
    free_daily_limit: int


@dataclass(frozen=True, eq=False)
class Catalog:
    version: int
    models: dict[UUID, ModelInfo]
    by_name: dict[str, tuple[ModelInfo, ...]]
    rules: dict[str, Rule]  # by scope
    permissions: dict[tuple[str, str], Permission]  # by level and scope
    max_concurrency: dict[str, int]  # by level
    rows: dict[UUID, AIModel] = field(default_factory=dict, repr=False)  # the models whole; `row_of` gives them

    def row_of(self, model: ModelInfo) -> AIModel:
        """Return the model's row as this catalog has it, a copy of one's own."""
        return copy.copy(self.rows[model.id])

    def model(self, text: str) -> ModelInfo:
        """Return the model whose id of ours, or whose provider's name, is `text`.

        Where that one has ended and is served by its replacement: the replacement.

        Raises:
            ModelNotFound: nobody has that id or name.
            InvalidRequest: two models share the name; `details.fields` says to give our id.
        """
        return self.serving(self._named_model(text))

    def serving(self, model: ModelInfo) -> ModelInfo:
        """Return who serves a model: its replacement from the day on that it ends, where the operator wants that; else itself."""
        for _step in range(MAX_REPLACEMENTS):
            if not model.serve_replacement or not model.is_retired(timezone.now()):
                break
            fitting = [other for other in self.by_name.get(model.replaced_by, ()) if other.type == model.type]
            if not fitting:
                break
            model = next((other for other in fitting if other.provider == model.provider), fitting[0])
        return model

    def served_by(self, model: ModelInfo, now: datetime) -> Iterator[ModelInfo]:
        """Yield the models that have ended and that this one serves."""
        for other in self.models.values():
            if other.serve_replacement and other.is_retired(now) and self.serving(other) is model:
                yield other

    def _named_model(self, text: str) -> ModelInfo:
        model_pk = parse_uuid(text)
        if model_pk is not None and model_pk in self.models:
            return self.models[model_pk]
        named = self.by_name.get(text, ())
        if not named:
            raise ModelNotFound(_("There is no model %(model)s.") % {"model": text}, modelId=text)
        if len(named) > 1:
            raise InvalidRequest.of_field(
                "modelId",
                _("%(count)s models are named %(model)s. Give the id of the one you mean: %(ids)s.")
                % {
                    "count": len(named),
                    "model": text,
                    "ids": ", ".join(f"{model.id} ({model.type})" for model in named),
                },
            )
        return named[0]

    def named(self, text: str) -> tuple[ModelInfo, ...]:
        """Return every model whose id of ours, or whose provider's name, is `text`: at least one.

        Raises:
            ModelNotFound.
        """
        return (self.model(text),) if len(self.by_name.get(text, ())) < 2 else tuple(map(self.serving, self.by_name[text]))

    def rule_for(self, *, model: ModelInfo | None, node_type: str, module_type: str) -> Rule | None:
        """Return the active rule of the most specific scope; None where no scope has any rule at all.

        Raises:
            PriceNotConfigured: there are rules, and all of them are switched off: not for sale.
        """
        found = [self.rules[scope] for scope in scopes_of(model, node_type, module_type) if scope in self.rules]
        for rule in found:
            if rule.is_active:
                return rule
        if found:
            raise PriceNotConfigured(_("The price of this use is switched off: it is not for sale."), ruleId=found[0].id)
        return None

    def permission_for(self, level: str, *, model: ModelInfo | None, node_type: str, module_type: str) -> Permission | None:
        """Return the row of the most specific scope for `level`; None where there is none: allowed and paid."""
        for scope in scopes_of(model, node_type, module_type):
            if (permission := self.permissions.get((level, scope))) is not None:
                return permission
        return None


def scopes_of(model: ModelInfo | None, node_type: str, module_type: str) -> list[str]:
    """Return the scopes that a use falls under, the most specific first: node type, module type, model."""
    scopes = []
    if node_type.strip():
        scopes.append(scope_of(node_type=node_type))
    if module_type.strip():
        scopes.append(scope_of(module_type=module_type))
    if model is not None:
        scopes.append(scope_of(model_pk=model.id))
    return scopes


_lock = threading.Lock()
_kept: Catalog | None = None


def current_catalog(version: int | None = None) -> Catalog:
    """Return the catalog that holds now. `version`, where the caller has just read it, spares a query."""
    global _kept
    if version is None:
        version = _current_version()
    kept = _kept
    if kept is not None and kept.version == version:
        return kept
    with _lock:
        if _kept is None or _kept.version != version:
            _kept = load_catalog()
        return _kept


_VERSION = PreparedQuery(lambda pk: CatalogState.objects.filter(id=pk).values_list("version"), [-1], ["bigint"])


def _current_version() -> int:
    row = _VERSION.first(1)
    assert row, "a migration made the catalog's state"
    return int(row[0])


def kept_catalog() -> Catalog:
    """Return the catalog that was read last. Whoever goes by it lets the database check that its version is still current."""
    return _kept or current_catalog()


def forget_catalog() -> None:
    """Drop what is kept in memory, for tests that roll their changes back."""
    global _kept
    _kept = None


def load_catalog() -> Catalog:
    """Return the catalog as the tables hold it; inside a transaction, also what that may still take back."""
    # The number is read first: rows changed after it make a newer number, and with it another reading.
    version = _current_version()
    rows = list(AIModel.objects.all())
    models = {
        row.id: ModelInfo(
            id=row.id,
            model_id=row.model_id,
            name=row.name,
            provider=row.provider,
            type=row.type,
            is_active=row.is_active,
            disabled_reason=row.disabled_reason,
            disabled_until=row.disabled_until,
            retires_at=row.retires_at,
            replaced_by=row.replaced_by,
            serve_replacement=row.serve_replacement,
        )
        for row in rows
    }
    by_name: dict[str, tuple[ModelInfo, ...]] = {}
    for model in models.values():
        by_name[model.model_id] = (*by_name.get(model.model_id, ()), model)
    for row in rows:  # what a gateway calls a variant is its model, where no other has that name
        for name in pricing.variant_names(row.options) - set(by_name):
            by_name[name] = (*by_name.get(name, ()), models[row.id])
    return Catalog(
        version=version,
        models=models,
        by_name=by_name,
        rules={
            row.scope: rule_of(row, list(row.prices.all()))
            for row in BillingRule.objects.prefetch_related("prices").order_by("id")
        },
        permissions={
            (row.level.level, row.scope): Permission(
                scope=row.scope,
                is_allowed=row.is_allowed,
                daily_limit=row.daily_limit,
                is_free_for_member=row.is_free_for_member,
                free_daily_limit=row.free_daily_limit,
            )
            for row in ModelPermission.objects.select_related("level")
        },
        max_concurrency={row.level: row.max_concurrency for row in LevelConfig.objects.all()},
        rows={row.id: row for row in rows},
    )
