"""What a charge would take, or why it would be refused. Nothing moves."""

from dataclasses import dataclass

from billing.budgets.limits import budgets_for, reject_if_over
from billing.catalog import pricing
from billing.catalog.current import current_catalog
from billing.catalog.offers import price_of
from billing.catalog.usage import UsageRequest, check_names_something, check_target_and_use
from billing.errors import InsufficientCredits, PricingError
from billing.ledger.balances import balance_of
from billing.ledger.posting import database_now
from billing.ledger.selectors import open_holds_and_running, usage_of
from billing.ledger.targets import find_target
from billing.services.permissions import admit
from tenants.models import Mode
from tenants.principal import Principal
from waule.core.errors import WauleError


@dataclass(frozen=True)
class Estimate:
    """What a charge would take. `rejection` is why it would be refused, where it would."""

    credits: int
    is_free: bool
    rule: pricing.Rule | None
    steps: tuple[pricing.Step, ...]
    rejection: WauleError | None = None


def estimate(*, target: Principal | None, use: UsageRequest) -> Estimate:
    """Return what a charge would take, or why it would be refused. Moves nothing.

    Raises:
        InvalidRequest, TargetNotFound, ModelNotFound, a PricingError: as the charge would.
    """
    if target is None:
        check_names_something(use)
        catalog = current_catalog()
        rule, quote = price_of(catalog, use, use.resolved(catalog))
        return Estimate(quote.credits, quote.is_free, rule, quote.steps)
    check_target_and_use(target, use)
    row = find_target(target)
    catalog = current_catalog(row.catalog_version)
    model = use.resolved(catalog)
    try:
        admission = admit(
            target=row,
            use=use,
            model=model,
            catalog=catalog,
            now=database_now(),
            usage=lambda day, scope: usage_of(row.account_id, day, scope),
            running=lambda: open_holds_and_running(row.account_id),
        )
        if row.has_budgets and admission.credits:
            budgets = budgets_for(row.owner_id, row.owner.api_key_id, is_live=row.owner.mode == Mode.LIVE)
            reject_if_over(budgets, row.account_id, admission.credits, now=database_now(), held=balance_of(row.account_id).held)
    except PricingError:
        raise
    except WauleError as rejection:
        try:
            rule, quote = price_of(catalog, use, model)
        except PricingError:
            return Estimate(0, False, None, (), rejection)
        return Estimate(quote.credits, quote.is_free, rule, quote.steps, rejection)
    available = balance_of(row.account_id).spendable
    lacking = InsufficientCredits(required=admission.credits, available=available) if admission.credits > available else None
    return Estimate(admission.credits, admission.is_free, admission.rule, admission.steps, lacking)


def check_use(*, target: Principal, use: UsageRequest) -> Estimate:
    """As `estimate`, but raises what the charge would raise."""
    result = estimate(target=target, use=use)
    if result.rejection is not None:
        raise result.rejection
    return result
