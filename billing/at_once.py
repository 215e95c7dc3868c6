"""A charge or a hold that touches one account and no daily counter, as one statement: one round trip, one short lock.

PostgreSQL only. It does what `Books` does for one, and `billing.reconcile` proves both alike; whatever such a
statement cannot do (too few credits, holds to end, counters to keep) changes nothing, and the books take over, which
can also say why. See docs/adr/0006-a-charge-is-one-statement.md for what it saves.
"""

from contextlib import nullcontext
from functools import cache
from typing import Any

from django.db import connection, models, transaction

from billing.models import Charge, Hold, Kind
from waule.json_rows import as_document, columns_of, record_of
from waule.prepared import Prepared

# What is past its time is held no longer, whether or not anybody has ended it.
_DUE = """(
    SELECT coalesce(sum(h.credits), 0)::bigint FROM billing_hold AS h
    WHERE h.account_id = a.id AND h.state = 'held' AND NOT h.is_pinned AND NOT h.is_unknown AND h.expires_at <= {now}
)"""

_CHARGE = """
    WITH given AS MATERIALIZED (SELECT * FROM json_to_record(%s) AS {record}), locked AS (
        SELECT id, balance, held, last_seq, last_hash, %s AS description,
               greatest(clock_timestamp(), coalesce(last_entry_at, '-infinity')) AS at
        FROM billing_account WHERE id = %s AND balance - held >= %s FOR NO KEY UPDATE
    ), moved AS (
        UPDATE billing_account AS a
        SET balance = l.balance - g.credits, last_seq = l.last_seq + 1, last_entry_at = l.at,
            last_hash = encode(sha256(convert_to(concat_ws(E'\\x1f', l.last_hash, l.id, l.last_seq + 1, '{kind}', -g.credits,
                l.balance - g.credits, g.id, (extract(epoch FROM l.at) * 1000000)::bigint, g.actor, l.description),
                'UTF8')), 'hex')
        FROM locked AS l, given AS g WHERE a.id = l.id
        RETURNING a.id AS moved_id, l.description, a.balance, a.last_seq, a.last_entry_at, a.last_hash,
                  a.balance - a.held + CASE WHEN a.held = 0 THEN 0 ELSE {due} END AS spendable
    ), charged AS (
        INSERT INTO billing_charge ({columns}) SELECT {values} FROM moved, given
    ), entered AS (
        INSERT INTO billing_ledgerentry
            (account_id, seq, kind, amount, balance, charge_id, description, actor, fingerprint, spendable, created_at, hash)
        SELECT moved_id, last_seq, '{kind}', -credits, balance, id, description, actor, '', spendable, last_entry_at, last_hash
        FROM moved, given
    )
    SELECT spendable, last_entry_at FROM moved
"""

_HOLD = """
    WITH given AS MATERIALIZED (SELECT * FROM json_to_record(%s) AS {record}), locked AS (
        SELECT id, held, clock_timestamp() AS at
        FROM billing_account WHERE id = %s AND balance - held >= %s FOR NO KEY UPDATE
    ), moved AS (
        UPDATE billing_account AS a SET held = l.held + g.credits FROM locked AS l, given AS g WHERE a.id = l.id
        RETURNING a.balance - a.held + CASE WHEN l.held = 0 THEN 0 ELSE {due} END AS spendable, l.at
    )
    INSERT INTO billing_hold ({columns}) SELECT {values} FROM moved, given
    RETURNING spendable_after, created_at, expires_at
"""


def charge_at_once(charge: Charge, *, description: str) -> bool:
    """Takes the charge's credits, writes its row and its entry; fills in `created_at` and `spendable_after`.

    Returns False, with nothing changed, where fewer credits can be spent than it takes.

    Raises:
        IntegrityError: another charge of this account has its idempotency key.
    """
    done = _run(_charge_statement(), [as_document(charge), description, charge.account_id, charge.credits])
    if done is None:
        return False
    charge.spendable_after, charge.created_at = done
    charge._state.adding = False
    return True


def hold_at_once(hold: Hold) -> bool:
    """Sets the hold's credits aside and writes its row; fills in its moments, as long apart as they were, and `spendable_after`.

    Returns False, with nothing changed, where fewer credits can be spent than it holds.

    Raises:
        IntegrityError: another hold of this account has its idempotency key.
    """
    done = _run(_hold_statement(), [as_document(hold), hold.account_id, hold.credits])
    if done is None:
        return False
    hold.spendable_after, hold.created_at, hold.expires_at = done
    hold._state.adding = False
    return True


def _run(statement: Prepared, parameters: list[Any]) -> tuple[Any, ...] | None:
    # A single statement is a transaction of its own; only a test's outer transaction needs a savepoint around it.
    with transaction.atomic() if connection.in_atomic_block else nullcontext(), connection.cursor() as cursor:
        statement.run(cursor, parameters)
        row: tuple[Any, ...] | None = cursor.fetchone()
    return row


@cache
def _charge_statement() -> Prepared:
    told = {"created_at": "last_entry_at", "spendable_after": "spendable"}
    due = _DUE.format(now="a.last_entry_at")
    return Prepared(_written(_CHARGE, Charge, told, kind=Kind.CONSUME.value, due=due), ["json", "text", "bigint", "bigint"])


@cache
def _hold_statement() -> Prepared:
    told = {"created_at": "at", "expires_at": "at + (expires_at - created_at)", "spendable_after": "spendable"}
    return Prepared(_written(_HOLD, Hold, told, due=_DUE.format(now="l.at")), ["json", "bigint", "bigint"])


def _written(statement: str, model: type[models.Model], told: dict[str, str], **parts: str) -> str:
    """`told`: columns whose values come from the statement instead of the given row."""
    columns = columns_of(model)
    values = [told.get(column, column) for column in columns]
    return statement.format(record=record_of(model), columns=", ".join(columns), values=", ".join(values), **parts)
