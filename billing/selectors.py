"""Reads of the books: targets, balances, charges, holds, entries."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any, Literal
from uuid import UUID

from django.db import connection
from django.db.models import OuterRef, Subquery
from django.utils.translation import gettext as _

from billing.book_rows import balance_and_held
from billing.errors import TargetNotFound
from billing.ledger import database_now, due_holds
from billing.models import Account, Charge, DailyUsage, Hold, LedgerEntry
from billing.uses import Target
from tenants.models import Level, Mode, User
from waule.errors import InvalidRequest
from waule.ids import parse_uuid
from waule.prepared import Prepared


@dataclass(frozen=True)
class TargetRow:
    """A tenant or user with its account and the catalog's number, as one query reads them."""

    kind: Literal["user", "tenant"]
    id: UUID
    account_id: int
    balance: int
    held: int
    is_active: bool
    catalog_version: int
    enabled_models: tuple[str, ...] = ()
    level: str = Level.USER
    membership_expires_at: datetime | None = None
    has_budgets: bool = False
    mode: str = Mode.LIVE
    api_key_id: UUID | None = None

    def effective_level(self, now: datetime) -> Level:
        """As `User.effective_level`, whose rule it is."""
        return User.effective_level(User(level=self.level, membership_expires_at=self.membership_expires_at), now)


_TENANT = """
    SELECT t.is_active, t.enabled_models, t.id, a.id, a.balance, a.held,
           (SELECT version FROM billing_catalogstate WHERE id = 1), a.mode,
           EXISTS (SELECT 1 FROM billing_budget b WHERE b.tenant_id = t.id AND b.is_active)
    FROM tenants_tenant t JOIN billing_account a ON a.tenant_id = t.id AND a.mode = %s
"""
_USER = """
    SELECT u.is_active, u.level, u.membership_expires_at, u.id, a.id, a.balance, a.held,
           (SELECT version FROM billing_catalogstate WHERE id = 1)
    FROM tenants_user u JOIN billing_account a ON a.user_id = u.id
"""


_TENANT_BY_ID = Prepared(f"{_TENANT} WHERE t.id = %s", ["text", "uuid"])
_USER_BY_ID = Prepared(f"{_USER} WHERE u.id = %s", ["uuid"])


def find_target(target: Target) -> TargetRow:
    """The tenant or user with its account, in one query.

    Raises:
        TargetNotFound: nobody has this id.
    """
    owner_id = parse_uuid(target.id)
    if owner_id is None:
        raise TargetNotFound(targetType=target.kind, targetId=target.id)
    with connection.cursor() as cursor:
        if target.kind == "tenant":
            _TENANT_BY_ID.run(cursor, [target.mode, _parameter(owner_id)])
        else:
            _USER_BY_ID.run(cursor, [_parameter(owner_id)])
        row = cursor.fetchone()
    if row is None:
        raise TargetNotFound(targetType=target.kind, targetId=target.id)
    found = _target_row(target.kind, row)
    return replace(found, api_key_id=target.api_key_id) if target.api_key_id else found


def find_targets(targets: Iterable[Target]) -> dict[Target, TargetRow]:
    """The same for many, in at most three queries; those that nobody has are left out."""
    found: dict[Target, TargetRow] = {}
    groups: dict[tuple[Literal["user", "tenant"], str], dict[UUID, list[Target]]] = {}
    for target in set(targets):
        if (owner_id := parse_uuid(target.id)) is not None:
            mode = target.mode if target.kind == "tenant" else Mode.LIVE
            groups.setdefault((target.kind, mode), {}).setdefault(owner_id, []).append(target)
    for (kind, mode), by_id in groups.items():
        marks = ", ".join(["%s"] * len(by_id))
        ids = [_parameter(owner_id) for owner_id in by_id]
        with connection.cursor() as cursor:
            if kind == "tenant":
                cursor.execute(f"{_TENANT} WHERE t.id IN ({marks})", [mode, *ids])
            else:
                cursor.execute(f"{_USER} WHERE u.id IN ({marks})", ids)
            for row in cursor.fetchall():
                target_row = _target_row(kind, row)
                for target in by_id[target_row.id]:
                    found[target] = replace(target_row, api_key_id=target.api_key_id) if target.api_key_id else target_row
    return found


def _target_row(kind: Literal["user", "tenant"], row: tuple[Any, ...]) -> TargetRow:
    if kind == "tenant":
        is_active, enabled, owner_id, account_id, balance, held, version, mode, has_budgets = row
        return TargetRow(
            "tenant",
            _uuid(owner_id),
            account_id,
            balance,
            held,
            bool(is_active),
            version,
            _enabled(_text(enabled)),
            has_budgets=bool(has_budgets),
            mode=mode,
        )
    is_active, level, expires, owner_id, account_id, balance, held, version = row
    if isinstance(expires, str):
        expires = datetime.fromisoformat(expires)
    if expires is not None and expires.tzinfo is None:
        expires = expires.replace(tzinfo=UTC)
    return TargetRow(
        "user", _uuid(owner_id), account_id, balance, held, bool(is_active), version, level=level, membership_expires_at=expires
    )


def _uuid(value: Any) -> UUID:
    return value if isinstance(value, UUID) else UUID(value)


def _parameter(value: UUID) -> str:
    return str(value) if connection.vendor == "postgresql" else value.hex


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@lru_cache(maxsize=4096)
def _enabled(text: str) -> tuple[str, ...]:
    value = json.loads(text)
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def open_holds_and_running(account_id: int, *, but: UUID | None = None) -> int:
    """How many holds are open and generations run for this account's user; `unknown` outcomes do not count.

    A generation that has a hold counts once; the one with the id `but` does not count.
    """
    now = database_now()
    holds = Hold.objects.filter(account_id=account_id, state=Hold.State.HELD, is_unknown=False)
    open_holds = holds.exclude(pk__in=due_holds(now).filter(account_id=account_id).values("pk")).count()
    user = Account.objects.select_related("user").get(id=account_id).user
    if user is None:
        return open_holds
    # Generations belong to an app above this one; the reverse relation leads there without an import.
    generations: Any = user.generations
    return open_holds + int(generations.filter(state__in=["queued", "running"], hold=None).exclude(pk=but).count())


@dataclass(frozen=True)
class Balance:
    """What can be spent, and what is held, in credits."""

    spendable: int
    held: int


def balance_of(account_id: int) -> Balance:
    """The figures of now: a hold past its time no longer counts, whether or not anybody has ended it."""
    balance, held = balance_and_held(account_id)
    return Balance(balance - held, held)


def current_balance(row: TargetRow) -> Balance:
    """The same for a target that has just been read."""
    return balance_of(row.account_id) if row.held else Balance(row.balance, 0)


def balance_at(account_id: int, moment: datetime) -> int:
    """The ledger's balance at `moment`, inclusive; holds are no entries."""
    entry = LedgerEntry.objects.filter(account_id=account_id, created_at__lte=moment).order_by("-seq").only("balance").first()
    return entry.balance if entry else 0


def balances_before(account_id: int, moments: Sequence[datetime]) -> list[int]:
    """The ledger's balance just before each of the moments, in one query: a look into the index for each."""
    if not moments:
        return []
    entries = LedgerEntry.objects.filter(account_id=OuterRef("id")).order_by("-created_at", "-seq").values("balance")
    looks = {f"at_{number}": Subquery(entries.filter(created_at__lt=moment)[:1]) for number, moment in enumerate(moments)}
    row = Account.objects.filter(id=account_id).annotate(**looks).values_list(*looks).get()
    return [balance or 0 for balance in row]


@dataclass(frozen=True)
class EntriesPage:
    entries: list[LedgerEntry]
    next_cursor: str | None


def entries_page(
    account_id: int, *, since: datetime | None, until: datetime | None, limit: int, cursor: str | None
) -> EntriesPage:
    """Entries of one account, newest first; `since` inclusive, `until` exclusive.

    The cursor is the number of the last entry shown: numbers never change, so pages stay put while rows are written.

    Raises:
        InvalidRequest: a cursor that we never gave.
    """
    rows = LedgerEntry.objects.filter(account_id=account_id).order_by("-seq")
    if since is not None:
        rows = rows.filter(created_at__gte=since)
    if until is not None:
        rows = rows.filter(created_at__lt=until)
    if cursor is not None:
        if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18 and int(cursor) >= 1):
            raise InvalidRequest.of_field("cursor", _("This cursor is not one of ours. Use nextCursor of the page before."))
        rows = rows.filter(seq__lt=int(cursor))
    entries = list(rows[: limit + 1])
    more = len(entries) > limit
    return EntriesPage(entries[:limit], str(entries[limit - 1].seq) if more else None)


def find_charge(charge_id: str) -> Charge | None:
    """The charge with this id, its account and model at hand."""
    key = parse_uuid(charge_id)
    return Charge.objects.select_related("account", "model").filter(id=key).first() if key else None


def find_hold(hold_id: str) -> Hold | None:
    """The hold with this id; one past its time says `expired`, whatever its row says."""
    key = parse_uuid(hold_id)
    hold = Hold.objects.select_related("account", "model").filter(id=key).first() if key else None
    if hold is not None and due_holds(database_now()).filter(id=hold.id).exists():
        hold.state = Hold.State.EXPIRED
        hold.ended_at = hold.expires_at
        hold.credits_released = hold.credits
    return hold


def usage_of(account_id: int, day: date, scope: str) -> DailyUsage:
    """The counter of that day and scope, without the uses of holds past their time; of zeros where nothing was counted.

    It is for reading: whoever writes asks the books, which end those holds first.
    """
    counter = DailyUsage.objects.filter(account_id=account_id, day=day, scope=scope).first() or DailyUsage(
        account_id=account_id, day=day, scope=scope
    )
    due = due_holds(database_now()).filter(account_id=account_id, counted_day=day, counted_scope=scope)
    for is_free in due.values_list("counted_free", flat=True):
        counter.uses -= 1
        counter.free_uses -= is_free
    return counter
