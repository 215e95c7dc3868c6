"""Holds: credits set aside, then captured, released or expired; each ends once, by whoever comes first."""

import dataclasses
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.utils.translation import gettext as _

from billing import pricing
from billing.at_once import hold_at_once
from billing.book_rows import LockedAccount
from billing.catalog import current_catalog
from billing.errors import HoldEnded, InsufficientCredits
from billing.ledger import Books, database_now, due_holds
from billing.models import MAX_REASON_LENGTH, Charge, Hold, Kind
from billing.permissions import FREE_STEPS, Admission
from billing.selectors import find_target
from billing.services.admission import admit_at_once, admit_locked, use_fields
from billing.services.replays import first_of_key, once
from billing.uses import Target, UseRequest, check_target_and_use
from waule.errors import NotFound
from waule.fail_points import reach
from waule.ids import parse_uuid
from waule.prepared import PreparedQuery
from waule.transactions import durable, retried


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
    mark = use.fingerprint(catalog, expires_in_seconds=expires_in_seconds, **target.marks) if idempotency_key else ""

    def replay() -> HoldResult | None:
        first = first_of_key(Hold, row.account_id, idempotency_key, mark)
        return HoldResult(first, first.spendable_after, replayed=True) if first else None

    def new(admission: Admission, now: datetime) -> Hold:
        return Hold(
            account_id=row.account_id,
            api_key_id=row.api_key_id,
            credits=admission.credits,
            expires_at=now + timedelta(seconds=expires_in_seconds),
            is_pinned=pinned,
            **use_fields(use, catalog, admission, now, actor, idempotency_key, mark),
        )

    @transaction.atomic(durable=True)
    def take_with_books() -> HoldResult:
        books = Books([row.account_id])
        account = books.accounts[row.account_id]
        admission = admit_locked(books, row, use, catalog)
        if account.spendable < admission.credits:
            raise InsufficientCredits(required=admission.credits, available=account.spendable)
        account.held += admission.credits
        made = new(admission, books.now)
        made.spendable_after = account.spendable
        books.count_use(made, by=1)
        books.add_hold(made)
        books.write()
        reach("hold.before_commit")
        return HoldResult(made, account.spendable)

    def take() -> HoldResult:
        now = datetime.now(UTC)
        admission = admit_at_once(row, use, catalog, now)
        if admission is not None and hold_at_once(made := new(admission, now)):
            return HoldResult(made, made.spendable_after)
        return take_with_books()

    result = once(take, replay)
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
