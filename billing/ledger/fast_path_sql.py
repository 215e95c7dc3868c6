"""The statements of `billing.ledger.fast_path`: a charge, a hold and a capture, each for one row and for many.

`CHARGE` and `HOLD` are by the kind of owner; all are by whether they wait for an account that somebody else has locked.
Those that do not wait answer NULL for what they have left undecided.
"""

from billing.ledger.expiry import due_sql
from waule.core.db.prepared import Prepared

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

_SKIP = " SKIP LOCKED"

# --- what is written -----------------------------------------------------------------------------------------------

_USE = """id, account_id, model_id, operation, quantity, is_free, use, snapshot, counted_day, counted_scope, counted_free,
    metadata, api_key_id, idempotency_key, fingerprint, spendable_after, actor, created_at, credits"""
_ENTRY = """INSERT INTO billing_ledgerentry
    (account_id, seq, kind, amount, balance, charge_id, description, actor, fingerprint, spendable, created_at, hash)"""
_OPEN = "state, expires_at, is_pinned, is_unknown, credits_released, spendable_at_end, end_reason"
_ORDER = {
    "who": "uuid", "mode": "text", "api_key": "uuid", "may": "text[]", "catalog": "bigint", "credits": "bigint", "id": "uuid",
    "model": "uuid", "operation": "text", "quantity": "int", "use": "jsonb", "snapshot": "jsonb", "metadata": "jsonb",
    "key": "text", "fingerprint": "text", "actor": "text",
}  # fmt: skip

# Of one row: without the wait the account is locked first, or not at all.
_WAITS = {"locked": "", "only_if": "", "undecided": ""}


def _waits_not(kind: str, undecided: str) -> dict[str, str]:
    return {
        "locked": f", locked AS (SELECT a.id FROM billing_account AS a WHERE {_PAYS[kind]} FOR NO KEY UPDATE SKIP LOCKED)",  # noqa: S608
        "only_if": " AND a.id = (SELECT id FROM locked)",
        "undecided": f" UNION ALL SELECT {undecided} WHERE NOT EXISTS (SELECT 1 FROM locked)",  # noqa: S608
    }


_CHARGED = f"""
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
CHARGE = {
    (kind, wait): Prepared(
        _CHARGED.format(account=_ONE[kind], owners=owners, **(_WAITS if wait else _waits_not(kind, "NULL, NULL"))),
        {**_ORDER, "description": "text"},
    )
    for kind, owners in _OWNERS.items()
    for wait in (True, False)
}

_HELD = f"""
    WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now){{locked}}, moved AS (
        UPDATE billing_account AS a SET held = a.held + %(credits)s FROM clock AS c, {{owners}} AS t
        WHERE {{account}} AND a.balance - a.held >= %(credits)s AND {_CURRENT} = %(catalog)s{{only_if}}
        RETURNING a.id, c.now,
            a.balance - a.held + CASE WHEN a.held = %(credits)s THEN 0 ELSE billing_due_credits(a.id, c.now) END AS spendable
    ), held AS (
        INSERT INTO billing_hold ({_USE}, {_OPEN})
        SELECT %(id)s, id, %(model)s, %(operation)s, %(quantity)s, false, %(use)s, %(snapshot)s, NULL, '', false, %(metadata)s,
            %(api_key)s, %(key)s, %(fingerprint)s, spendable, %(actor)s, now, %(credits)s,
            'held', now + make_interval(secs => %(seconds)s), %(pinned)s, false, 0, 0, '' FROM moved
        RETURNING id, spendable_after, created_at, expires_at
    ){{then}}
    SELECT spendable_after, created_at, expires_at FROM held{{undecided}}
"""  # noqa: S608
_TO_HOLD = {**_ORDER, "seconds": "float8", "pinned": "bool"}
HOLD = {
    (kind, wait): Prepared(
        _HELD.format(account=_ONE[kind], owners=owners, then="", **(_WAITS if wait else _waits_not(kind, "NULL, NULL, NULL"))),
        _TO_HOLD,
    )
    for kind, owners in _OWNERS.items()
    for wait in (True, False)
}


def hold_with(kind: str, row: str, types: dict[str, str], *, only_if: str) -> Prepared:
    """Return the statement of a hold that writes one more row: `row`, an INSERT whose SELECT reads `held` (id, created_at).

    `only_if` is one more condition, `types` are the further parameters. `fast_path.hold_by` runs it.
    """
    how = _WAITS | {"only_if": f" AND {only_if}"}
    sql = _HELD.format(account=_ONE[kind], owners=_OWNERS[kind], then=f", further AS ({row})", **how)
    return Prepared(sql, {**_TO_HOLD, **types})


# `IS TRUE` keeps the planner from the index of open holds, which looks empty while few are open.
_IS_OPEN = f"(h.state = 'held') IS TRUE AND h.credits > 0 AND NOT h.is_free AND NOT ({due_sql('h', 'l.at')})"
# The account is locked first, then the hold: whoever ends it meanwhile is seen by the second look at its state.
_CAPTURED = f"""
    WITH locked AS (
        SELECT a.id, a.balance, a.held, a.last_seq, a.last_hash, greatest(clock_timestamp(), a.last_entry_at) AS at
        FROM billing_account AS a WHERE a.id = (SELECT account_id FROM billing_hold WHERE id = %(hold)s)
        FOR NO KEY UPDATE{{skip_locked}}
    ){{first}}, ended AS (
        UPDATE billing_hold AS h SET state = 'captured', ended_at = l.at, credits_released = 0,
            spendable_at_end = l.balance - l.held + CASE WHEN l.held = h.credits THEN 0 ELSE billing_due_credits(l.id, l.at) END
        FROM locked AS l{{only_with}}
        WHERE h.id = %(hold)s AND h.account_id = l.id AND {_IS_OPEN}
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
_ANSWER = """
    SELECT credits, spendable, at, model_id, operation, quantity, NULL::bigint FROM moved"""
_UNDECIDED = """
    UNION ALL SELECT NULL, NULL, NULL, NULL, NULL, NULL, account_id FROM billing_hold
    WHERE id = %(hold)s AND NOT EXISTS (SELECT 1 FROM locked)"""
CAPTURE = {
    wait: Prepared(_CAPTURED.format(first="", only_with="", skip_locked=skip, then=_ANSWER + undecided), _TO_CAPTURE)
    for wait, skip, undecided in ((True, "", ""), (False, _SKIP, _UNDECIDED))
}


def capture_with(locked: str, then: str, types: dict[str, str]) -> Prepared:
    """Return the statement of a capture that goes with a row of others: it is made where `locked` finds and locks that row.

    `locked` is a SELECT that reads the account as `locked`, so that the account is locked first, as everywhere. `then`
    follows the CTEs, of which `moved` has the hold's columns. Run it with the hold's id, the charge's, the actor, and `types`.
    """
    sql = _CAPTURED.format(first=f", mine AS ({locked})", only_with=", mine", skip_locked="", then=then)
    return Prepared(sql, {**_TO_CAPTURE, **types})


# LIMIT, of what there is once, says so to the planner, who would take it for as much as there is, and read it all.
_PLACE = " UNION ALL ".join(
    f"SELECT a.id FROM {owners} AS t, billing_account AS a WHERE g.kind = '{kind}' AND {_EACH[kind]}"  # noqa: S608
    for kind, owners in _OWNERS.items()
)
# Of many rows. An account's are all made or none of them: the credits are asked for together.
_ORDERED = f"""
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
        SELECT p.*, l.at, l.reserved, l.last_seq + p.k AS seq, l.balance - p.total AS balance, p.k = l.count AS is_last{{hash}}
        FROM able AS l JOIN (
            SELECT *, row_number() OVER so_far AS k, (sum(credits) OVER so_far)::bigint AS total
            FROM placed WINDOW so_far AS (PARTITION BY account ORDER BY n)
        ) AS p ON p.account = l.id
    )"""  # noqa: S608
_HASH = """,
            billing_entry_chain(l.last_hash, l.id, l.last_seq + p.k, 'CONSUME', -p.credits, l.balance - p.total, p.id,
                l.at, p.actor, p.description) OVER (PARTITION BY l.id ORDER BY p.k) AS hash"""
_ORDERS = {
    "offers": "json", "kinds": "text[]", "owners": "uuid[]", "modes": "text[]", "api_keys": "uuid[]", "ids": "uuid[]",
    "keys": "text[]", "fingerprints": "text[]", "metadata": "text[]", "actors": "text[]", "numbers": "int[]",
}  # fmt: skip

_CHARGED_MANY = f"""{_ORDERED}, moved AS (
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
CHARGE_MANY = {
    wait: Prepared(_CHARGED_MANY.format(hash=_HASH, skip_locked=skip), _ORDERS) for wait, skip in ((True, ""), (False, _SKIP))
}

_HELD_MANY = f"""{_ORDERED}, moved AS (
        UPDATE billing_account AS a SET held = a.held + m.total FROM made AS m WHERE m.is_last AND a.id = m.account
    ), held AS (
        INSERT INTO billing_hold ({_USE}, {_OPEN})
        SELECT id, account, model, operation, quantity, false, use, snapshot, NULL, '', false, metadata::jsonb, api_key, key,
            fingerprint, balance - reserved, actor, at, credits,
            'held', at + make_interval(secs => (%(seconds)s)[n::int]), (%(pinned)s)[n::int], false, 0, 0, '' FROM made ORDER BY n
    )
    SELECT n, balance - reserved, at, at + make_interval(secs => (%(seconds)s)[n::int]) FROM made
    UNION ALL SELECT n, NULL, NULL, NULL FROM placed WHERE account NOT IN (SELECT account FROM made)
"""  # noqa: S608
HOLD_MANY = {
    wait: Prepared(_HELD_MANY.format(hash="", skip_locked=skip), {**_ORDERS, "seconds": "float8[]", "pinned": "bool[]"})
    for wait, skip in ((True, ""), (False, _SKIP))
}

# A hold that comes twice is captured once. Each capture leaves what can be spent as it was.
_CAPTURED_MANY = f"""
    WITH given AS MATERIALIZED (
        SELECT DISTINCT ON (hold) g.*, h.account_id AS account
        FROM unnest(%(holds)s, %(ids)s, %(actors)s) WITH ORDINALITY AS g(hold, id, actor, n), LATERAL (
            SELECT account_id FROM billing_hold WHERE id = g.hold LIMIT 1) AS h
        ORDER BY hold, n
    ), locked AS MATERIALIZED (
        SELECT a.id, a.balance, a.held, a.last_seq, a.last_hash, greatest(clock_timestamp(), a.last_entry_at) AS at
        FROM billing_account AS a WHERE a.id IN (SELECT account FROM given) ORDER BY a.id FOR NO KEY UPDATE{{skip_locked}}
    ), able AS MATERIALIZED (
        SELECT l.*, l.balance - l.held + billing_due_credits(l.id, l.at) AS spendable FROM locked AS l
    ), ended AS (
        UPDATE billing_hold AS h SET state = 'captured', ended_at = l.at, credits_released = 0, spendable_at_end = l.spendable
        FROM able AS l, given AS g
        WHERE h.id = g.hold AND h.account_id = l.id AND {_IS_OPEN}
        RETURNING h.*, g.n, g.id AS charge, g.actor AS by, l.balance, l.last_seq, l.last_hash, l.at, l.spendable,
            coalesce(nullif(h.operation, ''), 'capture') AS description
    ), made AS MATERIALIZED (
        SELECT *, balance - total AS left_over, last_seq + k AS seq,
            billing_entry_chain(last_hash, account_id, last_seq + k, 'CONSUME', -credits, balance - total, charge, at, by,
                description) OVER (PARTITION BY account_id ORDER BY k) AS hash
        FROM (
            SELECT *, row_number() OVER so_far AS k, (sum(credits) OVER so_far)::bigint AS total,
                count(*) OVER (PARTITION BY account_id) AS count
            FROM ended WINDOW so_far AS (PARTITION BY account_id ORDER BY n)
        ) AS e
    ), moved AS (
        UPDATE billing_account AS a
        SET balance = m.left_over, held = a.held - m.total, last_seq = m.seq, last_entry_at = m.at, last_hash = m.hash
        FROM made AS m WHERE m.k = m.count AND a.id = m.account_id
    ), charged AS (
        INSERT INTO billing_charge ({_USE}, refunded, shortfall, hold_id)
        SELECT charge, account_id, model_id, operation, quantity, false, use, snapshot, counted_day, counted_scope, counted_free,
            metadata, api_key_id, NULL, '', spendable, by, at, credits, 0, 0, id FROM made ORDER BY n
    ), entered AS (
        {_ENTRY} SELECT account_id, seq, 'CONSUME', -credits, left_over, charge, description, by, '', spendable, at, hash
        FROM made ORDER BY n
    )
    SELECT n, credits, spendable, at, model_id, operation, quantity, NULL::bigint FROM made
    UNION ALL SELECT n, NULL, NULL, NULL, NULL, NULL, NULL, account FROM given WHERE account NOT IN (SELECT id FROM locked)
"""  # noqa: S608
CAPTURE_MANY = {
    wait: Prepared(_CAPTURED_MANY.format(skip_locked=skip), {"holds": "uuid[]", "ids": "uuid[]", "actors": "text[]"})
    for wait, skip in ((True, ""), (False, _SKIP))
}
