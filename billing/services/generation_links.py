"""Charges that belong to a generation: the gateway charges with the generation's id as its key.

Such a key binds the charge to the generation's model and owner; and what has failed already is charged and refunded in
one transaction, so that it costs nothing whichever of the two came first.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any
from uuid import UUID

from billing.catalog.current import ModelInfo
from billing.catalog.pricing import read_size
from billing.catalog.usage import UsageRequest
from billing.errors import ChargeMismatch
from billing.ledger.models import Charge, Hold
from billing.ledger.targets import AccountRow
from waule.core.ids import parse_uuid

FAILED = frozenset({"failed", "canceled"})


def generation_of(idempotency_key: str | None) -> UUID | None:
    """Return the id of the generation whose key this is. Only what could be an id of ours costs a query."""
    return generations_of([idempotency_key]).get(idempotency_key) if idempotency_key else None


def may_name_generation(idempotency_key: str | None) -> bool:
    """Return whether the key has the form of our ids (a version 7 UUID). Asks no database."""
    return idempotency_key is not None and len(idempotency_key) == 36 and _id_of(idempotency_key) is not None


def _id_of(idempotency_key: str) -> UUID | None:
    found = parse_uuid(idempotency_key)
    return found if found is not None and found.version == 7 else None


def generations_of(idempotency_keys: Iterable[str | None]) -> dict[str | None, UUID]:
    """Return the ids of generations among keys, by key: in one query, or none."""
    ids = {key: found for key in idempotency_keys if key and (found := _id_of(key)) is not None}
    if not ids:
        return {}
    there = set(_generations().filter(id__in=set(ids.values())).values_list("id", flat=True))
    return {key: found for key, found in ids.items() if found in there}


@dataclass(frozen=True)
class GenerationLink:
    """What a charge takes from its generation.

    `hold` is what waule itself has set aside for it; None where only the gateway charges. It has to be read again under
    its account's lock.
    """

    generation_id: UUID
    has_failed: bool
    use: UsageRequest  # with what the generation's caller asked for where the charge says nothing
    row: AccountRow  # with the key that asked, whose budgets bind it
    hold: Hold | None


def check_link(generation_id: UUID, row: AccountRow, model: ModelInfo | None, use: UsageRequest) -> GenerationLink:
    """The generation must be for this model and account. Its row stays as it is until the transaction ends.

    A chat completion names no duration and no resolution: the generation does.

    Raises:
        ChargeMismatch: the charge is for another model, or for another's account.
    """
    link = _generations().select_for_update().get(id=generation_id)
    owner_id = link.tenant_id if row.owner.kind == "tenant" else link.user_id
    if owner_id != row.owner_id or link.mode != row.owner.mode or model is None or link.model_id != model.id:
        raise ChargeMismatch
    asked = link.parameters
    filled = replace(
        use,
        duration=use.duration if use.duration is not None or "duration" not in asked else Decimal(asked["duration"]),
        resolution=use.resolution if use.resolution.text else read_size(asked.get("resolution", "")),
        mode=use.mode or asked.get("mode", ""),
        operation_type=use.operation_type or asked.get("generationType", ""),
    )
    hold = Hold.objects.filter(account_id=row.account_id, idempotency_key=str(generation_id)).first()
    asking = replace(row, owner=replace(row.owner, api_key_id=link.api_key_id or row.owner.api_key_id))
    return GenerationLink(generation_id, link.outcome in FAILED, filled, asking, hold)


def _generations() -> Any:
    # Generations belong to an app above this one; the reverse relation leads there without an import.
    related: Any = Charge._meta.get_field("generation").related_model
    return related._default_manager.only("tenant_id", "user_id", "mode", "api_key_id", "model_id", "outcome", "parameters")
