"""The verbs of the books. Each is one durable transaction; each says who did it; each can be repeated safely with its key.

Amounts are whole credits. `actor` is who did it, as the ledger will tell: "gateway", "admin:root", "user:<id>", "command".
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from django.db import IntegrityError, connection, transaction
from django.utils.translation import gettext as _

from billing import pricing
from billing.at_once import charge_at_once
from billing.bonds import check_bond, generation_of
from billing.book_rows import LockedAccount
from billing.budgets import Pending, budgets_for, refuse_if_over
from billing.catalog import Catalog, current_catalog
from billing.errors import HoldEnded, InsufficientCredits, PricingError, RefundExceedsCharge, TargetNotFound
from billing.ledger import Books, database_now, due_holds
from billing.models import GRANT_KINDS, MAX_CREDITS, Account, Charge, Hold, Kind, LedgerEntry, Refund, Use
from billing.permissions import FREE_STEPS, Admission, admit, billing_day, price_of
from billing.selectors import (
    TargetRow,
    balance_of,
    find_charge,
    find_target,
    find_targets,
    open_holds_and_running,
    usage_of,
)
from billing.uses import Target, UseRequest, check_names_something, check_target_and_use, fingerprint
from tenants.models import Mode
from waule.errors import IdempotencyKeyReused, InvalidRequest, NotFound, WauleError
from waule.fail_points import reach
from waule.ids import parse_uuid
from waule.prepared import PreparedQuery
from waule.transactions import durable, retried

MAX_REASON_LENGTH = 500
R = TypeVar("R")
U = TypeVar("U", Charge, Hold)


@dataclass(frozen=True)
class ChargeResult:
    """`balance` is what can be spent afterwards, as the first answer told it."""

    charge: Charge
    balance: int
    replayed: bool = False


@dataclass(frozen=True)
class HoldResult:
    hold: Hold
    balance: int
    replayed: bool = False


@dataclass(frozen=True)
class CaptureResult:
    charge: Charge
    credits_released: int
    balance: int
    replayed: bool = False


@dataclass(frozen=True)
class ReleaseResult:
    hold: Hold
    credits_released: int
    balance: int
    replayed: bool = False


@dataclass(frozen=True)
class RefundResult:
    refund: Refund
    credits_refunded: int
    total_refunded: int
    balance: int
    replayed: bool = False


@dataclass(frozen=True)
class GrantResult:
    entry: LedgerEntry
    balance: int
    replayed: bool = False


@dataclass(frozen=True)
class Estimate:
    """What a charge would take. `refusal` is why it would be refused, where it would."""

    credits: int
    is_free: bool
    rule: pricing.Rule | None
    steps: tuple[pricing.Step, ...]
    refusal: WauleError | None = None


# --- charge --------------------------------------------------------------------------------------------------------


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
    mark = use.fingerprint(catalog) if idempotency_key else ""
    bond = generation_of(idempotency_key)

    def replay() -> ChargeResult | None:
        first = _first(Charge, row.account_id, idempotency_key, mark)
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

    result = _once(take, replay)
    reach("charge.after_commit")
    return result


class _NeedsBooks(Exception):
    """This use counts, or is counted against: that is done under the account's lock."""


def _needs_books(*_arguments: Any) -> Any:
    raise _NeedsBooks


def _charge_at_once(
    row: TargetRow, use: UseRequest, catalog: Catalog, *, actor: str, idempotency_key: str | None, mark: str
) -> Charge | None:
    """The charge as one statement, where the database can and the use has no counters; else None, and nothing changed."""
    if connection.vendor != "postgresql" or row.has_budgets:
        return None
    model = use.resolved(catalog)
    now = datetime.now(UTC)
    try:
        admission = admit(target=row, use=use, model=model, catalog=catalog, now=now, usage=_needs_books, running=_needs_books)
    except _NeedsBooks:
        return None
    if not admission.credits or admission.counted_day:
        return None
    made = Charge(
        account_id=row.account_id,
        api_key_id=row.api_key_id,
        credits=admission.credits,
        **_use_fields(use, catalog, admission, now, actor, idempotency_key, mark),
    )
    description = made.operation or _model_name(catalog, made)
    return made if charge_at_once(made, description=description, actor=actor) else None


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
    admission = _admit(books, row, use, catalog, bond=bond)
    made = Charge(
        account_id=row.account_id,
        api_key_id=row.api_key_id,
        credits=admission.credits,
        **_use_fields(use, catalog, admission, books.now, actor, idempotency_key, mark),
    )
    if made.credits:
        books.post(
            account,
            kind=Kind.CONSUME,
            amount=-made.credits,
            description=made.operation or _model_name(catalog, made),
            actor=actor,
            charge=made,
        )
    books.count_use(made, by=1)
    books.add_charge(made)
    if has_failed:
        post_refund(books, made, made.credits, is_full=True, reason=_("The generation had failed."), actor=actor)
    made.spendable_after = account.spendable
    return made


def _admit(books: Books, row: TargetRow, use: UseRequest, catalog: Catalog, *, bond: UUID | None = None) -> Admission:
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


def _use_fields(
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


def _model_name(catalog: Catalog, use: Use) -> str:
    model = catalog.models.get(use.model_id) if use.model_id else None
    return model.name if model else str(use.use.get("nodeType") or use.use.get("moduleType") or "")


# --- idempotency ---------------------------------------------------------------------------------------------------


def _first(kind: type[U], account_id: int, idempotency_key: str | None, mark: str) -> U | None:
    """What an earlier call with this key made.

    Raises:
        IdempotencyKeyReused: that call had another body.
    """
    if idempotency_key is None:
        return None
    first = kind._default_manager.filter(account_id=account_id, idempotency_key=idempotency_key).first()
    if first is not None and first.fingerprint != mark:
        raise IdempotencyKeyReused
    return first


def _once(take: Callable[[], R], replay: Callable[[], R | None]) -> R:
    """`take`, a whole transaction; if it is refused or its key is taken, the first call's answer, if there was one.

    A replay is looked for when something says no, before the no is told: the replay of the charge that spent the last
    credit must not be told 402. Callers with one key at once meet at the account's lock or at the unique constraint.
    """
    try:
        return take()
    except (WauleError, IntegrityError):
        if (earlier := replay()) is not None:
            return earlier
        raise


# --- many charges at once ------------------------------------------------------------------------------------------


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
    results: list[ChargeResult | WauleError] = []
    for item in items:
        try:
            results.append(_charge_one_of_many(item, rows, catalog, books, made, actor))
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
    actor: str,
) -> ChargeResult:
    check_target_and_use(item.target, item.use)
    row = rows.get(item.target)
    if row is None:
        raise TargetNotFound(targetType=item.target.kind, targetId=item.target.id)
    mark = item.use.fingerprint(catalog) if item.idempotency_key else ""
    if item.idempotency_key and (first := made.get((row.account_id, item.idempotency_key))) is not None:
        if first.fingerprint != mark:
            raise IdempotencyKeyReused
        return ChargeResult(first, first.spendable_after, replayed=True)
    bond = generation_of(item.idempotency_key)
    posted = _post_charge(books, row, item.use, catalog, actor=actor, idempotency_key=item.idempotency_key, mark=mark, bond=bond)
    if item.idempotency_key:
        made[row.account_id, item.idempotency_key] = posted
    return ChargeResult(posted, posted.spendable_after)


# --- estimate ------------------------------------------------------------------------------------------------------


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


# --- holds ---------------------------------------------------------------------------------------------------------


def hold(
    *,
    target: Target,
    use: UseRequest,
    actor: str,
    expires_in_seconds: int = 3600,
    idempotency_key: str | None = None,
    pinned: bool = False,
) -> HoldResult:
    """Sets a use's credits aside. A `pinned` hold, of a generation under way, does not expire by itself.

    Raises:
        those of `charge`.
    """
    check_target_and_use(target, use)
    return _hold(
        target=target,
        use=use,
        actor=actor,
        expires_in_seconds=expires_in_seconds,
        idempotency_key=idempotency_key,
        pinned=pinned,
    )


@retried
def _hold(
    *, target: Target, use: UseRequest, actor: str, expires_in_seconds: int, idempotency_key: str | None, pinned: bool
) -> HoldResult:
    row = find_target(target)
    catalog = current_catalog(row.catalog_version)
    mark = use.fingerprint(catalog, expires_in_seconds=expires_in_seconds) if idempotency_key else ""

    def replay() -> HoldResult | None:
        first = _first(Hold, row.account_id, idempotency_key, mark)
        return HoldResult(first, first.spendable_after, replayed=True) if first else None

    @transaction.atomic(durable=True)
    def take() -> HoldResult:
        books = Books([row.account_id])
        account = books.accounts[row.account_id]
        admission = _admit(books, row, use, catalog)
        if account.spendable < admission.credits:
            raise InsufficientCredits(required=admission.credits, available=account.spendable)
        account.held += admission.credits
        made = Hold(
            account_id=row.account_id,
            api_key_id=row.api_key_id,
            credits=admission.credits,
            expires_at=books.now + timedelta(seconds=expires_in_seconds),
            is_pinned=pinned,
            spendable_after=account.spendable,
            **_use_fields(use, catalog, admission, books.now, actor, idempotency_key, mark),
        )
        books.count_use(made, by=1)
        books.add_hold(made)
        books.write()
        reach("hold.before_commit")
        return HoldResult(made, account.spendable)

    result = _once(take, replay)
    reach("hold.after_commit")
    return result


def capture(*, hold_id: str, use_changes: dict[str, Any] | None = None, actor: str) -> CaptureResult:
    """Ends a hold by charging the final use, priced by the hold's own price snapshot; what is left over goes back.

    `use_changes` are fields of `pricing.Inputs` that turned out otherwise. A final price above the hold takes what can
    be spent beyond it; the rest is the charge's `shortfall`. Repeated, it answers the same.

    Raises:
        NotFound: no such hold. HoldEnded: it was released or has expired. A PricingError for a final use without a price.
    """
    result = _capture(hold_id=hold_id, use_changes=use_changes or {}, actor=actor)
    reach("capture.after_commit")
    return result


@durable
def _capture(*, hold_id: str, use_changes: dict[str, Any], actor: str) -> CaptureResult:
    books, account, ending = _open_hold(hold_id)
    if ending.state == Hold.State.CAPTURED:
        return CaptureResult(ending.charge, ending.credits_released, ending.spendable_at_end, replayed=True)
    if ending.state != Hold.State.HELD:
        raise _ended(ending)
    inputs = dataclasses.replace(pricing.inputs_from_json(ending.use), **use_changes)
    quote = _price_by_snapshot(ending.snapshot, inputs)
    final = 0 if ending.is_free else quote.credits
    account.held -= ending.credits
    taken = min(final, account.spendable)
    made = Charge(
        account_id=account.id,
        hold=ending,
        api_key_id=ending.api_key_id,
        credits=taken,
        shortfall=final - taken,
        model_id=ending.model_id,
        operation=ending.operation,
        quantity=inputs.quantity,
        is_free=ending.is_free,
        use=ending.use | pricing.inputs_to_json(inputs),
        snapshot=ending.snapshot | {"steps": pricing.steps_to_json(quote.steps + _free_steps(ending.snapshot))},
        counted_day=ending.counted_day,
        counted_scope=ending.counted_scope,
        counted_free=ending.counted_free,
        metadata=ending.metadata,
        actor=actor,
        created_at=books.now,
    )
    if taken:
        books.post(account, kind=Kind.CONSUME, amount=-taken, description=made.operation or "capture", actor=actor, charge=made)
    made.spendable_after = account.spendable
    books.add_charge(made)
    books.end_hold(ending, Hold.State.CAPTURED, at=books.now, released=max(0, ending.credits - taken))
    books.write()
    reach("capture.before_commit")
    return CaptureResult(made, ending.credits_released, account.spendable)


def release(*, hold_id: str, reason: str = "", actor: str) -> ReleaseResult:
    """Ends a hold by giving everything back, the use that it counted too. Repeated, it answers the same.

    Raises:
        NotFound: no such hold. HoldEnded: it was captured or has expired.
    """
    return _release(hold_id=hold_id, reason=reason, actor=actor)


@durable
def _release(*, hold_id: str, reason: str, actor: str) -> ReleaseResult:
    books, account, ending = _open_hold(hold_id)
    if ending.state == Hold.State.RELEASED:
        return ReleaseResult(ending, ending.credits_released, ending.spendable_at_end, replayed=True)
    if ending.state != Hold.State.HELD:
        raise _ended(ending)
    account.held -= ending.credits
    books.count_use(ending, by=-1)
    ending.end_reason = reason[:MAX_REASON_LENGTH]
    books.end_hold(ending, Hold.State.RELEASED, at=books.now, released=ending.credits)
    books.write()
    reach("release.before_commit")
    return ReleaseResult(ending, ending.credits_released, account.spendable)


def _open_hold(hold_id: str) -> tuple[Books, LockedAccount, Hold]:
    """The hold with its account locked first, then itself; past its time it says `expired`."""
    key = parse_uuid(hold_id)
    found = _ACCOUNT_OF_HOLD.first(key) if key else None
    if found is None:
        raise NotFound(_("There is no hold %(id)s.") % {"id": hold_id})
    (account_id,) = found
    books = Books([account_id])
    row = _LOCKED_HOLD.first(key)
    assert key and row, "holds are never deleted"
    ending = books.expired_holds.get(key) or Hold.from_db(connection.alias, _HOLD_FIELDS, row)
    return books, books.accounts[account_id], ending


_HOLD_FIELDS = [field.attname for field in Hold._meta.concrete_fields]
_ACCOUNT_OF_HOLD = PreparedQuery(lambda pk: Hold.objects.filter(id=pk).values_list("account_id"), [UUID(int=0)], ["uuid"])
_LOCKED_HOLD = PreparedQuery(
    lambda pk: Hold.objects.select_for_update(no_key=True).filter(id=pk).values_list(*_HOLD_FIELDS), [UUID(int=0)], ["uuid"]
)


def _ended(ended: Hold) -> HoldEnded:
    return HoldEnded(
        _("The hold is already %(state)s.") % {"state": ended.get_state_display().lower()},
        state=ended.state,
        holdId=str(ended.id),
    )


def _price_by_snapshot(snapshot: dict[str, Any], inputs: pricing.Inputs) -> pricing.Quote:
    if snapshot["rule"] is None:
        return pricing.default_price(inputs)
    return pricing.price(pricing.rule_from_json(snapshot["rule"]), inputs)


def _free_steps(snapshot: dict[str, Any]) -> tuple[pricing.Step, ...]:
    """The steps that made the use free when it was held: they hold for the final use too."""
    return tuple(step for step in pricing.steps_from_json(snapshot["steps"]) if step.code in FREE_STEPS)


def expire_holds(*, limit: int = 1000) -> int:
    """Ends up to `limit` accounts' holds that are past their time, one account a transaction. Returns how many accounts.

    Readers and writers of an account see those holds as expired without this; it keeps the rows and `held` tidy.
    """
    accounts = list(due_holds(database_now()).order_by("account_id").values_list("account_id", flat=True).distinct()[:limit])
    for account_id in accounts:
        _expire_holds_of(account_id)
    return len(accounts)


@durable
def _expire_holds_of(account_id: int) -> None:
    Books([account_id]).write()
    reach("expire.before_commit")


@durable
def mark_unknown(*, hold_id: str, actor: str) -> Hold:
    """Keeps the hold of an unknown outcome until somebody knows: it does not expire, nor count for concurrency.

    Raises:
        NotFound, HoldEnded.
    """
    _books, _account, kept = _open_hold(hold_id)
    if kept.state != Hold.State.HELD:
        raise _ended(kept)
    kept.is_unknown = True
    kept.save(update_fields=["is_unknown"])
    return kept


# --- refunds -------------------------------------------------------------------------------------------------------


def refund(
    *, charge_id: str, credits: int | None = None, reason: str, actor: str, idempotency_key: str | None = None
) -> RefundResult:
    """Gives back a charge's credits: all that is left, or `credits` of it. Never more than was charged, never twice.

    A full refund that is repeated answers as the first one did. One that reaches the whole charge gives the daily use back.

    Raises:
        NotFound: no such charge. RefundExceedsCharge: more than is left. IdempotencyKeyReused.
    """
    found = find_charge(charge_id)
    if found is None:
        raise NotFound(_("There is no charge %(id)s.") % {"id": charge_id})
    mark = fingerprint({"charge": str(found.id), "credits": credits, "reason": reason})
    return _refund(charge_pk=found.id, credits=credits, reason=reason, actor=actor, idempotency_key=idempotency_key, mark=mark)


@durable
def _refund(
    *, charge_pk: Any, credits: int | None, reason: str, actor: str, idempotency_key: str | None, mark: str
) -> RefundResult:
    account_id = Charge.objects.values_list("account_id", flat=True).get(id=charge_pk)
    books = Books([account_id])
    refunded = Charge.objects.select_for_update(no_key=True).get(id=charge_pk)
    if idempotency_key is not None:
        first = Refund.objects.filter(account_id=account_id, idempotency_key=idempotency_key).first()
        if first is not None and first.fingerprint != mark:
            raise IdempotencyKeyReused
        if first is not None:
            return _refund_replay(first)
    if credits is None and (first := Refund.objects.filter(charge=refunded, is_full=True).order_by("created_at").first()):
        return _refund_replay(first)
    left = refunded.credits - refunded.refunded
    amount = left if credits is None else credits
    if amount > left:
        raise RefundExceedsCharge(
            _("Only %(left)s of %(credits)s credits are left of this charge.") % {"left": left, "credits": refunded.credits},
            creditsCharged=refunded.credits,
            totalRefunded=refunded.refunded,
            left=left,
        )
    made = post_refund(
        books,
        refunded,
        amount,
        is_full=credits is None,
        reason=reason,
        actor=actor,
        idempotency_key=idempotency_key,
        mark=mark,
    )
    refunded.save(update_fields=["refunded", "refunded_at"])
    books.write()
    reach("refund.before_commit")
    return RefundResult(made, made.credits, made.total_after, made.spendable_after)


def post_refund(
    books: Books,
    refunded: Charge,
    amount: int,
    *,
    is_full: bool,
    reason: str,
    actor: str,
    idempotency_key: str | None = None,
    mark: str = "",
) -> Refund:
    """Notes a refund of `amount` in the books; the caller saves the charge and writes the books."""
    account = books.accounts[refunded.account_id]
    entry = (
        books.post(account, kind=Kind.REFUND, amount=amount, description=reason, actor=actor, charge=refunded) if amount else None
    )
    refunded.refunded += amount
    if refunded.refunded == refunded.credits and refunded.refunded_at is None:
        refunded.refunded_at = books.now
        books.count_use(refunded, by=-1)
    made = Refund(
        charge=refunded,
        account_id=account.id,
        credits=amount,
        total_after=refunded.refunded,
        is_full=is_full,
        reason=reason,
        actor=actor,
        entry=entry,
        idempotency_key=idempotency_key,
        fingerprint=mark,
        spendable_after=account.spendable,
        created_at=books.now,
    )
    books.add_refund(made)
    return made


def _refund_replay(first: Refund) -> RefundResult:
    return RefundResult(first, first.credits, first.total_after, first.spendable_after, replayed=True)


# --- grants and adjustments ----------------------------------------------------------------------------------------


def grant(
    *, target: Target, credits: int, kind: Kind, reason: str, actor: str, idempotency_key: str | None = None
) -> GrantResult:
    """Adds credits.

    Raises:
        TargetNotFound; InvalidRequest: fewer than 1 credit, or a kind that is none of GRANT_KINDS; IdempotencyKeyReused.
    """
    if not 1 <= credits <= MAX_CREDITS:
        raise InvalidRequest.of_field("credits", _("Give 1 to %(limit)s credits.") % {"limit": MAX_CREDITS})
    if kind not in GRANT_KINDS:
        raise InvalidRequest.of_field("type", _("Give one of: %(kinds)s.") % {"kinds": ", ".join(GRANT_KINDS)})
    account_id = find_target(target).account_id
    return _move(account_id=account_id, amount=credits, kind=kind, reason=reason, actor=actor, idempotency_key=idempotency_key)


def adjust(*, account_id: int, credits: int, reason: str, actor: str, idempotency_key: str | None = None) -> GrantResult:
    """Corrects a balance by hand: `credits` is signed and not 0.

    Raises:
        NotFound; InvalidRequest: 0 or no reason; InsufficientCredits: more than can be spent; IdempotencyKeyReused.
    """
    if credits == 0 or abs(credits) > MAX_CREDITS:
        raise InvalidRequest.of_field("credits", _("Give an amount that is not 0, such as 50 or -50."))
    if not reason.strip():
        raise InvalidRequest.of_field("reason", _("Say why."))
    if not Account.objects.filter(id=account_id).exists():
        raise NotFound(_("There is no account %(id)s.") % {"id": account_id})
    key = f"adjust:{idempotency_key}" if idempotency_key else None
    return _move(account_id=account_id, amount=credits, kind=Kind.ADMIN, reason=reason, actor=actor, idempotency_key=key)


@retried
def _move(*, account_id: int, amount: int, kind: Kind, reason: str, actor: str, idempotency_key: str | None) -> GrantResult:
    mark = fingerprint({"amount": amount, "kind": str(kind), "reason": reason})

    def replay() -> GrantResult | None:
        if idempotency_key is None:
            return None
        first = LedgerEntry.objects.filter(account_id=account_id, idempotency_key=idempotency_key).first()
        if first is not None and first.fingerprint != mark:
            raise IdempotencyKeyReused
        return GrantResult(first, first.spendable, replayed=True) if first else None

    @transaction.atomic(durable=True)
    def take() -> GrantResult:
        books = Books([account_id])
        account = books.accounts[account_id]
        entry = books.post(
            account,
            kind=kind,
            amount=amount,
            description=reason[:MAX_REASON_LENGTH],
            actor=actor,
            idempotency_key=idempotency_key,
            fingerprint=mark,
        )
        books.write()
        reach("grant.before_commit")
        return GrantResult(entry, account.spendable)

    return _once(take, replay)
