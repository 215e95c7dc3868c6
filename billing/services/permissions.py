"""Who may, and what it takes: the seven steps of a use, in their order. Changes nothing.

1 switched on · 2 enabled for the tenant · 3 level · 4 permission row and daily limit · 5 concurrency · 6 free use · 7 price.
Funds are the ledger's to refuse.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from django.conf import settings
from django.utils.translation import gettext as _

from billing.catalog import pricing
from billing.catalog.current import UNLIMITED, Catalog, ModelInfo, Permission
from billing.catalog.offers import price_of
from billing.catalog.usage import UsageRequest
from billing.errors import (
    ConcurrencyLimit,
    DailyLimit,
    ModelDisabled,
    ModelNotEnabled,
    PermissionRefused,
    TenantInactive,
    UserInactive,
)
from billing.ledger.models import DailyUsage
from billing.ledger.targets import AccountRow
from tenants.models import ALL_MODELS, MEMBER_LEVELS, UNLIMITED_LEVELS, Level

FREE_STEPS = frozenset({"level_is_free", "free_for_member"})


@dataclass(frozen=True)
class Admission:
    """A use that may happen: what it costs, why, and which daily counter it takes."""

    credits: int
    is_free: bool
    rule: pricing.Rule | None
    steps: tuple[pricing.Step, ...]
    counted_day: date | None = None
    counted_scope: str = ""
    counted_free: bool = False


def billing_day(now: datetime) -> date:
    """Return the date of `now` in BILLING_TIME_ZONE: what daily limits call today."""
    return now.astimezone(ZoneInfo(settings.BILLING_TIME_ZONE)).date()


def seconds_to_tomorrow(now: datetime) -> int:
    """Return seconds until the next day begins in BILLING_TIME_ZONE: when a daily limit opens again."""
    zone = ZoneInfo(settings.BILLING_TIME_ZONE)
    midnight = datetime.combine(billing_day(now) + timedelta(days=1), time(), zone)
    return max(1, int((midnight - now).total_seconds()) + 1)


def check_switches(target: AccountRow, model: ModelInfo | None, catalog: Catalog, now: datetime) -> None:
    """Steps 1 and 2.

    Raises:
        TenantInactive, UserInactive, ModelDisabled, ModelNotEnabled.
    """
    if not target.is_active:
        raise TenantInactive if target.owner.kind == "tenant" else UserInactive
    if model is None:
        return
    if model.is_retired(now):
        raise ModelDisabled(
            _("The model %(model)s has ended. Use %(replacement)s instead.")
            % {"model": model.name, "replacement": model.replaced_by}
            if model.replaced_by
            else _("The model %(model)s has ended.") % {"model": model.name},
            modelId=str(model.id),
            reason="retired",
            replacedBy=model.replaced_by or None,
        )
    if not model.is_on(now):
        raise ModelDisabled(
            _("The model %(model)s is switched off: %(reason)s") % {"model": model.name, "reason": model.disabled_reason}
            if model.disabled_reason
            else _("The model %(model)s is switched off.") % {"model": model.name},
            modelId=str(model.id),
            reason=model.disabled_reason,
        )
    if target.owner.kind == "tenant" and not _is_enabled(target, model, catalog, now):
        raise ModelNotEnabled(
            _("The model %(model)s is not enabled for this tenant.") % {"model": model.name}, modelId=str(model.id)
        )


def _is_enabled(target: AccountRow, model: ModelInfo, catalog: Catalog, now: datetime) -> bool:
    """Return whether the tenant's list names the model, or one that has ended and is served by it."""
    enabled = set(target.enabled_models)
    return bool({ALL_MODELS, str(model.id), model.model_id} & enabled) or any(
        {str(other.id), other.model_id} & enabled for other in catalog.served_by(model, now)
    )


def admit(
    *,
    target: AccountRow,
    use: UsageRequest,
    model: ModelInfo | None,
    catalog: Catalog,
    now: datetime,
    usage: Callable[[date, str], DailyUsage],
    running: Callable[[], int],
) -> Admission:
    """Steps 1 to 7. `usage` gives a day's counter, `running` counts what is under way; each is asked only where needed.

    Raises:
        those of `check_switches`; PermissionRefused, DailyLimit, ConcurrencyLimit; a PricingError.
    """
    check_switches(target, model, catalog, now)
    if target.owner.kind == "tenant":
        rule, quote = price_of(catalog, use, model)
        return Admission(quote.credits, quote.is_free, rule, quote.steps)

    level = target.effective_level(now)
    if level in UNLIMITED_LEVELS:
        rule, quote = price_of(catalog, use, model)
        steps = (*quote.steps, pricing.Step("level_is_free", {"level": level.value}))
        return Admission(0, True, rule, steps)

    row = catalog.permission_for(level, model=model, node_type=use.node_type, module_type=use.module_type)
    day = billing_day(now)
    counter = _check_row(row, level, usage, day, now)
    _check_concurrency(catalog, level, running)
    rule, quote = price_of(catalog, use, model)
    if row is None:
        return Admission(quote.credits, quote.is_free, rule, quote.steps)
    is_free_use = (
        not quote.is_free
        and row.is_free_for_member
        and level in MEMBER_LEVELS
        and (row.free_daily_limit == UNLIMITED or _free_uses(counter, usage, day, row) < row.free_daily_limit)
    )
    if is_free_use:
        step = pricing.Step("free_for_member", {"level": level.value, "limit": row.free_daily_limit})
        return Admission(0, True, rule, (*quote.steps, step), day, row.scope, True)
    return Admission(quote.credits, quote.is_free, rule, quote.steps, day, row.scope)


def _check_row(
    row: Permission | None, level: Level, usage: Callable[[date, str], DailyUsage], day: date, now: datetime
) -> DailyUsage | None:
    if row is None:
        return None
    if not row.is_allowed:
        raise PermissionRefused(_("The level %(level)s may not use this model.") % {"level": level.label}, level=level.value)
    if row.daily_limit == UNLIMITED:
        return None
    counter = usage(day, row.scope) if row.daily_limit else None
    uses = counter.uses if counter else 0
    if uses >= row.daily_limit:
        raise DailyLimit(
            _("The daily limit of %(limit)s uses is reached.") % {"limit": row.daily_limit},
            retry_after_seconds=seconds_to_tomorrow(now),
            limit=row.daily_limit,
            used=uses,
        )
    return counter


def _free_uses(counter: DailyUsage | None, usage: Callable[[date, str], DailyUsage], day: date, row: Permission) -> int:
    if row.free_daily_limit == 0:
        return 0
    return (counter or usage(day, row.scope)).free_uses


def _check_concurrency(catalog: Catalog, level: Level, running: Callable[[], int]) -> None:
    limit = catalog.max_concurrency.get(level, UNLIMITED)
    if limit == UNLIMITED:
        return
    now_running = running() if limit else 0
    if now_running >= limit:
        raise ConcurrencyLimit(
            _("%(running)s generations are under way; this level may have %(limit)s at once.")
            % {"running": now_running, "limit": limit},
            retry_after_seconds=5,
            limit=limit,
            running=now_running,
        )
