"""Whether a use may be, asked under its account's lock; and what its row will say."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from billing import pricing
from billing.budgets import Pending, budgets_for, refuse_if_over
from billing.catalog import Catalog
from billing.ledger import Books
from billing.models import Use
from billing.permissions import Admission, admit
from billing.selectors import TargetRow, open_holds_and_running
from billing.uses import UseRequest
from tenants.models import Mode


def admit_locked(books: Books, row: TargetRow, use: UseRequest, catalog: Catalog, *, bond: UUID | None = None) -> Admission:
    admission = admit(
        target=row,
        use=use,
        model=use.resolved(catalog),
        catalog=catalog,
        now=books.now,
        usage=lambda day, scope: books.usage(row.account_id, day, scope),
        running=lambda: open_holds_and_running(row.account_id, but=bond) + books.new_holds(row.account_id),
    )
    if row.has_budgets and admission.credits:
        _refuse_if_over_budget(books, row, admission.credits)
    return admission


class _NeedsBooks(Exception):
    """This use counts, or is counted against: that is done under the account's lock."""


def _needs_books(*_arguments: Any) -> Any:
    raise _NeedsBooks


def admit_at_once(row: TargetRow, use: UseRequest, catalog: Catalog, now: datetime) -> Admission | None:
    """What one statement can take, where the database can: a price, and no budget, counter or limit. Else None: ask the books.

    Raises:
        those of `billing.permissions.admit`.
    """
    if connection.vendor != "postgresql" or row.has_budgets:
        return None
    model = use.resolved(catalog)
    try:
        admission = admit(target=row, use=use, model=model, catalog=catalog, now=now, usage=_needs_books, running=_needs_books)
    except _NeedsBooks:
        return None
    return admission if admission.credits and not admission.counted_day else None


def _refuse_if_over_budget(books: Books, row: TargetRow, credits: int) -> None:
    """Under the account's lock, so that two uses cannot both take a budget's last credits."""

    def pending(api_key_id: UUID | None) -> Pending:
        used, held = books.unwritten(row.account_id, api_key_id=api_key_id)
        # Of the whole account the figure that is `held` below has the new holds in it already.
        return Pending(used, held if api_key_id else 0)

    refuse_if_over(
        budgets_for(row.id, row.api_key_id, is_live=row.mode == Mode.LIVE),
        row.account_id,
        credits,
        now=books.now,
        held=books.accounts[row.account_id].held,
        expired=list(books.expired_holds),
        pending=pending,
    )


def use_fields(
    use: UseRequest,
    catalog: Catalog,
    admission: Admission,
    now: datetime,
    actor: str,
    idempotency_key: str | None,
    mark: str,
) -> dict[str, Any]:
    model = use.resolved(catalog)
    return {
        "model_id": model.id if model else None,
        "operation": use.operation,
        "quantity": use.quantity,
        "is_free": admission.is_free,
        "use": _use_to_json(use),
        "snapshot": _snapshot(admission.rule, admission.steps, catalog.version),
        "counted_day": admission.counted_day,
        "counted_scope": admission.counted_scope,
        "counted_free": admission.counted_free,
        "metadata": use.metadata,
        "idempotency_key": idempotency_key,
        "fingerprint": mark,
        "actor": actor,
        "created_at": now,
    }


def _use_to_json(use: UseRequest) -> dict[str, Any]:
    """The inputs of the price and the scopes it was looked up by."""
    return pricing.inputs_to_json(use.inputs()) | {
        name: value for name, value in (("nodeType", use.node_type), ("moduleType", use.module_type)) if value
    }


def _snapshot(rule: pricing.Rule | None, steps: tuple[pricing.Step, ...], catalog_version: int) -> dict[str, Any]:
    return {
        "catalogVersion": catalog_version,
        "rule": pricing.rule_to_json(rule) if rule else None,
        "steps": pricing.steps_to_json(steps),
    }


def model_name(catalog: Catalog, use: Use) -> str:
    model = catalog.models.get(use.model_id) if use.model_id else None
    return model.name if model else str(use.use.get("nodeType") or use.use.get("moduleType") or "")
