"""Keys that tenants give and take by themselves: within what the giving key may do, with a budget where one is named."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.utils.crypto import constant_time_compare
from django.utils.translation import gettext as _

from billing.budgets.models import Budget
from billing.catalog.current import current_catalog
from billing.ledger.models import MAX_CREDITS
from tenants import audit, services
from tenants.errors import ScopeMissing
from tenants.models import ALL_MODELS, ApiKey, Mode, Scope, Tenant
from waule.core.db.transactions import durable, in_current_transaction
from waule.core.db.versions import digest
from waule.core.errors import Conflict, InvalidRequest, InvalidState


@dataclass(frozen=True)
class KeyBudget:
    """How many credits a key may use in a calendar period of the tenant's zone."""

    period: str
    limit: int


def create_key(
    *,
    tenant: Tenant,
    giver: ApiKey | None,
    name: str,
    mode: str = Mode.LIVE,
    scopes: Sequence[str] | None = None,
    models: Sequence[str] = (),
    expires_at: datetime | None = None,
    budgets: Sequence[KeyBudget] = (),
    actor: str,
) -> tuple[ApiKey, str]:
    """Make a key of the tenant, with its budgets, and return it with its text, which is shown this once.

    `giver` is the key that asks for it (None: a person of the tenant or an operator, who may give everything).

    Raises:
        InvalidRequest: an unknown scope, a model that the tenant may not use, a budget or expiry that cannot be.
        ScopeMissing: the giver would give more than it has.
    """
    _check_budgets(budgets)
    entries = _entries_of(tenant, models)
    if giver is not None:
        entries = _within(giver, mode, scopes, entries, budgets)
    return _create(
        budgets, tenant=tenant, mode=mode, name=name, scopes=scopes, allowed_models=entries, expires_at=expires_at, actor=actor
    )


@durable
def _create(budgets: Sequence[KeyBudget], **about: Any) -> tuple[ApiKey, str]:
    create: Any = in_current_transaction(services.create_api_key)
    key, plaintext = create(**about)
    _set_budgets(key, budgets, actor=about["actor"])
    return key, plaintext


@durable
def replace_key(*, key: ApiKey, grace_seconds: int, reason: str = "", actor: str) -> tuple[ApiKey, str]:
    """Make the successor of a key, with its limits and webhook, and end the old one after a grace period."""
    create: Any = in_current_transaction(services.create_api_key)
    made, plaintext = create(tenant=key.tenant, mode=key.mode, name=key.name, successor_of=key, actor=actor)
    _set_budgets(made, [KeyBudget(each.period, each.limit_credits) for each in budgets_of_keys([key])[key.id]], actor=actor)
    reason = reason or _("replaced by %(key)s") % {"key": made.masked}
    in_current_transaction(services.revoke_api_key)(key_id=str(key.pk), grace_seconds=grace_seconds, reason=reason, actor=actor)
    return made, plaintext


@durable
def change_key(
    *,
    key_id: UUID,
    scopes: Sequence[str],
    models: Sequence[str],
    budgets: Sequence[KeyBudget],
    version: str | None = None,
    actor: str,
) -> ApiKey:
    """Give a key other scopes, models and budgets; models that it has already may stay, whatever became of them.

    `version` is what `version_of_limits` said when the key was read.

    Raises:
        InvalidRequest: as `create_key`. Conflict: somebody else has changed them since.
    """
    key = ApiKey.objects.select_related("tenant").select_for_update(of=("self",), no_key=True).get(id=key_id)
    if version is not None and not constant_time_compare(version, current := version_of_limits(key)):
        raise Conflict(version=current)
    services.check_scopes(scopes)
    _check_budgets(budgets)
    kept = [entry for entry in models if entry in key.allowed_models]
    entries = kept + _entries_of(key.tenant, [entry for entry in models if entry not in kept])
    before, after = limits_of(key), {"scopes": [each for each in Scope.values if each in scopes], "models": entries}
    key.scopes, key.allowed_models = after["scopes"], after["models"]
    key.save(update_fields=["scopes", "allowed_models"])
    if before != limits_of(key):
        audit.record(actor=actor, action="key.change", target=key, before=before, after=after)
    _set_budgets(key, budgets, actor=actor)
    return key


def limits_of(key: ApiKey) -> dict[str, list[str]]:
    return {"scopes": list(key.scopes), "models": list(key.allowed_models)}


def version_of_limits(key: ApiKey) -> str:
    """Change with the key's scopes, models and budgets."""
    budgets = {each.period: each.limit_credits for each in budgets_of_keys([key])[key.id]}
    return digest(limits_of(key) | {"budgets": budgets})


def _check_budgets(budgets: Sequence[KeyBudget]) -> None:
    if any(not 0 <= budget.limit <= MAX_CREDITS for budget in budgets):
        raise InvalidRequest.of_field("budget.limit", _("Give 0 to %(limit)s credits.") % {"limit": MAX_CREDITS})


def _set_budgets(key: ApiKey, wanted: Sequence[KeyBudget], *, actor: str) -> None:
    """Make the key's active budgets those, and note each that changes."""
    limits: dict[str, int] = {budget.period: budget.limit for budget in wanted}
    for row in Budget.objects.select_for_update(no_key=True).filter(api_key=key).order_by("id"):
        limit, before = limits.pop(row.period, None), {"limit": row.limit_credits, "active": row.is_active}
        after = {"limit": row.limit_credits if limit is None else limit, "active": limit is not None}
        if after != before:
            row.is_active = limit is not None
            row.limit_credits = row.limit_credits if limit is None else limit
            row.save(update_fields=["limit_credits", "is_active"])
            audit.record(actor=actor, action="budget.change", target=row, before=before, after=after)
    for period, limit in limits.items():
        row = Budget.objects.create(tenant=key.tenant, api_key=key, period=period, limit_credits=limit)
        audit.record(actor=actor, action="budget.create", target=row, after={"key": str(key), "period": period, "limit": limit})


def _entries_of(tenant: Tenant, models: Sequence[str]) -> list[str]:
    """Return the models as the tenant's own list names them.

    Raises:
        InvalidRequest: unknown, or not the tenant's to use.
    """
    if ALL_MODELS in models:
        return []
    catalog = current_catalog()
    entries: list[str] = []
    for number, name in enumerate(models):
        known = [model for model in catalog.models.values() if name in (str(model.id), model.model_id) and tenant.may_use(model)]
        if not known:
            raise InvalidRequest.of_field(
                f"models.{number}", _("There is no model %(model)s that you may use.") % {"model": name}
            )
        enabled = [entry for entry in tenant.enabled_models if any(entry in (str(m.id), m.model_id) for m in known)]
        entries += [name] if ALL_MODELS in tenant.enabled_models else enabled
    return entries


def _within(
    giver: ApiKey, mode: str, scopes: Sequence[str] | None, entries: list[str], budgets: Sequence[KeyBudget]
) -> list[str]:
    """Return what `giver` may give of this: the models, its own where none are named.

    Raises:
        ScopeMissing.
    """
    wanted = set(scopes) if scopes is not None else {"read", "generate"}
    if lacking := sorted(wanted - set(giver.scopes)):
        raise ScopeMissing(_("This API key lacks the scope %(scope)s itself.") % {"scope": lacking[0]}, scopes=lacking)
    if mode == Mode.LIVE and giver.mode != Mode.LIVE:
        raise ScopeMissing(_("A test key makes test keys only."))
    if giver.allowed_models:
        entries = entries or list(giver.allowed_models)
        if not set(entries) <= set(giver.allowed_models):
            raise ScopeMissing(_("This API key may not use all of these models itself."))
    for own in Budget.objects.filter(api_key=giver, is_active=True):
        if not any(budget.period == own.period and budget.limit <= own.limit_credits for budget in budgets):
            raise ScopeMissing(_("This API key has a budget: give one of the same period that is not larger."))
    return entries


def revoke_own_key(*, key: ApiKey, giver: ApiKey | None, actor: str) -> ApiKey:
    """End one of the tenant's keys.

    Raises:
        InvalidState: it is the key that asks.
    """
    if giver is not None and giver.id == key.id:
        raise InvalidState(_("A key cannot revoke itself."), state="in_use")
    return services.revoke_api_key(key_id=str(key.id), actor=actor)


def budgets_of_keys(keys: Sequence[ApiKey]) -> dict[Any, list[Budget]]:
    """Return the active budgets of these keys, by key id."""
    found: dict[Any, list[Budget]] = {key.id: [] for key in keys}
    for budget in Budget.objects.filter(api_key__in=found, is_active=True).order_by("id"):
        found[budget.api_key_id].append(budget)
    return found
