"""Charges that belong to a generation: the gateway charges with the generation's id as its key.

Such a key binds the charge to the generation's model and owner; and what has failed already is charged and refunded in
one transaction, so that it costs nothing whichever of the two came first.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any
from uuid import UUID

from billing.catalog import ModelInfo
from billing.errors import ChargeMismatch
from billing.models import Charge
from billing.selectors import TargetRow
from billing.uses import UseRequest
from waule.ids import parse_uuid

FAILED = frozenset({"failed", "canceled"})


def generation_of(idempotency_key: str | None) -> UUID | None:
    """The id of the generation whose key this is. Only what could be an id of ours costs a query."""
    return generations_of([idempotency_key]).get(idempotency_key) if idempotency_key else None


def generations_of(idempotency_keys: Iterable[str | None]) -> dict[str | None, UUID]:
    """The ids of generations among keys, by key: in one query, or none."""
    ids = {key: found for key in idempotency_keys if key and (found := parse_uuid(key)) is not None and found.version == 7}
    if not ids:
        return {}
    there = set(_generations().filter(id__in=set(ids.values())).values_list("id", flat=True))
    return {key: found for key, found in ids.items() if found in there}


@dataclass(frozen=True)
class Bond:
    """What a charge takes from its generation."""

    has_failed: bool
    use: UseRequest  # with what the generation's caller asked for where the charge says nothing
    row: TargetRow  # with the key that asked, whose budgets bind it


def check_bond(generation_id: UUID, row: TargetRow, model: ModelInfo | None, use: UseRequest) -> Bond:
    """The generation must be for this model and account. Its row stays as it is until the transaction ends.

    A chat completion names no duration and no resolution: the generation does.

    Raises:
        ChargeMismatch: the charge is for another model, or for another's account.
    """
    bond = _generations().select_for_update().get(id=generation_id)
    owner = bond.tenant_id if row.kind == "tenant" else bond.user_id
    if owner != row.id or model is None or bond.model_id != model.id:
        raise ChargeMismatch
    asked = bond.parameters
    filled = replace(
        use,
        duration=use.duration if use.duration is not None or "duration" not in asked else Decimal(asked["duration"]),
        resolution=use.resolution or asked.get("resolution", ""),
        mode=use.mode or asked.get("mode", ""),
        operation_type=use.operation_type or asked.get("generationType", ""),
    )
    return Bond(bond.verdict in FAILED, filled, replace(row, api_key_id=bond.api_key_id or row.api_key_id))


def _generations() -> Any:
    # Generations belong to an app above this one; the reverse relation leads there without an import.
    related: Any = Charge._meta.get_field("generation").related_model
    return related._default_manager.only("tenant_id", "user_id", "api_key_id", "model_id", "verdict", "parameters")
