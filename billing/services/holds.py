"""Holds: credits set aside, then captured, released or expired; each ends once, by whoever comes first."""

import dataclasses
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import IntegrityError, connection, transaction
from django.utils.translation import gettext as _

from billing.catalog import pricing
from billing.catalog.current import current_catalog, kept_catalog
from billing.catalog.usage import UsageRequest, check_target_and_use
from billing.errors import HoldEnded, InsufficientCredits
from billing.ledger import fast_path
from billing.ledger.expiry import due_holds
from billing.ledger.fast_path import Posted
from billing.ledger.models import MAX_REASON_LENGTH, Charge, Hold, Kind
from billing.ledger.posting import Posting, database_now
from billing.ledger.rows import LockedAccount
from billing.ledger.targets import find_target
from billing.services import gathering
from billing.services.admission import admit_locked, price_by_snapshot, use_fields
from billing.services.permissions import FREE_STEPS, Admission
from billing.services.replays import first_of_key, once
from tenants.principal import Principal
from waule.core.db.prepared import IS_POSTGRESQL, PreparedQuery
from waule.core.db.transactions import durable, in_current_transaction, retried
from waule.core.errors import NotFound
from waule.core.fail_points import failpoint
from waule.core.ids import parse_uuid


@dataclass(frozen=True)
class HoldResult:
    hold: Hold | Posted
    balance: int
    replayed: bool = False


@dataclass(frozen=True)
class CaptureResult:
    charge: Charge | Posted
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
    target: Principal,
    use: UsageRequest,
    actor: str,
    expires_in_seconds: int = 3600,
    idempotency_key: str | None = None,
    pinned: bool = False,
) -> HoldResult:
    """Set a use's credits aside. A `pinned` hold, of a generation under way, does not expire by itself.

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
    *, target: Principal, use: UsageRequest, actor: str, expires_in_seconds: int, idempotency_key: str | None, pinned: bool
) -> HoldResult:
    """As a charge: one statement, else the long way."""
    order = fast_path.order_of(
        kept_catalog(),
        target,
        use,
        actor=actor,
        idempotency_key=idempotency_key,
        hold_seconds=expires_in_seconds,
        pinned=pinned,
    )
    if order is not None:
        with suppress(IntegrityError):
            if (made := gathering.holds.write(order)) is not None:
                failpoint("hold.after_commit")
                return HoldResult(made, made.spendable_after)
    return _hold_the_long_way(
        target=target,
        use=use,
        actor=actor,
        expires_in_seconds=expires_in_seconds,
        idempotency_key=idempotency_key,
        pinned=pinned,
    )


def _hold_the_long_way(
    *, target: Principal, use: UsageRequest, actor: str, expires_in_seconds: int, idempotency_key: str | None, pinned: bool
) -> HoldResult:
    row = find_target(target)
    catalog = current_catalog(row.catalog_version)
    request_hash = (
        use.fingerprint(catalog, expires_in_seconds=expires_in_seconds, **target.fingerprint_fields) if idempotency_key else ""
    )

    def replay() -> HoldResult | None:
        first = first_of_key(Hold, row.account_id, idempotency_key, request_hash)
        return HoldResult(first, first.spendable_after, replayed=True) if first else None

    def new(admission: Admission, now: datetime) -> Hold:
        return Hold(
            account_id=row.account_id,
            api_key_id=row.owner.api_key_id,
            credits=admission.credits,
            expires_at=now + timedelta(seconds=expires_in_seconds),
            is_pinned=pinned,
            **use_fields(use, catalog, admission, now, actor, idempotency_key, request_hash),
        )

    @transaction.atomic(durable=True)
    def take() -> HoldResult:
        posting = Posting([row.account_id])
        account = posting.accounts[row.account_id]
        admission = admit_locked(posting, row, use, catalog)
        if account.spendable < admission.credits:
            raise InsufficientCredits(required=admission.credits, available=account.spendable)
        posting.reserve(account, admission.credits)
        made = new(admission, posting.now)
        made.spendable_after = account.spendable
        posting.count_use(made, by=1)
        posting.add_hold(made)
        posting.write()
        failpoint("hold.before_commit")
        return HoldResult(made, account.spendable)

    result = once(take, replay)
    failpoint("hold.after_commit")
    return result


def capture(*, hold_id: str, use_changes: dict[str, Any] | None = None, actor: str) -> CaptureResult:
    """End a hold by charging the final use, priced by the hold's own price snapshot; what is left over goes back.

    `use_changes` are fields of `pricing.Inputs` that turned out otherwise. A final price above the hold takes what can
    be spent beyond it; the rest is the charge's `shortfall`. Repeated, it answers the same.

    Raises:
        NotFound: no such hold. HoldEnded: it was released or has expired. A PricingError for a final use without a price.
    """
    result = (None if use_changes else _capture_as_held(hold_id, actor)) or _capture(
        hold_id=hold_id, use_changes=use_changes or {}, actor=actor
    )
    failpoint("capture.after_commit")
    return result


@retried
def _capture_as_held(hold_id: str, actor: str) -> CaptureResult | None:
    """Return the usual capture: the final use is the one held for, and so is its price. None: the long way has to be taken."""
    key = parse_uuid(hold_id)
    made = gathering.captures.write(fast_path.Capture(key, actor)) if key and IS_POSTGRESQL else None
    return CaptureResult(made, 0, made.spendable_after) if made else None


@durable
def _capture(*, hold_id: str, use_changes: dict[str, Any], actor: str) -> CaptureResult:
    posting, account, ending = _open_hold(hold_id)
    if ending.state == Hold.State.CAPTURED:
        return CaptureResult(ending.charge, ending.credits_released, ending.spendable_at_end, replayed=True)
    if ending.state != Hold.State.HELD:
        raise _ended(ending)
    made = post_capture(posting, ending, use_changes, actor=actor)
    posting.write()
    failpoint("capture.before_commit")
    return CaptureResult(made, ending.credits_released, account.spendable)


def post_capture(posting: Posting, ending: Hold, use_changes: dict[str, Any], *, actor: str) -> Charge:
    """Note the end of an open hold by the charge of its final use; the caller writes the posting.

    Raises:
        A PricingError for a final use without a price.
    """
    account = posting.accounts[ending.account_id]
    inputs = dataclasses.replace(pricing.inputs_from_json(ending.use), **use_changes)
    quote = price_by_snapshot(ending.snapshot, inputs)
    final = 0 if ending.is_free else quote.credits
    posting.reserve(account, -ending.credits)
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
        created_at=posting.now,
    )
    if taken:
        posting.post(account, kind=Kind.CONSUME, amount=-taken, description=made.operation or "capture", actor=actor, charge=made)
    made.spendable_after = account.spendable
    posting.add_charge(made)
    posting.end_hold(ending, Hold.State.CAPTURED, at=posting.now, released=max(0, ending.credits - taken))
    return made


def release(*, hold_id: str, reason: str = "", actor: str) -> ReleaseResult:
    """End a hold by giving everything back, the use that it counted too. Repeated, it returns the same.

    Raises:
        NotFound: no such hold. HoldEnded: it was captured or has expired.
    """
    return _release(hold_id=hold_id, reason=reason, actor=actor)


@durable
def _release(*, hold_id: str, reason: str, actor: str) -> ReleaseResult:
    posting, account, ending = _open_hold(hold_id)
    if ending.state == Hold.State.RELEASED:
        return ReleaseResult(ending, ending.credits_released, ending.spendable_at_end, replayed=True)
    if ending.state != Hold.State.HELD:
        raise _ended(ending)
    posting.reserve(account, -ending.credits)
    posting.count_use(ending, by=-1)
    ending.end_reason = reason[:MAX_REASON_LENGTH]
    posting.end_hold(ending, Hold.State.RELEASED, at=posting.now, released=ending.credits)
    posting.write()
    failpoint("release.before_commit")
    return ReleaseResult(ending, ending.credits_released, account.spendable)


release_in_transaction = in_current_transaction(_release)  # for a verb that does more in the same transaction


def _open_hold(hold_id: str) -> tuple[Posting, LockedAccount, Hold]:
    """Return the hold with its account locked first, then itself; past its time it says `expired`."""
    key = parse_uuid(hold_id)
    found = _ACCOUNT_OF_HOLD.first(key) if key else None
    if found is None:
        raise NotFound(_("There is no hold %(id)s.") % {"id": hold_id})
    (account_id,) = found
    posting = Posting([account_id])
    assert key is not None
    return posting, posting.accounts[account_id], locked_hold(posting, key)


def locked_hold(posting: Posting, key: UUID) -> Hold:
    """Return a hold of one of the posting's accounts, its row locked; past its time it says `expired`."""
    row = _LOCKED_HOLD.first(key)
    assert row, "holds are never deleted"
    return posting.expired_holds.get(key) or Hold.from_db(connection.alias, _HOLD_FIELDS, row)


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


def _free_steps(snapshot: dict[str, Any]) -> tuple[pricing.Step, ...]:
    """Return the steps that made the use free when it was held: they hold for the final use too."""
    return tuple(step for step in pricing.steps_from_json(snapshot["steps"]) if step.code in FREE_STEPS)


def expire_holds(*, limit: int = 1000) -> int:
    """End up to `limit` accounts' holds that are past their time, one account a transaction. Return how many accounts.

    Readers and writers of an account see those holds as expired without this; it keeps the rows and `held` tidy.
    """
    accounts = list(due_holds(database_now()).order_by("account_id").values_list("account_id", flat=True).distinct()[:limit])
    for account_id in accounts:
        _expire_holds_of(account_id)
    return len(accounts)


@durable
def _expire_holds_of(account_id: int) -> None:
    Posting([account_id]).write()
    failpoint("expire.before_commit")


@durable
def mark_unknown(*, hold_id: str, actor: str) -> Hold:
    """Keep the hold of an unknown outcome until somebody knows: it does not expire, nor count for concurrency.

    Raises:
        NotFound, HoldEnded.
    """
    _books, _account, kept = _open_hold(hold_id)
    if kept.state != Hold.State.HELD:
        raise _ended(kept)
    kept.is_unknown = True
    kept.save(update_fields=["is_unknown"])
    return kept
