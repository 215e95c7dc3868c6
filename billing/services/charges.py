"""Charges: one use each, or up to a thousand in one transaction."""

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from django.db import transaction
from django.utils.translation import gettext as _

from billing.at_once import charge_at_once
from billing.bonds import check_bond, generation_of, generations_of
from billing.catalog import Catalog, current_catalog
from billing.errors import TargetNotFound
from billing.ledger import Books
from billing.models import Charge, Kind
from billing.permissions import billing_day
from billing.selectors import TargetRow, find_target, find_targets
from billing.services.admission import admit_at_once, admit_locked, model_name, use_fields
from billing.services.refunds import post_refund
from billing.services.replays import first_of_key, once
from billing.uses import Target, UseRequest, check_target_and_use
from waule.errors import IdempotencyKeyReused, WauleError
from waule.fail_points import reach
from waule.transactions import durable, retried


@dataclass(frozen=True)
class ChargeResult:
    """`balance` is what can be spent afterwards, as the first answer told it."""

    charge: Charge
    balance: int
    replayed: bool = False


def charge(*, target: Target, use: UseRequest, actor: str, idempotency_key: str | None = None) -> ChargeResult:
    """Prices a use and takes its credits.

    Raises:
        TargetNotFound, ModelNotFound (404); the refusals of `billing.permissions.admit` (403, 429, 422);
        InsufficientCredits (402); IdempotencyKeyReused (422); Unavailable (503). Nothing has changed then.
    """
    check_target_and_use(target, use)
    return _charge(target=target, use=use, actor=actor, idempotency_key=idempotency_key)


@retried
def _charge(*, target: Target, use: UseRequest, actor: str, idempotency_key: str | None) -> ChargeResult:
    row = find_target(target)
    catalog = current_catalog(row.catalog_version)
    mark = use.fingerprint(catalog, **target.marks) if idempotency_key else ""
    bond = generation_of(idempotency_key)

    def replay() -> ChargeResult | None:
        first = first_of_key(Charge, row.account_id, idempotency_key, mark)
        return ChargeResult(first, first.spendable_after, replayed=True) if first else None

    @transaction.atomic(durable=True)
    def take_with_books() -> ChargeResult:
        books = Books([row.account_id])
        made = _post_charge(books, row, use, catalog, actor=actor, idempotency_key=idempotency_key, mark=mark, bond=bond)
        books.write()
        reach("charge.before_commit")
        return ChargeResult(made, made.spendable_after)

    def take() -> ChargeResult:
        if bond is not None:
            return take_with_books()
        made = _charge_at_once(row, use, catalog, actor=actor, idempotency_key=idempotency_key, mark=mark)
        return ChargeResult(made, made.spendable_after) if made else take_with_books()

    result = once(take, replay)
    reach("charge.after_commit")
    return result


def _charge_at_once(
    row: TargetRow, use: UseRequest, catalog: Catalog, *, actor: str, idempotency_key: str | None, mark: str
) -> Charge | None:
    """The charge as one statement, where the database can and the use has no counters; else None, and nothing changed."""
    now = datetime.now(UTC)
    admission = admit_at_once(row, use, catalog, now)
    if admission is None:
        return None
    made = Charge(
        account_id=row.account_id,
        api_key_id=row.api_key_id,
        credits=admission.credits,
        **use_fields(use, catalog, admission, now, actor, idempotency_key, mark),
    )
    description = made.operation or model_name(catalog, made)
    return made if charge_at_once(made, description=description) else None


def _post_charge(
    books: Books,
    row: TargetRow,
    use: UseRequest,
    catalog: Catalog,
    *,
    actor: str,
    idempotency_key: str | None,
    mark: str,
    bond: UUID | None = None,
) -> Charge:
    """`bond` is the generation whose key this is: it does not count against itself, and if it has failed it costs nothing."""
    account = books.accounts[row.account_id]
    has_failed = False
    if bond is not None:
        bonded = check_bond(bond, row, use.resolved(catalog), use)
        has_failed, use, row = bonded.has_failed, bonded.use, bonded.row
    admission = admit_locked(books, row, use, catalog, bond=bond)
    made = Charge(
        account_id=row.account_id,
        api_key_id=row.api_key_id,
        credits=admission.credits,
        **use_fields(use, catalog, admission, books.now, actor, idempotency_key, mark),
    )
    if made.credits:
        books.post(
            account,
            kind=Kind.CONSUME,
            amount=-made.credits,
            description=made.operation or model_name(catalog, made),
            actor=actor,
            charge=made,
        )
    books.count_use(made, by=1)
    books.add_charge(made)
    if has_failed:
        post_refund(books, made, made.credits, is_full=True, reason=_("The generation had failed."), actor=actor)
    made.spendable_after = account.spendable
    return made


@dataclass(frozen=True)
class BatchItem:
    """One charge of a batch."""

    target: Target
    use: UseRequest
    idempotency_key: str | None = None


def charge_many(*, items: list[BatchItem], actor: str) -> list[ChargeResult | WauleError]:
    """Charges each item on its own, in order; a refused one is its error in the list and stops no other.

    Locks all accounts at once and writes everything in a handful of statements, however many items there are.
    """
    if not items:
        return []
    return _charge_many(items=items, actor=actor)


@durable
def _charge_many(*, items: list[BatchItem], actor: str) -> list[ChargeResult | WauleError]:
    rows = find_targets([item.target for item in items])
    catalog = current_catalog(max((row.catalog_version for row in rows.values()), default=None))
    books = Books(row.account_id for row in rows.values())
    books.load_usage(billing_day(books.now))
    made: dict[tuple[int, str], Charge] = {
        (charge.account_id, charge.idempotency_key or ""): charge
        for charge in Charge.objects.filter(
            account_id__in=books.accounts, idempotency_key__in=[item.idempotency_key for item in items if item.idempotency_key]
        )
    }
    bonds = generations_of(item.idempotency_key for item in items)
    results: list[ChargeResult | WauleError] = []
    for item in items:
        try:
            results.append(_charge_one_of_many(item, rows, catalog, books, made, bonds.get(item.idempotency_key), actor))
        except WauleError as error:
            results.append(error)
    books.write()
    reach("batch.before_commit")
    return results


def _charge_one_of_many(
    item: BatchItem,
    rows: dict[Target, TargetRow],
    catalog: Catalog,
    books: Books,
    made: dict[tuple[int, str], Charge],
    bond: UUID | None,
    actor: str,
) -> ChargeResult:
    check_target_and_use(item.target, item.use)
    row = rows.get(item.target)
    if row is None:
        raise TargetNotFound(targetType=item.target.kind, targetId=item.target.id)
    mark = item.use.fingerprint(catalog, **item.target.marks) if item.idempotency_key else ""
    if item.idempotency_key and (first := made.get((row.account_id, item.idempotency_key))) is not None:
        if first.fingerprint != mark:
            raise IdempotencyKeyReused
        return ChargeResult(first, first.spendable_after, replayed=True)
    posted = _post_charge(books, row, item.use, catalog, actor=actor, idempotency_key=item.idempotency_key, mark=mark, bond=bond)
    if item.idempotency_key:
        made[row.account_id, item.idempotency_key] = posted
    return ChargeResult(posted, posted.spendable_after)
