"""The usual charge, hold and capture as one statement each; many charges are the same statement over many rows.

The rule of this file: the usual case is one statement. Its WHERE asks what has to be true: the catalog's version is still
that of the offer, the owner is active and may use the model, nothing counts or limits the use, and the credits are there.
Whatever it refuses changes nothing, and the long way (`billing.services`, `billing.ledger.posting`) is taken, which can
also say why. A statement alone is a transaction: the account stays locked for as long as it runs, and no longer.

PostgreSQL only; on SQLite, where a statement costs no trip, there is only the long way.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from billing.catalog.current import Catalog
from billing.catalog.offers import Offer, fingerprint_of, offer_of
from billing.catalog.usage import UsageRequest
from billing.ledger.expiry import due_sql
from tenants.principal import Principal
from waule.core.db.json_rows import as_json
from waule.core.db.prepared import IS_POSTGRESQL, Prepared
from waule.core.ids import parse_uuid, uuid7


@dataclass(slots=True)
class Order:
    """A use that an account is to pay for by an offer of the catalog; `id` is the new row's."""

    offer: Offer
    kind: str
    owner_id: str
    mode: str
    api_key_id: str | None
    idempotency_key: str | None
    fingerprint: str
    metadata: str | None
    actor: str
    id: UUID


@dataclass(slots=True)
class Posted:
    """A charge or hold that was just written, as far as its answer tells of it. `spendable_after` in credits."""

    id: UUID
    model_id: UUID | None
    operation: str
    quantity: int
    use: dict[str, Any]
    credits: int
    spendable_after: int
    created_at: datetime
    expires_at: datetime | None = None
    is_free: bool = False
    shortfall: int = 0
    refunded: int = 0


class Undecided:
    """In place of a charge that was neither made nor refused: ask again for it."""


def order_of(
    catalog: Catalog, target: Principal, use: UsageRequest, *, actor: str, idempotency_key: str | None, **others: Any
) -> Order | None:
    """Return the order; None where only the long way will do. `others` are further fields of what an idempotency key stands
    for.
    """
    owner_id = parse_uuid(target.id) if IS_POSTGRESQL else None
    offer = offer_of(catalog, use) if owner_id is not None else None
    if offer is None:
        return None
    return Order(
        offer=offer,
        kind=target.kind,
        owner_id=str(owner_id),
        mode=target.mode,
        api_key_id=str(target.api_key_id) if target.api_key_id else None,
        idempotency_key=idempotency_key,
        fingerprint=fingerprint_of(catalog, use, {**others, **target.fingerprint_fields}) if idempotency_key else "",
        metadata=None if use.metadata is None else as_json(use.metadata),
        actor=actor,
        id=uuid7(),
    )


# --- who pays ------------------------------------------------------------------------------------------------------
# `{who}` and `{may}` stand for the owner's id and for what a tenant must have enabled, or a user's level must be among.

_ACCOUNTS = {
    "tenant": """
        a.tenant_id = {who} AND a.mode = CASE WHEN {api_key} IS NULL THEN {mode}
            ELSE (SELECT k.mode FROM tenants_apikey AS k WHERE k.id = {api_key} AND k.tenant_id = {who}) END""",
    "user": "a.user_id = {who} AND {api_key} IS NULL AND {mode} = 'live'",
}
_ADMISSIONS = {
    "tenant": """
        t.id = {who} AND t.is_active AND t.enabled_models ?| {may}
        AND NOT EXISTS (SELECT 1 FROM billing_budget AS b WHERE b.tenant_id = {who} AND b.is_active)""",
    "user": """
        t.id = {who} AND t.is_active
        AND CASE WHEN t.level IN ('VIP', 'SVIP') AND t.membership_expires_at <= clock_timestamp() THEN 'USER'
            ELSE t.level END = ANY ({may})""",
}
_OWNERS = {"tenant": "tenants_tenant", "user": "tenants_user"}
_NAMES = ("who", "may", "mode", "api_key")
_OF_ONE, _OF_EACH = ({name: written.format(name) for name in _NAMES} for written in ("%({})s", "g.{}"))
_PAYS = {kind: account.format(**_OF_ONE) for kind, account in _ACCOUNTS.items()}
_ONE, _EACH = (
    {kind: f"{account} AND {_ADMISSIONS[kind]}".format(**values) for kind, account in _ACCOUNTS.items()}
    for values in (_OF_ONE, _OF_EACH)
)
_CURRENT = "(SELECT version FROM billing_catalogstate WHERE id = 1)"

# --- what is written -----------------------------------------------------------------------------------------------

_USE = """id, account_id, model_id, operation, quantity, is_free, use, snapshot, counted_day, counted_scope, counted_free,
    metadata, api_key_id, idempotency_key, fingerprint, spendable_after, actor, created_at, credits"""
_ENTRY = """INSERT INTO billing_ledgerentry
    (account_id, seq, kind, amount, balance, charge_id, description, actor, fingerprint, spendable, created_at, hash)"""
_GIVEN = {
    "who": "uuid", "mode": "text", "api_key": "uuid", "may": "text[]", "catalog": "bigint", "credits": "bigint", "id": "uuid",
    "model": "uuid", "operation": "text", "quantity": "int", "use": "jsonb", "snapshot": "jsonb", "metadata": "jsonb",
    "key": "text", "fingerprint": "text", "actor": "text",
}  # fmt: skip

_CHARGE = f"""
    WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now){{locked}}, moved AS (
        UPDATE billing_account AS a
        SET balance = a.balance - %(credits)s, last_seq = a.last_seq + 1, last_entry_at = greatest(c.now, a.last_entry_at),
            last_hash = billing_entry_hash(a.last_hash, a.id, a.last_seq + 1, 'CONSUME', -%(credits)s, a.balance - %(credits)s,
                %(id)s, greatest(c.now, a.last_entry_at), %(actor)s, %(description)s)
        FROM clock AS c, {{owners}} AS t
        WHERE {{account}} AND a.balance - a.held >= %(credits)s AND {_CURRENT} = %(catalog)s{{only_if}}
        RETURNING a.id, a.balance, a.last_seq, a.last_entry_at AS at, a.last_hash,
            a.balance - a.held + CASE WHEN a.held = 0 THEN 0 ELSE billing_due_credits(a.id, a.last_entry_at) END AS spendable
    ), charged AS (
        INSERT INTO billing_charge ({_USE}, refunded, shortfall)
        SELECT %(id)s, id, %(model)s, %(operation)s, %(quantity)s, false, %(use)s, %(snapshot)s, NULL, '', false, %(metadata)s,
            %(api_key)s, %(key)s, %(fingerprint)s, spendable, %(actor)s, at, %(credits)s, 0, 0 FROM moved
    ), entered AS (
        {_ENTRY} SELECT id, last_seq, 'CONSUME', -%(credits)s, balance, %(id)s, %(description)s, %(actor)s, '', spendable, at,
            last_hash FROM moved
    )
    SELECT spendable, at FROM moved{{undecided}}
"""  # noqa: S608


def _charge_sql(kind: str, *, locked: str = "", only_if: str = "", undecided: str = "") -> Prepared:
    sql = _CHARGE.format(account=_ONE[kind], owners=_OWNERS[kind], locked=locked, only_if=only_if, undecided=undecided)
    return Prepared(sql, {**_GIVEN, "description": "text"})


_CHARGES = {kind: _charge_sql(kind) for kind in _OWNERS}
_CHARGES_UNLOCKED = {
    kind: _charge_sql(
        kind,
        locked=f", locked AS (SELECT a.id FROM billing_account AS a WHERE {_PAYS[kind]} FOR NO KEY UPDATE SKIP LOCKED)",  # noqa: S608
        only_if=" AND a.id = (SELECT id FROM locked)",
        undecided=" UNION ALL SELECT NULL, NULL WHERE NOT EXISTS (SELECT 1 FROM locked)",
    )
    for kind in _OWNERS
}

_HELD = f"""
    WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now), moved AS (
        UPDATE billing_account AS a SET held = a.held + %(credits)s FROM clock AS c, {{owners}} AS t
        WHERE {{account}} AND a.balance - a.held >= %(credits)s AND {_CURRENT} = %(catalog)s{{only_if}}
        RETURNING a.id, c.now,
            a.balance - a.held + CASE WHEN a.held = %(credits)s THEN 0 ELSE billing_due_credits(a.id, c.now) END AS spendable
    ){{then}}
    INSERT INTO billing_hold ({_USE}, state, expires_at, is_pinned, is_unknown, credits_released, spendable_at_end, end_reason)
    SELECT %(id)s, id, %(model)s, %(operation)s, %(quantity)s, false, %(use)s, %(snapshot)s, NULL, '', false, %(metadata)s,
        %(api_key)s, %(key)s, %(fingerprint)s, spendable, %(actor)s, now, %(credits)s,
        'held', now + make_interval(secs => %(seconds)s), %(pinned)s, false, 0, 0, '' FROM moved
    RETURNING spendable_after, created_at, expires_at
"""  # noqa: S608
_TO_HOLD = {**_GIVEN, "seconds": "float8", "pinned": "bool"}


def _hold_sql(kind: str, *, only_if: str = "", then: str = "") -> str:
    return _HELD.format(account=_ONE[kind], owners=_OWNERS[kind], only_if=only_if, then=then)


_HOLDS = {kind: Prepared(_hold_sql(kind), _TO_HOLD) for kind in _OWNERS}


def hold_with(kind: str, row: str, types: dict[str, str], *, only_if: str) -> Prepared:
    """Return the statement of a hold that writes one more row: `row`, an INSERT whose SELECT reads `held` (id, now).

    `only_if` is one more condition, `types` are the further parameters. `hold_by` runs it.
    """
    sql = _hold_sql(kind, only_if=f" AND {only_if}", then=", held AS (")
    sql = f"{sql.rstrip()}, id), further AS ({row})\n    SELECT spendable_after, created_at, expires_at FROM held"  # noqa: S608
    return Prepared(sql, {**_TO_HOLD, **types})


# The account is locked first, then the hold: whoever ends it meanwhile is seen by the second look at its state.
# (`IS TRUE` keeps the planner from the index of open holds, which looks empty while few are open.)
_CAPTURED = f"""
    WITH locked AS (
        SELECT a.id, a.balance, a.held, a.last_seq, a.last_hash, greatest(clock_timestamp(), a.last_entry_at) AS at
        FROM billing_account AS a WHERE a.id = (SELECT account_id FROM billing_hold WHERE id = %(hold)s) FOR NO KEY UPDATE
    ){{first}}, ended AS (
        UPDATE billing_hold AS h SET state = 'captured', ended_at = l.at, credits_released = 0,
            spendable_at_end = l.balance - l.held + CASE WHEN l.held = h.credits THEN 0 ELSE billing_due_credits(l.id, l.at) END
        FROM locked AS l{{only_with}}
        WHERE h.id = %(hold)s AND h.account_id = l.id AND (h.state = 'held') IS TRUE AND h.credits > 0 AND NOT h.is_free
          AND NOT ({due_sql("h", "l.at")})
        RETURNING h.*, l.last_hash, l.last_seq + 1 AS seq, l.balance - h.credits AS balance, l.at,
            h.spendable_at_end AS spendable, coalesce(nullif(h.operation, ''), 'capture') AS description
    ), moved AS (
        UPDATE billing_account AS a
        SET balance = e.balance, held = a.held - e.credits, last_seq = e.seq, last_entry_at = e.at,
            last_hash = billing_entry_hash(e.last_hash, a.id, e.seq, 'CONSUME', -e.credits, e.balance, %(id)s, e.at,
                %(actor)s, e.description)
        FROM ended AS e WHERE a.id = e.account_id
        RETURNING e.*, a.last_hash AS hash
    ), charged AS (
        INSERT INTO billing_charge ({_USE}, refunded, shortfall, hold_id)
        SELECT %(id)s, account_id, model_id, operation, quantity, false, use, snapshot, counted_day, counted_scope, counted_free,
            metadata, api_key_id, NULL, '', spendable, %(actor)s, at, credits, 0, 0, id FROM moved
    ), entered AS (
        {_ENTRY} SELECT account_id, seq, 'CONSUME', -credits, balance, %(id)s, description, %(actor)s, '', spendable, at, hash
        FROM moved
    ){{then}}
"""  # noqa: S608
_TO_CAPTURE = {"hold": "uuid", "id": "uuid", "actor": "text"}
_ANSWER = "\n    SELECT credits, spendable, at, model_id, operation, quantity FROM moved"
_CAPTURE = Prepared(_CAPTURED.format(first="", only_with="", then=_ANSWER), _TO_CAPTURE)


def capture_with(locked: str, then: str, types: dict[str, str]) -> Prepared:
    """Return the statement of a capture that goes with a row of others: it is made where `locked` finds and locks that row.

    `locked` is a SELECT that reads the account as `locked`, so that the account is locked first, as everywhere. `then`
    follows the CTEs, of which `moved` has the hold's columns. Run it with the hold's id, the charge's, the actor, and `types`.
    """
    return Prepared(
        _CAPTURED.format(first=f", mine AS ({locked})", only_with=", mine", then=then),
        {**_TO_CAPTURE, **types},
    )


# LIMIT, of what there is once, says so to the planner, who would take it for as much as there is, and read it all.
_PLACE = " UNION ALL ".join(
    f"SELECT a.id FROM {owners} AS t, billing_account AS a WHERE g.kind = '{kind}' AND {_EACH[kind]}"  # noqa: S608
    for kind, owners in _OWNERS.items()
)
# An account's charges are all made or none of them: the credits are asked for together.
_MANY = f"""
    WITH offers AS MATERIALIZED (
        SELECT * FROM ROWS FROM (json_to_recordset(%(offers)s) AS (catalog bigint, credits bigint, model uuid, operation text,
            quantity int, enabled_by text[], levels text[], use jsonb, snapshot jsonb, description text)) WITH ORDINALITY
            AS o(catalog, credits, model, operation, quantity, enabled_by, levels, use, snapshot, description, offer)
    ), given AS MATERIALIZED (
        SELECT *, CASE g.kind WHEN 'tenant' THEN enabled_by ELSE levels END AS may
        FROM unnest(%(kinds)s, %(owners)s, %(modes)s, %(api_keys)s, %(ids)s, %(keys)s, %(fingerprints)s, %(metadata)s,
            %(actors)s, %(numbers)s) WITH ORDINALITY
            AS g(kind, who, mode, api_key, id, key, fingerprint, metadata, actor, number, n), LATERAL (
                SELECT * FROM offers WHERE offer = number AND catalog = {_CURRENT} LIMIT 1) AS o
    ), placed AS MATERIALIZED (
        SELECT g.*, a.id AS account FROM given AS g, LATERAL ({_PLACE} LIMIT 1) AS a
    ), locked AS MATERIALIZED (
        SELECT a.id, a.balance, a.held, a.last_seq, a.last_hash, greatest(clock_timestamp(), a.last_entry_at) AS at
        FROM billing_account AS a WHERE a.id IN (SELECT account FROM placed) ORDER BY a.id FOR NO KEY UPDATE{{skip_locked}}
    ), able AS MATERIALIZED (
        SELECT l.*, l.held - CASE WHEN l.held = 0 THEN 0 ELSE billing_due_credits(l.id, l.at) END AS reserved, wanted.count
        FROM locked AS l JOIN (
            SELECT account, sum(credits) AS credits, count(*) FROM placed GROUP BY account
        ) AS wanted ON wanted.account = l.id
        WHERE l.balance - l.held >= wanted.credits
    ), made AS MATERIALIZED (
        SELECT p.*, l.at, l.reserved, l.last_seq + p.k AS seq, l.balance - p.total AS balance, p.k = l.count AS is_last,
            billing_entry_chain(l.last_hash, l.id, l.last_seq + p.k, 'CONSUME', -p.credits, l.balance - p.total, p.id,
                l.at, p.actor, p.description) OVER (PARTITION BY l.id ORDER BY p.k) AS hash
        FROM able AS l JOIN (
            SELECT *, row_number() OVER so_far AS k, (sum(credits) OVER so_far)::bigint AS total
            FROM placed WINDOW so_far AS (PARTITION BY account ORDER BY n)
        ) AS p ON p.account = l.id
    ), moved AS (
        UPDATE billing_account AS a SET balance = m.balance, last_seq = m.seq, last_entry_at = m.at, last_hash = m.hash
        FROM made AS m WHERE m.is_last AND a.id = m.account
    ), charged AS (
        INSERT INTO billing_charge ({_USE}, refunded, shortfall)
        SELECT id, account, model, operation, quantity, false, use, snapshot, NULL, '', false, metadata::jsonb, api_key, key,
            fingerprint, balance - reserved, actor, at, credits, 0, 0 FROM made ORDER BY n
    ), entered AS (
        {_ENTRY} SELECT account, seq, 'CONSUME', -credits, balance, id, description, actor, '', balance - reserved, at, hash
        FROM made ORDER BY n
    )
    SELECT n, balance - reserved, at FROM made
    UNION ALL SELECT n, NULL, NULL FROM placed WHERE account NOT IN (SELECT account FROM made)
"""  # noqa: S608
_TO_CHARGE_MANY = {
    "offers": "json", "kinds": "text[]", "owners": "uuid[]", "modes": "text[]", "api_keys": "uuid[]", "ids": "uuid[]",
    "keys": "text[]", "fingerprints": "text[]", "metadata": "text[]", "actors": "text[]", "numbers": "int[]",
}  # fmt: skip
_CHARGE_MANY = Prepared(_MANY.format(skip_locked=""), _TO_CHARGE_MANY)
_CHARGE_MANY_UNLOCKED = Prepared(_MANY.format(skip_locked=" SKIP LOCKED"), _TO_CHARGE_MANY)


# --- the verbs -----------------------------------------------------------------------------------------------------


def charge(order: Order, *, wait: bool = True) -> Posted | Undecided | None:
    """Take the order's credits and write its charge and entry; None where the long way has to be taken.

    Without `wait` it is undecided while somebody else has the account locked.

    Raises:
        IntegrityError: another charge of this account has its idempotency key.
    """
    statement = (_CHARGES if wait else _CHARGES_UNLOCKED)[order.kind]
    row = statement.write(*_given(order), order.offer.description)
    return _decided(order, *row) if row else None


def hold(order: Order, *, seconds: float, pinned: bool) -> Posted | None:
    """Set the order's credits aside for `seconds`; None where the long way has to be taken.

    Raises:
        IntegrityError: another hold of this account has its idempotency key.
    """
    return hold_by(_HOLDS[order.kind], order, seconds=seconds, pinned=pinned)


def hold_by(statement: Prepared, order: Order, *further: Any, seconds: float, pinned: bool) -> Posted | None:
    """Return the same by a statement of `hold_with`, with its further values."""
    row = statement.write(*_given(order), seconds, pinned, *further)
    return _posted(order, *row) if row else None


def capture(hold_id: UUID, *, actor: str) -> Posted | None:
    """End a hold by charging what it holds; None where the long way has to be taken."""
    if not IS_POSTGRESQL:
        return None
    made = uuid7()
    row = _CAPTURE.write(str(hold_id), str(made), actor)
    if row is None:
        return None
    credits, spendable, at, model_id, operation, quantity = row
    return Posted(made, model_id, operation, quantity, {}, credits, spendable, at)


def charge_many(orders: list[Order], *, wait: bool = True) -> list[Posted | Undecided | None]:
    """Make many charges, in their order, each as `charge`.

    Undecided are as well those of an account that cannot pay for all of its orders.

    Raises:
        IntegrityError: one of them has an idempotency key that is taken; nothing has changed at all.
    """
    made: list[Posted | Undecided | None] = [None] * len(orders)
    for n, spendable, at in (_CHARGE_MANY if wait else _CHARGE_MANY_UNLOCKED).rows(*_columns(orders)):
        made[n - 1] = _decided(orders[n - 1], spendable, at)
    return made


def _columns(orders: list[Order]) -> tuple[Any, ...]:
    """The values of `_TO_CHARGE_MANY`."""
    offers = dict.fromkeys(order.offer for order in orders)
    numbers = {offer: number for number, offer in enumerate(offers, 1)}
    columns = zip(
        *(
            (one.kind, one.owner_id, one.mode, one.api_key_id, str(one.id), one.idempotency_key, one.fingerprint, one.metadata,
             one.actor, numbers[one.offer])
            for one in orders
        ),
        strict=True,
    )  # fmt: skip
    documents = f"[{','.join(offer.document for offer in offers)}]"
    return documents, *map(list, columns)


def _given(order: Order) -> tuple[Any, ...]:
    """The values of `_GIVEN`."""
    offer = order.offer
    return (
        order.owner_id, order.mode, order.api_key_id, offer.enabled_by if order.kind == "tenant" else offer.levels, offer.catalog,
        offer.credits, str(order.id), offer.model, offer.operation, offer.quantity, offer.use_json, offer.snapshot_json,
        order.metadata, order.idempotency_key, order.fingerprint, order.actor,
    )  # fmt: skip


def _decided(order: Order, spendable: int | None, at: datetime | None) -> Posted | Undecided:
    return Undecided() if spendable is None or at is None else _posted(order, spendable, at)


def _posted(order: Order, spendable: int, at: datetime, expires_at: datetime | None = None) -> Posted:
    offer = order.offer
    return Posted(order.id, offer.model_id, offer.operation, offer.quantity, offer.use, offer.credits, spendable, at, expires_at)
