"""A charge that touches one account and no daily counter, as one statement: one round trip, one short lock.

PostgreSQL only. It does what `Books` does for a charge, and `billing.reconcile` proves both alike; whatever this
statement cannot do (too few credits, holds to end, counters to keep) changes nothing, and the books take over, which
can also say why. See docs/adr/0006-a-charge-is-one-statement.md for what it saves.
"""

from contextlib import nullcontext
from functools import cache

from django.db import connection, connections, models, transaction

from billing.models import Charge, Kind
from waule.prepared import Prepared

_FROM_ACCOUNT = {"created_at": "last_entry_at", "spendable_after": "spendable"}

_STATEMENT = """
    WITH locked AS (
        SELECT id, balance, held, last_seq, last_hash,
               greatest(clock_timestamp(), coalesce(last_entry_at, '-infinity')) AS at
        FROM billing_account WHERE id = %s AND balance - held >= %s FOR NO KEY UPDATE
    ), moved AS (
        UPDATE billing_account AS a
        SET balance = l.balance - %s, last_seq = l.last_seq + 1, last_entry_at = l.at,
            last_hash = encode(sha256(convert_to(concat_ws(E'\\x1f', l.last_hash, l.id, l.last_seq + 1, '{kind}', -%s,
                l.balance - %s, %s::text, (extract(epoch FROM l.at) * 1000000)::bigint, %s, %s), 'UTF8')), 'hex')
        FROM locked AS l WHERE a.id = l.id
        RETURNING a.id, a.balance, a.last_seq, a.last_entry_at, a.last_hash,
                  a.balance - a.held + CASE WHEN a.held = 0 THEN 0 ELSE (
                      SELECT coalesce(sum(h.credits), 0)::bigint FROM billing_hold AS h
                      WHERE h.account_id = a.id AND h.state = 'held' AND NOT h.is_pinned AND NOT h.is_unknown
                        AND h.expires_at <= a.last_entry_at
                  ) END AS spendable
    ), charged AS (
        INSERT INTO billing_charge ({columns}) SELECT {values} FROM moved
    ), entered AS (
        INSERT INTO billing_ledgerentry
            (account_id, seq, kind, amount, balance, charge_id, description, actor, fingerprint, spendable, created_at, hash)
        SELECT id, last_seq, '{kind}', -%s, balance, %s, %s, %s, '', spendable, last_entry_at, last_hash FROM moved
    )
    SELECT spendable, last_entry_at FROM moved
"""


def charge_at_once(charge: Charge, *, description: str, actor: str) -> bool:
    """Takes the charge's credits, writes its row and its entry; fills in `created_at` and `spendable_after`.

    Returns False, with nothing changed, where fewer credits can be spent than it takes.

    Raises:
        IntegrityError: another charge of this account has its idempotency key.
    """
    statement, fields = _statement_and_fields()
    database = connections[connection.alias]  # the proxy looks it up anew at each touch
    row = [field.get_db_prep_save(getattr(charge, field.attname), database) for field in fields]
    parameters = [
        charge.account_id,
        charge.credits,
        charge.credits,
        charge.credits,
        charge.credits,
        str(charge.id),
        actor,
        description,
        *row,
        charge.credits,
        charge.id,
        description,
        actor,
    ]
    # A single statement is a transaction of its own; only a test's outer transaction needs a savepoint around it.
    with transaction.atomic() if connection.in_atomic_block else nullcontext(), connection.cursor() as cursor:
        statement.run(cursor, parameters)
        moved = cursor.fetchone()
    if moved is None:
        return False
    charge.spendable_after, charge.created_at = moved
    charge._state.adding = False
    return True


@cache
def _statement_and_fields() -> tuple[Prepared, tuple[models.Field, ...]]:
    fields = [field for field in Charge._meta.concrete_fields if field.column not in _FROM_ACCOUNT]
    columns = [str(field.column) for field in fields] + list(_FROM_ACCOUNT)
    values = ["%s"] * len(fields) + list(_FROM_ACCOUNT.values())
    statement = _STATEMENT.format(kind=Kind.CONSUME.value, columns=", ".join(columns), values=", ".join(values))
    own = [str(field.db_type(connection)) for field in fields]
    types = ["bigint"] * 5 + ["text"] * 3 + own + ["bigint", "uuid", "text", "text"]
    return Prepared(statement, types), tuple(fields)
