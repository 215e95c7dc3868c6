"""Charges: one use each, or up to a thousand in one transaction."""

from contextlib import suppress
from dataclasses import dataclass, replace
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from billing.catalog.current import Catalog, current_catalog, kept_catalog
from billing.catalog.offers import description_of
from billing.catalog.usage import UsageRequest, check_target_and_use
from billing.errors import TargetNotFound
from billing.ledger import fast_path
from billing.ledger.fast_path import Posted
from billing.ledger.models import Charge, Kind
from billing.ledger.posting import Posting
from billing.ledger.targets import AccountRow, find_target, find_targets, with_mode
from billing.services import gathering
from billing.services.admission import admit_locked, use_fields
from billing.services.generation_charges import charge_of_hold
from billing.services.generation_links import GenerationLink, check_link, generation_of, generations_of, may_name_generation
from billing.services.permissions import billing_day
from billing.services.refunds import post_refund
from billing.services.replays import first_of_key, once
from tenants.principal import Principal
from waule.core.db.transactions import durable, retried
from waule.core.errors import IdempotencyKeyReused, WauleError
from waule.core.fail_points import failpoint


@dataclass(frozen=True)
class ChargeResult:
    """`balance` is what can be spent afterwards, as the first answer gave it."""

    charge: Charge | Posted
    balance: int
    replayed: bool = False


def charge(*, target: Principal, use: UsageRequest, actor: str, idempotency_key: str | None = None) -> ChargeResult:
    """Price a use and take its credits.

    Raises:
        TargetNotFound, ModelNotFound (404); the rejections of `billing.services.permissions.admit` (403, 429, 422);
        InsufficientCredits (402); IdempotencyKeyReused (422); Unavailable (503). Nothing has changed then.
    """
    check_target_and_use(target, use)
    return _charge(target=target, use=use, actor=actor, idempotency_key=idempotency_key)


@retried
def _charge(*, target: Principal, use: UsageRequest, actor: str, idempotency_key: str | None) -> ChargeResult:
    """The usual charge is one statement; what that refuses changes nothing, and the long way says why."""
    order = _order(kept_catalog(), target, use, actor, idempotency_key)
    if order is not None:
        with suppress(IntegrityError):  # its key is taken: the long way finds the replay
            if (made := gathering.charges.write(order)) is not None:
                failpoint("charge.after_commit")
                return ChargeResult(made, made.spendable_after)
    return _charge_the_long_way(target=target, use=use, actor=actor, idempotency_key=idempotency_key)


def _order(
    catalog: Catalog, target: Principal, use: UsageRequest, actor: str, idempotency_key: str | None
) -> fast_path.Order | None:
    """None where the key may be a generation's: that one's charge has rules of its own."""
    if may_name_generation(idempotency_key):
        return None
    return fast_path.order_of(catalog, target, use, actor=actor, idempotency_key=idempotency_key)


def _charge_the_long_way(*, target: Principal, use: UsageRequest, actor: str, idempotency_key: str | None) -> ChargeResult:
    row = find_target(target)
    catalog = current_catalog(row.catalog_version)
    request_hash = use.fingerprint(catalog, **target.fingerprint_fields) if idempotency_key else ""
    link = generation_of(idempotency_key)

    def replay() -> ChargeResult | None:
        first = first_of_key(Charge, row.account_id, idempotency_key, request_hash)
        return ChargeResult(first, first.spendable_after, replayed=True) if first else None

    @transaction.atomic(durable=True)
    def take() -> ChargeResult:
        posting = Posting([row.account_id])
        result = _post(
            posting,
            row,
            use,
            catalog,
            actor=actor,
            idempotency_key=idempotency_key,
            request_hash=request_hash,
            link=link,
            made={},
        )
        posting.write()
        failpoint("charge.before_commit")
        return result

    result = once(take, replay)
    failpoint("charge.after_commit")
    return result


def _post(
    posting: Posting,
    row: AccountRow,
    use: UsageRequest,
    catalog: Catalog,
    *,
    actor: str,
    idempotency_key: str | None,
    request_hash: str,
    link: UUID | None,
    made: dict[UUID, Charge],
) -> ChargeResult:
    """Return a charge, or the end of the hold of the generation whose key this is (`link`)."""
    checked_link = check_link(link, row, use.resolved(catalog), use) if link is not None else None
    if checked_link is not None and checked_link.hold is not None:
        held = charge_of_hold(posting, checked_link, actor=actor, idempotency_key=idempotency_key or "", made=made)
        if held is not None:
            return ChargeResult(held[0], held[0].spendable_after, replayed=held[1])
    charge = _post_charge(
        posting, row, use, catalog, actor=actor, idempotency_key=idempotency_key, request_hash=request_hash, link=checked_link
    )
    return ChargeResult(charge, charge.spendable_after)


def _post_charge(
    posting: Posting,
    row: AccountRow,
    use: UsageRequest,
    catalog: Catalog,
    *,
    actor: str,
    idempotency_key: str | None,
    request_hash: str,
    link: GenerationLink | None = None,
) -> Charge:
    """A generation does not count against itself, and if it has failed it costs nothing."""
    account = posting.accounts[row.account_id]
    if link is not None:
        use, row = link.use, link.row
    admission = admit_locked(posting, row, use, catalog, link=link.generation_id if link else None)
    made = Charge(
        account_id=row.account_id,
        api_key_id=row.owner.api_key_id,
        credits=admission.credits,
        **use_fields(use, catalog, admission, posting.now, actor, idempotency_key, request_hash),
    )
    if made.credits:
        posting.post(
            account,
            kind=Kind.CONSUME,
            amount=-made.credits,
            description=made.operation or description_of(use.resolved(catalog), use.node_type, use.module_type),
            actor=actor,
            charge=made,
        )
    posting.count_use(made, by=1)
    posting.add_charge(made)
    if link is not None and link.has_failed:
        post_refund(posting, made, made.credits, is_full=True, reason=_("The generation had failed."), actor=actor)
    made.spendable_after = account.spendable
    return made


@dataclass(frozen=True)
class BatchItem:
    """One charge of a batch."""

    target: Principal
    use: UsageRequest
    idempotency_key: str | None = None


def charge_many(*, items: list[BatchItem], actor: str) -> list[ChargeResult | WauleError]:
    """Charge each item on its own, in order; a refused one is its error in the list and stops no other.

    Locks all accounts at once and writes everything in a handful of statements, however many items there are.
    """
    if not items:
        return []
    made = _charge_by_one_statement(items, actor)
    return list(made) if made is not None else _charge_many(items=items, actor=actor)


@retried
def _charge_by_one_statement(items: list[BatchItem], actor: str) -> list[ChargeResult] | None:
    """Return all of them, priced before any account is locked; None, with nothing changed, where one is refused or a replay."""
    catalog = kept_catalog()
    orders = []
    for item in items:
        try:
            check_target_and_use(item.target, item.use)
        except WauleError:
            return None
        order = _order(catalog, item.target, item.use, actor, item.idempotency_key)
        if order is None:
            return None
        orders.append(order)
    with suppress(IntegrityError, _NotAll), transaction.atomic(durable=True):
        made = fast_path.charge_many(orders)
        done = [ChargeResult(one, one.spendable_after) for one in made if isinstance(one, Posted)]
        if len(done) < len(items):
            raise _NotAll
        failpoint("batch.before_commit")
        return done
    return None


class _NotAll(Exception):
    """The statement has not made every charge of a batch: each is looked at on its own."""


@durable
def _charge_many(*, items: list[BatchItem], actor: str) -> list[ChargeResult | WauleError]:
    targets = {target: _placed(target) for target in {item.target for item in items}}
    rows = find_targets([target for target in targets.values() if isinstance(target, Principal)])
    catalog = current_catalog(max((row.catalog_version for row in rows.values()), default=None))
    posting = Posting(row.account_id for row in rows.values())
    posting.load_usage(billing_day(posting.now))
    made: dict[tuple[int, str], Charge] = {
        (charge.account_id, charge.idempotency_key or ""): charge
        for charge in Charge.objects.filter(
            account_id__in=posting.accounts, idempotency_key__in=[item.idempotency_key for item in items if item.idempotency_key]
        )
    }
    links = generations_of(item.idempotency_key for item in items)
    of_holds: dict[UUID, Charge] = {}
    results: list[ChargeResult | WauleError] = []
    for item in items:
        try:
            if isinstance(target := targets[item.target], WauleError):
                raise target
            link = links.get(item.idempotency_key)
            item = replace(item, target=target)
            results.append(_charge_one_of_many(item, rows, catalog, posting, made, of_holds, link, actor))
        except WauleError as error:
            results.append(error)
    posting.write()
    failpoint("batch.before_commit")
    return results


def _placed(target: Principal) -> Principal | WauleError:
    try:
        return with_mode(target)
    except WauleError as error:
        return error


def _charge_one_of_many(
    item: BatchItem,
    rows: dict[Principal, AccountRow],
    catalog: Catalog,
    posting: Posting,
    made: dict[tuple[int, str], Charge],
    of_holds: dict[UUID, Charge],
    link: UUID | None,
    actor: str,
) -> ChargeResult:
    check_target_and_use(item.target, item.use)
    row = rows.get(item.target)
    if row is None:
        raise TargetNotFound(targetType=item.target.kind, targetId=item.target.id)
    request_hash = item.use.fingerprint(catalog, **item.target.fingerprint_fields) if item.idempotency_key else ""
    if item.idempotency_key and (first := made.get((row.account_id, item.idempotency_key))) is not None and first.fingerprint:
        if first.fingerprint != request_hash:
            raise IdempotencyKeyReused
        return ChargeResult(first, first.spendable_after, replayed=True)
    key = item.idempotency_key
    posted = _post(
        posting, row, item.use, catalog, actor=actor, idempotency_key=key, request_hash=request_hash, link=link, made=of_holds
    )
    assert isinstance(posted.charge, Charge)
    if key and posted.charge.fingerprint:
        made[row.account_id, key] = posted.charge
    return posted
