"""The usual charge, hold and capture as one statement each; many of them are the same statement over many rows.

The rule of this file: the usual case is one statement (`fast_path_sql`). Its WHERE asks what has to be true: the catalog's
version is still that of the offer, the owner is active and may use the model, nothing counts or limits the use, and the
credits are there. Whatever it refuses changes nothing, and the long way (`billing.services`, `billing.ledger.posting`) is
taken, which can also say why. A statement alone is a transaction: the account stays locked for as long as it runs.

PostgreSQL only; on SQLite, where a statement costs no trip, there is only the long way.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from billing.catalog.current import Catalog
from billing.catalog.offers import Offer, fingerprint_of, offer_of
from billing.catalog.usage import UsageRequest
from billing.ledger import fast_path_sql
from tenants.principal import Principal
from waule.core.db.json_rows import as_json
from waule.core.db.prepared import IS_POSTGRESQL, Prepared
from waule.core.ids import parse_uuid, uuid7


@dataclass(slots=True)
class Order:
    """A use that an account is to pay for by an offer of the catalog; `id` is the new row's."""

    offer: Offer
    kind: str
    owner_id: str
    mode: str
    api_key_id: str | None
    idempotency_key: str | None
    fingerprint: str
    metadata: str | None
    actor: str
    id: UUID
    seconds: float  # that a hold stays open
    pinned: bool

    @property
    def queue(self) -> str:
        """Those who wait for the same account have the same."""
        return self.owner_id


@dataclass(slots=True)
class Capture:
    """A hold that is to be captured as it is; `id` is the charge's. Its account is known once a statement has looked."""

    hold_id: UUID
    actor: str
    id: UUID = field(default_factory=uuid7)
    queue: str = ""

    def __post_init__(self) -> None:
        self.queue = str(self.hold_id)


@dataclass(slots=True)
class Posted:
    """A charge or hold that was just written, as far as its answer tells of it. `spendable_after` in credits."""

    id: UUID
    model_id: UUID | None
    operation: str
    quantity: int
    use: dict[str, Any]
    credits: int
    spendable_after: int
    created_at: datetime
    expires_at: datetime | None = None
    is_free: bool = False
    shortfall: int = 0
    refunded: int = 0


class Undecided:
    """In place of what was neither made nor refused: ask again for it."""


def order_of(
    catalog: Catalog,
    target: Principal,
    use: UsageRequest,
    *,
    actor: str,
    idempotency_key: str | None,
    hold_seconds: int | None = None,
    pinned: bool = False,
) -> Order | None:
    """Return the order of a charge, or of a hold for `hold_seconds`; None where only the long way will do."""
    owner_id = parse_uuid(target.id) if IS_POSTGRESQL else None
    offer = offer_of(catalog, use) if owner_id is not None else None
    if offer is None:
        return None
    about = {} if hold_seconds is None else {"expires_in_seconds": hold_seconds}
    return Order(
        offer=offer,
        kind=target.kind,
        owner_id=str(owner_id),
        mode=target.mode,
        api_key_id=str(target.api_key_id) if target.api_key_id else None,
        idempotency_key=idempotency_key,
        fingerprint=fingerprint_of(catalog, use, {**about, **target.fingerprint_fields}) if idempotency_key else "",
        metadata=None if use.metadata is None else as_json(use.metadata),
        actor=actor,
        id=uuid7(),
        seconds=hold_seconds or 0,
        pinned=pinned,
    )


# --- the verbs -----------------------------------------------------------------------------------------------------
# Without `wait` they are undecided while somebody else has the account locked.


def charge(order: Order, *, wait: bool = True) -> Posted | Undecided | None:
    """Take the order's credits and write its charge and entry; None where the long way has to be taken.

    Raises:
        IntegrityError: another charge of this account has its idempotency key.
    """
    row = fast_path_sql.CHARGE[order.kind, wait].write(*_given(order), order.offer.description)
    return _posted(order, *row) if row else None


def hold(order: Order, *, wait: bool = True) -> Posted | Undecided | None:
    """Set the order's credits aside; None where the long way has to be taken.

    Raises:
        IntegrityError: another hold of this account has its idempotency key.
    """
    return hold_by(fast_path_sql.HOLD[order.kind, wait], order)


def hold_by(statement: Prepared, order: Order, *further: Any) -> Posted | Undecided | None:
    """Return the same by a statement of `hold_with`, with its further values."""
    row = statement.write(*_given(order), order.seconds, order.pinned, *further)
    return _posted(order, *row) if row else None


def capture(asked: Capture, *, wait: bool = True) -> Posted | Undecided | None:
    """End a hold by charging what it holds; None where the long way has to be taken."""
    row = fast_path_sql.CAPTURE[wait].write(str(asked.hold_id), str(asked.id), asked.actor)
    return _captured(asked, *row) if row else None


# Undecided are as well charges and holds of an account that cannot pay for all of them. Each raises what the one raises, with
# nothing changed at all.


def charge_many(orders: list[Order], *, wait: bool = True) -> list[Posted | Undecided | None]:
    """Make many charges, in their order, each as `charge`."""
    return _each(orders, fast_path_sql.CHARGE_MANY[wait].rows(*_columns(orders)), _posted)


def hold_many(orders: list[Order], *, wait: bool = True) -> list[Posted | Undecided | None]:
    """Make many holds, in their order, each as `hold`."""
    further = [order.seconds for order in orders], [order.pinned for order in orders]
    return _each(orders, fast_path_sql.HOLD_MANY[wait].rows(*_columns(orders), *further), _posted)


def capture_many(asked: list[Capture], *, wait: bool = True) -> list[Posted | Undecided | None]:
    """Capture many holds, in their order, each as `capture`."""
    columns = [str(one.hold_id) for one in asked], [str(one.id) for one in asked], [one.actor for one in asked]
    return _each(asked, fast_path_sql.CAPTURE_MANY[wait].rows(*columns), _captured)


# --- what they are given and answer ----------------------------------------------------------------------------------

Asked = TypeVar("Asked")


def _each(
    asked: list[Asked], rows: list[tuple[Any, ...]], answer: Callable[..., Posted | Undecided]
) -> list[Posted | Undecided | None]:
    """Return the answers in the order of what was asked for, of which each row has the number."""
    made: list[Posted | Undecided | None] = [None] * len(asked)
    for n, *row in rows:
        made[n - 1] = answer(asked[n - 1], *row)
    return made


def _given(order: Order) -> tuple[Any, ...]:
    """The values that the statements of one order begin with."""
    offer = order.offer
    return (
        order.owner_id, order.mode, order.api_key_id, offer.enabled_by if order.kind == "tenant" else offer.levels, offer.catalog,
        offer.credits, str(order.id), offer.model, offer.operation, offer.quantity, offer.use_json, offer.snapshot_json,
        order.metadata, order.idempotency_key, order.fingerprint, order.actor,
    )  # fmt: skip


def _columns(orders: list[Order]) -> tuple[Any, ...]:
    """The values that the statements of many orders begin with."""
    offers = dict.fromkeys(order.offer for order in orders)
    numbers = {offer: number for number, offer in enumerate(offers, 1)}
    columns = zip(
        *(
            (one.kind, one.owner_id, one.mode, one.api_key_id, str(one.id), one.idempotency_key, one.fingerprint, one.metadata,
             one.actor, numbers[one.offer])
            for one in orders
        ),
        strict=True,
    )  # fmt: skip
    documents = f"[{','.join(offer.document for offer in offers)}]"
    return documents, *map(list, columns)


def _posted(order: Order, spendable: int | None, at: datetime, expires_at: datetime | None = None) -> Posted | Undecided:
    if spendable is None:
        return Undecided()
    offer = order.offer
    return Posted(order.id, offer.model_id, offer.operation, offer.quantity, offer.use, offer.credits, spendable, at, expires_at)


def _captured(
    asked: Capture,
    credits: int,
    spendable: int,
    at: datetime,
    model_id: UUID | None,
    operation: str,
    quantity: int,
    locked_account: int | None,
) -> Posted | Undecided:
    if locked_account is not None:
        asked.queue = str(locked_account)
        return Undecided()
    return Posted(asked.id, model_id, operation, quantity, {}, credits, spendable, at)
