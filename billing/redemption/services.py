"""Make batches of codes, close them, redeem a code.

A code is 20 characters of Crockford's base 32 (100 random bits), written in groups of five. It is shown when it is made;
what is kept is its keyed hash.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from billing.ledger.models import MAX_CREDITS, Kind
from billing.ledger.posting import Posting
from billing.ledger.targets import find_target
from billing.redemption.errors import CodeExpired, CodeUnknown, CodeUsed, TooManyWrongCodes
from billing.redemption.models import MAX_BATCH_NAME, Redemption, RedemptionBatch, RedemptionCode, WrongCode
from tenants import audit
from tenants.principal import Principal
from waule.core.crypto.encryption import keyed_hash
from waule.core.db.transactions import durable
from waule.core.errors import Duplicate, Forbidden, IdempotencyKeyReused, InvalidRequest, NotFound

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
LOOKALIKES = str.maketrans("OIL", "011")
CODE_LENGTH, GROUP_LENGTH = 20, 5
MAX_CODES = 10_000  # of one batch
MAX_USES = 1_000_000  # of one code
MAX_WRONG_CODES = 5
WRONG_CODES_WINDOW = timedelta(hours=1)


@dataclass(frozen=True)
class NewBatch:
    """A batch with the text of its codes, which is kept nowhere."""

    batch: RedemptionBatch
    codes: list[str]


def create_codes(
    *, count: int, credits: int, uses: int = 1, expires_at: datetime | None = None, batch: str = "", actor: str
) -> NewBatch:
    """Make `count` codes of `credits` credits, each good for `uses` accounts.

    Raises:
        InvalidRequest: a number out of bounds, or an expiry that has passed. Duplicate: there is a batch of that name.
    """
    _check_number("count", count, MAX_CODES)
    _check_number("credits", credits, MAX_CREDITS)
    _check_number("uses", uses, MAX_USES)
    name = batch.strip() or f"{timezone.now():%Y-%m-%d}-{secrets.token_hex(3)}"
    check_batch(name=name, expires_at=expires_at)
    codes = [_new_code() for _number in range(count)]
    return NewBatch(_write_batch(codes, name, credits, uses, expires_at, actor), codes)


def check_batch(*, name: str, expires_at: datetime | None) -> None:
    """Whether a batch could be made under that name, which ends then.

    Raises:
        as `create_codes`.
    """
    if len(name) > MAX_BATCH_NAME:
        raise InvalidRequest.of_field("batch", _("Use at most %(limit)s characters.") % {"limit": MAX_BATCH_NAME})
    if expires_at is not None and expires_at <= timezone.now():
        raise InvalidRequest.of_field("expires", _("This time has passed: the codes would never work."))
    if RedemptionBatch.objects.filter(name=name).exists():
        raise Duplicate(_("There is a batch named %(name)s already.") % {"name": name})


def credits_given(*, count: int, credits: int, uses: int) -> int:
    """Return what all codes of a batch can give together, as far as a column of 64 bits can say it."""
    return min(count * credits * uses, 2**63 - 1)


@durable
def _write_batch(
    codes: list[str], name: str, credits: int, uses: int, expires_at: datetime | None, actor: str
) -> RedemptionBatch:
    if RedemptionBatch.objects.filter(name=name).exists():
        raise Duplicate(_("There is a batch named %(name)s already.") % {"name": name})
    batch = RedemptionBatch.objects.create(
        name=name, credits=credits, uses=uses, code_count=len(codes), expires_at=expires_at, created_by=actor[:200]
    )
    RedemptionCode.objects.bulk_create(
        (RedemptionCode(batch=batch, code_hash=_hash(code), masked=f"…{code[-GROUP_LENGTH:]}", uses=uses) for code in codes),
        batch_size=500,
    )
    audit.record(
        actor=actor,
        action="redemption.create",
        target=batch,
        after={"codes": len(codes), "credits": credits, "uses": uses, "expiresAt": expires_at and expires_at.isoformat()},
    )
    return batch


def _check_number(field: str, number: int, limit: int) -> None:
    if not 1 <= number <= limit:
        raise InvalidRequest.of_field(field, _("Give 1 to %(limit)s.") % {"limit": limit})


def _new_code() -> str:
    characters = "".join(secrets.choice(ALPHABET) for _number in range(CODE_LENGTH))
    return "-".join(characters[start : start + GROUP_LENGTH] for start in range(0, CODE_LENGTH, GROUP_LENGTH))


def _hash(code: str) -> str:
    """Return the keyed hash of a code as people type it: in any case, with or without dashes, O for 0 and I or L for 1."""
    typed = code.upper().replace("-", "").replace(" ", "").translate(LOOKALIKES)
    return keyed_hash(f"redemption:{typed}")


@durable
def close_batch(*, batch_id: UUID, reason: str, actor: str) -> RedemptionBatch:
    """End a batch: its codes count as expired. What was redeemed stays.

    Raises:
        NotFound.
    """
    batch = RedemptionBatch.objects.select_for_update(no_key=True).filter(id=batch_id).first()
    if batch is None:
        raise NotFound
    if batch.closed_at is None:
        batch.closed_at = timezone.now()
        batch.save(update_fields=["closed_at"])
        audit.record(actor=actor, action="redemption.close", target=batch, reason=reason)
    return batch


@dataclass(frozen=True)
class Redeemed:
    """What a code gave, in credits, and what can be spent now."""

    credits: int
    balance: int
    replayed: bool = False


def redeem(*, target: Principal, code: str, actor: str, idempotency_key: str | None = None) -> Redeemed:
    """Give the credits of `code` to the target's account, once.

    Raises:
        TargetNotFound. Forbidden: a test account. CodeUnknown; CodeUsed: by others, or this batch by this account already;
        CodeExpired. TooManyWrongCodes: five unknown codes within an hour. IdempotencyKeyReused.
    """
    if target.mode != "live":
        raise Forbidden(_("A code is redeemed with a live key."))
    account_id = find_target(target).account_id
    result = _redeem(account_id, _hash(code), actor, idempotency_key)
    if result is None:
        raise CodeUnknown
    return result


@durable
def _redeem(account_id: int, code_hash: str, actor: str, idempotency_key: str | None) -> Redeemed | None:
    """None: the code is unknown, which is noted; so the transaction has to commit."""
    posting = Posting([account_id])
    if (first := _first_of_key(account_id, code_hash, idempotency_key)) is not None:
        return first
    _check_wrong_codes(account_id, posting.now)
    found = RedemptionCode.objects.select_related("batch").filter(code_hash=code_hash).first()
    if found is None:
        WrongCode.objects.create(account_id=account_id, at=posting.now)
        posting.write()
        return None
    batch = found.batch
    if batch.closed_at is not None or (batch.expires_at is not None and batch.expires_at <= posting.now):
        raise CodeExpired
    if Redemption.objects.filter(account_id=account_id, batch=batch).exists():
        raise CodeUsed(_("You have used a code of this batch already."))
    if not RedemptionCode.objects.filter(id=found.id, used__lt=F("uses")).update(used=F("used") + 1):
        raise CodeUsed
    account = posting.accounts[account_id]
    entry = posting.post(
        account,
        kind=Kind.REDEEM,
        amount=batch.credits,
        description=f"{batch.name} {found.masked}",
        actor=actor,
        idempotency_key=f"redeem:{batch.id}",
    )
    posting.write()
    Redemption.objects.create(
        code=found,
        batch=batch,
        account_id=account_id,
        entry=entry,
        idempotency_key=idempotency_key,
        balance_after=account.spendable,
        actor=actor[:200],
        created_at=posting.now,
    )
    return Redeemed(batch.credits, account.spendable)


def _first_of_key(account_id: int, code_hash: str, idempotency_key: str | None) -> Redeemed | None:
    """Return what an earlier call with this key was answered.

    Raises:
        IdempotencyKeyReused: it had another code.
    """
    if idempotency_key is None:
        return None
    rows = Redemption.objects.select_related("code", "batch")
    first = rows.filter(account_id=account_id, idempotency_key=idempotency_key).first()
    if first is None:
        return None
    if first.code.code_hash != code_hash:
        raise IdempotencyKeyReused
    return Redeemed(first.batch.credits, first.balance_after, replayed=True)


def _check_wrong_codes(account_id: int, now: datetime) -> None:
    """Under the account's lock. Raises TooManyWrongCodes; forgets those that no longer count."""
    rows = WrongCode.objects.filter(account_id=account_id)
    since = now - WRONG_CODES_WINDOW
    recent = list(rows.filter(at__gt=since).order_by("-at").values_list("at", flat=True)[:MAX_WRONG_CODES])
    if len(recent) == MAX_WRONG_CODES:
        opens_at = recent[-1] + WRONG_CODES_WINDOW
        raise TooManyWrongCodes(retry_after_seconds=max(1, int((opens_at - now).total_seconds()) + 1))
    rows.filter(at__lte=since).delete()
