"""How postings reach the database: accounts are locked by one statement, and rows are written by one more.

PostgreSQL gets all rows of a transaction as JSON, a document for each kind, in one prepared statement, whatever their number:
trips and parsing are most of what a short transaction costs. On SQLite, where a statement costs no trip, each kind of row
has its own.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from operator import attrgetter
from typing import Any
from uuid import UUID

from django.db import connection, models

from billing.ledger.expiry import due_of_account_sql
from billing.ledger.models import Charge, Hold, LedgerEntry
from waule.core.db.json_rows import as_json, columns_of, objects, record_of
from waule.core.db.prepared import Prepared


@dataclass
class LockedAccount:
    """An account whose row is locked; its figures are as they will be when the posting is written."""

    id: int
    balance: int
    held: int
    last_seq: int
    last_entry_at: datetime | None
    last_hash: str
    as_locked: tuple[int, int, int]  # balance, held, last_seq

    @property
    def spendable(self) -> int:
        return self.balance - self.held


# --- locking -------------------------------------------------------------------------------------------------------

_COLUMNS = "id, balance, held, last_seq, last_entry_at, last_hash"

# The clock is read after the wait for the locks: the sub-select is done first.
_LOCK = Prepared(
    f"""
    SELECT {_COLUMNS}, EXISTS {due_of_account_sql("1", "clock_timestamp()")}, clock_timestamp()
    FROM (SELECT {_COLUMNS} FROM billing_account WHERE id = ANY (%s) ORDER BY id FOR NO KEY UPDATE) AS a
    """,  # noqa: S608
    ["bigint[]"],
)


def lock(account_ids: Sequence[int]) -> tuple[list[LockedAccount], bool, datetime]:
    """Return the accounts, in the order of the ids, whether one of them has a hold past its time, and the time of it.

    On SQLite the whole database is locked since the transaction began.
    """
    now = datetime.now(UTC)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            _LOCK.run(cursor, [list(account_ids)])
        else:
            marks = ", ".join(["%s"] * len(account_ids))
            due = due_of_account_sql("1", "%s")
            cursor.execute(
                f"SELECT {_COLUMNS}, EXISTS {due}, %s "  # noqa: S608
                f"FROM billing_account AS a WHERE id IN ({marks}) ORDER BY id",
                [plain(now), plain(now), *account_ids],
            )
        rows = cursor.fetchall()
    accounts = [
        LockedAccount(pk, balance, held, last_seq, timestamp(last_at), last_hash, (balance, held, last_seq))
        for pk, balance, held, last_seq, last_at, last_hash, _is_due, _at in rows
    ]
    return accounts, any(row[6] for row in rows), timestamp(rows[-1][7]) or now if rows else now


_BALANCE = f"""
    SELECT balance, held, CASE WHEN held = 0 THEN 0 ELSE {due_of_account_sql("sum(h.credits)", "{now}")} END
    FROM billing_account AS a WHERE {{whose}}
"""  # noqa: S608
_WHOSE = {
    "account": ("a.id = %s", "bigint"),
    "tenant": ("a.tenant_id = %s AND a.mode = 'live'", "uuid"),
    "user": ("a.user_id = %s", "uuid"),
}
_BALANCES = {
    kind: Prepared(_BALANCE.format(now="clock_timestamp()", whose=whose), [type]) for kind, (whose, type) in _WHOSE.items()
}


def balance_and_held(whose: str, key: int | UUID) -> tuple[int, int] | None:
    """Return the figures of now of one `account`, or of the live account of a `tenant` or `user`; None where there is none.

    A hold past its time is no longer held, whether or not anybody has ended it.
    """
    if connection.vendor == "postgresql":
        row = _BALANCES[whose].first(key)
    else:
        with connection.cursor() as cursor:
            statement = _BALANCE.format(now="%s", whose=_WHOSE[whose][0])
            cursor.execute(statement, [plain(datetime.now(UTC)), plain(key)])
            row = cursor.fetchone()
    return (row[0], row[1] - int(row[2] or 0)) if row else None


# --- writing -------------------------------------------------------------------------------------------------------

_MODELS: dict[str, type[models.Model]] = {"holds": Hold, "charges": Charge, "entries": LedgerEntry}
_ENDED = ("id", "state", "ended_at", "credits_released", "spendable_at_end", "end_reason")


def write(
    *,
    holds: list[Hold],
    ended_holds: list[Hold],
    charges: list[Charge],
    entries: list[LedgerEntry],
    accounts: list[LockedAccount],
) -> None:
    """Insert new rows, end holds, and move the accounts by a conditional update; give the entries their ids.

    A row of an account that changed behind its lock stops the transaction.
    """
    if connection.vendor == "postgresql":
        _write_at_once(holds, ended_holds, charges, entries, accounts)
    else:
        _write_by_kind(holds, ended_holds, charges, entries, accounts)


def _write_at_once(
    holds: list[Hold], ended: list[Hold], charges: list[Charge], entries: list[LedgerEntry], accounts: list[LockedAccount]
) -> None:
    kinds: dict[str, list[dict[str, Any]]] = {
        "holds": objects(Hold, holds),
        "ended": [dict(zip(_ENDED, attrgetter(*_ENDED)(hold), strict=True)) for hold in ended],
        "charges": objects(Charge, charges),
        "entries": objects(LedgerEntry, entries),
        "accounts": [account.__dict__ for account in accounts],
    }
    given = tuple((name, len(rows) > 1) for name, rows in kinds.items() if rows)
    if not given:
        return
    with connection.cursor() as cursor:
        _statement(given).run(cursor, [as_json(kinds[name] if are_many else kinds[name][0]) for name, are_many in given])
        rows = cursor.fetchall()
    moved, _account, _seq, _id = rows[0]
    assert moved == len(accounts), "an account changed behind its lock"
    ids = {(account_id, seq): pk for _moved, account_id, seq, pk in rows}
    for entry in entries:
        entry.id = ids[entry.account_id, entry.seq]


@cache
def _statement(given: tuple[tuple[str, bool], ...]) -> Prepared:
    """`given`: which kinds of rows there are, and whether more than one. A plan for one row finds it by its index.

    Of many rows the ids are named besides: a plan made while the table is small would join them by reading all of it.
    """
    steps = ", ".join(f"written_{name} AS ({_step(name, are_many)})" for name, are_many in given)
    names = [name for name, _are_many in given]
    moved = "(SELECT count(*) FROM written_accounts)" if "accounts" in names else "0"
    entries = "written_entries" if "entries" in names else "(SELECT NULL::bigint AS account_id, 0 AS seq, 0 AS id)"
    return Prepared(
        f"WITH {steps} SELECT {moved}, account_id, seq, id FROM {entries} AS e",  # noqa: S608
        dict.fromkeys(names, "json"),
    )


def _step(name: str, are_many: bool) -> str:
    rows = f"json_to_recordset(%({name})s)" if are_many else f"json_to_record(%({name})s)"
    ids = f"SELECT id FROM {rows} AS named(id {'uuid' if name == 'ended' else 'bigint'})"  # noqa: S608
    named = f" AND {{row}}.id = ANY (ARRAY({ids}))" if are_many else ""
    if name == "ended":
        return f"""
            UPDATE billing_hold AS h SET state = v.state, ended_at = v.ended_at, credits_released = v.credits_released,
                spendable_at_end = v.spendable_at_end, end_reason = v.end_reason
            FROM {rows} AS v(id uuid, state text, ended_at timestamptz, credits_released bigint, spendable_at_end bigint,
                end_reason text)
            WHERE h.id = v.id{named.format(row="h")}
        """  # noqa: S608
    if name == "accounts":
        return f"""
            UPDATE billing_account AS a SET balance = v.balance, held = v.held, last_seq = v.last_seq,
                last_entry_at = v.last_entry_at, last_hash = v.last_hash
            FROM {rows} AS v(id bigint, balance bigint, held bigint, last_seq bigint, last_entry_at timestamptz,
                last_hash text, as_locked json)
            WHERE a.id = v.id{named.format(row="a")} AND a.balance = (v.as_locked->>0)::bigint
                AND a.held = (v.as_locked->>1)::bigint AND a.last_seq = (v.as_locked->>2)::bigint
            RETURNING 1
        """  # noqa: S608
    model = _MODELS[name]
    columns = ", ".join(columns_of(model))
    returning = "RETURNING account_id, seq, id" if model is LedgerEntry else ""
    return f"INSERT INTO {model._meta.db_table} ({columns}) SELECT {columns} FROM {rows} AS {record_of(model)} {returning}"  # noqa: S608


def _write_by_kind(
    holds: list[Hold], ended: list[Hold], charges: list[Charge], entries: list[LedgerEntry], accounts: list[LockedAccount]
) -> None:
    with connection.cursor() as cursor:
        for model, rows in ((Hold, holds), (Charge, charges), (LedgerEntry, entries)):
            if rows:
                columns = columns_of(model)
                cursor.executemany(
                    f"INSERT INTO {model._meta.db_table} ({', '.join(columns)}) "  # noqa: S608
                    f"VALUES ({', '.join(['%s'] * len(columns))})",
                    [[plain(value) for value in given.values()] for given in objects(model, rows)],
                )
        if entries:
            cursor.execute("SELECT last_insert_rowid()")
            (last,) = cursor.fetchone()
            for number, entry in enumerate(reversed(entries)):  # nobody else writes meanwhile: the numbers have no gap
                entry.id = last - number
        for hold in ended:
            cursor.execute(
                "UPDATE billing_hold SET state = %s, ended_at = %s, credits_released = %s, spendable_at_end = %s, "
                "end_reason = %s WHERE id = %s",
                [plain(getattr(hold, name)) for name in (*_ENDED[1:], "id")],
            )
        for account in accounts:
            cursor.execute(
                "UPDATE billing_account SET balance = %s, held = %s, last_seq = %s, last_entry_at = %s, last_hash = %s "
                "WHERE id = %s AND balance = %s AND held = %s AND last_seq = %s",
                [plain(value) for value in tuple(account.__dict__.values())[1:6]] + [account.id, *account.as_locked],
            )
            assert cursor.rowcount == 1, "an account changed behind its lock"


def plain(value: Any) -> Any:
    """Return a value as SQLite keeps it."""
    if isinstance(value, dict):
        return json.dumps(value)
    if isinstance(value, UUID):
        return value.hex
    if isinstance(value, datetime):
        return connection.ops.adapt_datetimefield_value(value)
    return str(value) if isinstance(value, date | str) else value


def timestamp(value: datetime | str | None) -> datetime | None:
    """Return a timestamp as this database gives it, in UTC."""
    read = datetime.fromisoformat(value) if isinstance(value, str) else value
    return read.replace(tzinfo=UTC) if read is not None and read.tzinfo is None else read
