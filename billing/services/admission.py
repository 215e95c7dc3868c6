"""Whether a use may be, asked under its account's lock; and what its row will say."""

from datetime import datetime
from typing import Any
from uuid import UUID

from billing.budgets.limits import Pending, budgets_for, reject_if_over
from billing.catalog import pricing
from billing.catalog.current import Catalog
from billing.catalog.offers import snapshot, use_to_json
from billing.catalog.usage import UsageRequest
from billing.ledger.posting import Posting
from billing.ledger.selectors import open_holds_and_running
from billing.ledger.targets import AccountRow
from billing.services.permissions import Admission, admit
from tenants.models import Mode


def admit_locked(
    posting: Posting, row: AccountRow, use: UsageRequest, catalog: Catalog, *, link: UUID | None = None
) -> Admission:
    admission = admit(
        target=row,
        use=use,
        model=use.resolved(catalog),
        catalog=catalog,
        now=posting.now,
        usage=lambda day, scope: posting.usage(row.account_id, day, scope),
        running=lambda: open_holds_and_running(row.account_id, but=link) + posting.new_holds(row.account_id),
    )
    if row.has_budgets and admission.credits:
        _reject_if_over_budget(posting, row, admission.credits)
    return admission


def _reject_if_over_budget(posting: Posting, row: AccountRow, credits: int) -> None:
    """Under the account's lock, so that two uses cannot both take a budget's last credits."""

    def pending(api_key_id: UUID | None) -> Pending:
        used, held = posting.unwritten(row.account_id, api_key_id=api_key_id)
        # Of the whole account the figure that is `held` below has the new holds in it already.
        return Pending(used, held if api_key_id else 0)

    reject_if_over(
        budgets_for(row.owner_id, row.owner.api_key_id, is_live=row.owner.mode == Mode.LIVE),
        row.account_id,
        credits,
        now=posting.now,
        held=posting.accounts[row.account_id].held,
        pending=pending,
    )


def use_fields(
    use: UsageRequest,
    catalog: Catalog,
    admission: Admission,
    now: datetime,
    actor: str,
    idempotency_key: str | None,
    request_hash: str,
) -> dict[str, Any]:
    model = use.resolved(catalog)
    return {
        "model_id": model.id if model else None,
        "operation": use.operation,
        "quantity": use.quantity,
        "is_free": admission.is_free,
        "use": use_to_json(use),
        "snapshot": snapshot(admission.rule, admission.steps, catalog.version),
        "counted_day": admission.counted_day,
        "counted_scope": admission.counted_scope,
        "counted_free": admission.counted_free,
        "metadata": use.metadata,
        "idempotency_key": idempotency_key,
        "fingerprint": request_hash,
        "actor": actor,
        "created_at": now,
    }


def price_by_snapshot(snapshot: dict[str, Any], inputs: pricing.Inputs) -> pricing.Quote:
    """Return what a use costs by the prices that were in force when it was held or charged.

    Raises:
        A PricingError.
    """
    if snapshot["rule"] is None:
        return pricing.default_price(inputs)
    return pricing.price(pricing.rule_from_json(snapshot["rule"]), inputs)
