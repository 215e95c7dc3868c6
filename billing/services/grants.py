"""Credits given, and balances corrected by hand."""

from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from billing.catalog.usage import fingerprint
from billing.ledger.models import GRANT_KINDS, MAX_CREDITS, MAX_REASON_LENGTH, Account, Kind, LedgerEntry
from billing.ledger.posting import Posting
from billing.ledger.targets import find_target
from billing.services.replays import once
from tenants import audit
from tenants.principal import Principal
from waule.core.db.transactions import retried
from waule.core.errors import IdempotencyKeyReused, InvalidRequest, NotFound
from waule.core.fail_points import failpoint


@dataclass(frozen=True)
class GrantResult:
    entry: LedgerEntry
    balance: int
    replayed: bool = False


def grant(
    *, target: Principal, credits: int, kind: Kind, reason: str, actor: str, idempotency_key: str | None = None
) -> GrantResult:
    """Add credits.

    Raises:
        TargetNotFound; InvalidRequest: fewer than 1 credit, or a kind that is none of GRANT_KINDS; IdempotencyKeyReused.
    """
    if not 1 <= credits <= MAX_CREDITS:
        raise InvalidRequest.of_field("credits", _("Give 1 to %(limit)s credits.") % {"limit": MAX_CREDITS})
    if kind not in GRANT_KINDS:
        raise InvalidRequest.of_field("type", _("Give one of: %(kinds)s.") % {"kinds": ", ".join(GRANT_KINDS)})
    account_id = find_target(target).account_id
    moved: dict[str, Any] = {"account_id": account_id, "amount": credits, "kind": kind, "reason": reason, "actor": actor}
    return _move(action="credits.grant", idempotency_key=idempotency_key, **moved)


def adjust(*, account_id: int, credits: int, reason: str, actor: str, idempotency_key: str | None = None) -> GrantResult:
    """Correct a balance by hand: `credits` is signed and not 0.

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
    moved: dict[str, Any] = {"account_id": account_id, "amount": credits, "kind": Kind.ADMIN, "reason": reason, "actor": actor}
    return _move(action="credits.adjust", idempotency_key=key, **moved)


@retried
def _move(
    *, action: str, account_id: int, amount: int, kind: Kind, reason: str, actor: str, idempotency_key: str | None
) -> GrantResult:
    request_hash = fingerprint({"amount": amount, "kind": str(kind), "reason": reason})

    def replay() -> GrantResult | None:
        if idempotency_key is None:
            return None
        first = LedgerEntry.objects.filter(account_id=account_id, idempotency_key=idempotency_key).first()
        if first is not None and first.fingerprint != request_hash:
            raise IdempotencyKeyReused
        return GrantResult(first, first.spendable, replayed=True) if first else None

    @transaction.atomic(durable=True)
    def take() -> GrantResult:
        posting = Posting([account_id])
        account = posting.accounts[account_id]
        entry = posting.post(
            account,
            kind=kind,
            amount=amount,
            description=reason[:MAX_REASON_LENGTH],
            actor=actor,
            idempotency_key=idempotency_key,
            fingerprint=request_hash,
        )
        posting.write()
        audit.record(
            actor=actor,
            action=action,
            target=Account.objects.select_related("tenant", "user").get(id=account_id),
            reason=reason,
            after={"credits": amount, "kind": str(kind), "balance": account.spendable},
        )
        failpoint("grant.before_commit")
        return GrantResult(entry, account.spendable)

    return once(take, replay)
