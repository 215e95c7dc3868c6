"""What a charge would take, or why it would be refused. Nothing moves."""

from dataclasses import dataclass

from billing import pricing
from billing.budgets import budgets_for, refuse_if_over
from billing.catalog import current_catalog
from billing.errors import InsufficientCredits, PricingError
from billing.ledger import database_now
from billing.permissions import admit, price_of
from billing.selectors import balance_of, find_target, open_holds_and_running, usage_of
from billing.uses import Target, UseRequest, check_names_something, check_target_and_use
from tenants.models import Mode
from waule.errors import WauleError


@dataclass(frozen=True)
class Estimate:
    """What a charge would take. `refusal` is why it would be refused, where it would."""

    credits: int
    is_free: bool
    rule: pricing.Rule | None
    steps: tuple[pricing.Step, ...]
    refusal: WauleError | None = None


def estimate(*, target: Target | None, use: UseRequest) -> Estimate:
    """What a charge would take, or why it would be refused. Moves nothing.

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
            budgets = budgets_for(row.id, row.api_key_id, is_live=row.mode == Mode.LIVE)
            refuse_if_over(budgets, row.account_id, admission.credits, now=database_now(), held=balance_of(row.account_id).held)
    except PricingError:
        raise
    except WauleError as refusal:
        try:
            rule, quote = price_of(catalog, use, model)
        except PricingError:
            return Estimate(0, False, None, (), refusal)
        return Estimate(quote.credits, quote.is_free, rule, quote.steps, refusal)
    available = balance_of(row.account_id).spendable
    lacking = InsufficientCredits(required=admission.credits, available=available) if admission.credits > available else None
    return Estimate(admission.credits, admission.is_free, admission.rule, admission.steps, lacking)


def check_use(*, target: Target, use: UseRequest) -> Estimate:
    """As `estimate`, but raises what the charge would raise."""
    result = estimate(target=target, use=use)
    if result.refusal is not None:
        raise result.refusal
    return result
