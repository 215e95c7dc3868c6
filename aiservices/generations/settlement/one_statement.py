"""The usual image: its row and its hold written by one statement when it begins, its end and its payment by one when it ends.

As `billing.ledger.fast_path`, of whose hold and capture these are extensions: what the WHERE refuses changes nothing, and
the long way (`services.admission`, `settlement`) is taken, which can also say why. Nothing lies between the row and its
hold, nor between what was decided and what was paid: a process dies before such a statement or after it.

PostgreSQL only, images that waule itself charges, owners without a storage quota.
"""

from typing import Any

from django.conf import settings
from django.db import IntegrityError

from aiservices.generations.leases import owner
from aiservices.generations.models import Generation
from aiservices.generations.settlement import double_charges
from aiservices.generations.settlement.payment import ACTOR
from billing.catalog.current import Catalog
from billing.catalog.usage import UsageRequest
from billing.ledger import fast_path, fast_path_sql
from storage.services import END_RESERVATIONS, HAS_NO_QUOTA
from tenants.principal import Principal
from waule.core.db.json_rows import as_json
from waule.core.db.prepared import IS_POSTGRESQL
from waule.core.db.transactions import retried
from waule.core.ids import uuid7

HOLD_SECONDS = 3600  # its hold is pinned, and does not end by itself
State = Generation.State

_BEGUN = {
    "generation": "uuid", "prompt": "text", "parameters": "jsonb", "own_key": "text", "own_fingerprint": "text",
    "request": "text",
    "route": "text", "worker": "text", "lease": "float8",
}  # fmt: skip
_ROW = """
    INSERT INTO aiservices_generation ({owner}_id, id, type, mode, api_key_id, model_id, prompt, parameters, state, progress,
        outputs, hold_id, credits_charged, is_free, error_code, error_message, flags, idempotency_key, fingerprint, created_at,
        started_at, verdict, route, is_billed_by_gateway, error_details, upstream_id, request_id, attempt, deaths, lease_owner,
        lease_until, run_after, priority, client_retries)
    SELECT %(who)s, %(generation)s, 'image', %(mode)s, %(api_key)s, %(model)s, %(prompt)s, %(parameters)s, 'running', 0, '[]',
        id, 0, false, '', '', '[]', %(own_key)s, %(own_fingerprint)s, created_at, created_at,
        '', %(route)s, false, '{{}}', '', %(request)s, 0, 0, %(worker)s, clock_timestamp() + make_interval(secs => %(lease)s),
        created_at, 0, 0 FROM held"""
_BEGIN = {
    kind: fast_path_sql.hold_with(kind, _ROW.format(owner=kind), _BEGUN, only_if=only_if)
    for kind, only_if in (("tenant", HAS_NO_QUOTA.format(tenant="%(who)s")), ("user", "true"))
}

_LOCKED = """
    SELECT g.id FROM aiservices_generation AS g, locked WHERE g.id = %(generation)s AND g.attempt = %(attempt)s AND g.verdict = ''
    FOR NO KEY UPDATE OF g"""
_CLOSED = f""", closed AS (
        UPDATE aiservices_generation AS g SET verdict = 'succeeded', state = 'succeeded', progress = 100, outputs = %(outputs)s,
            flags = %(flags)s, charge_id = %(id)s, credits_charged = m.credits, is_free = false, completed_at = clock_timestamp(),
            lease_until = NULL
        FROM moved AS m WHERE g.id = %(generation)s RETURNING g.id, g.credits_charged, g.completed_at
    ), unreserved AS (
        {END_RESERVATIONS.format(ended="closed")}
    ), forgotten AS (
        DELETE FROM aiservices_pendingresult AS p USING closed AS c WHERE p.generation_id = c.id
    )
    SELECT credits_charged, completed_at FROM closed"""  # noqa: S608
_END = fast_path_sql.capture_with(
    _LOCKED, _CLOSED, {"generation": "uuid", "attempt": "int", "outputs": "jsonb", "flags": "jsonb"}
)


class KeyTaken(Exception):
    """Another call with the generation's idempotency key was quicker."""


@retried
def begin(made: Generation, *, catalog: Catalog, target: Principal, use: UsageRequest, actor: str) -> bool:
    """Write the row of an image, running, with its hold. False, with nothing changed: the long way has to be taken.

    Raises:
        KeyTaken.
    """
    if not IS_POSTGRESQL or made.type != Generation.Type.IMAGE or made.is_billed_by_gateway:
        return False
    order = fast_path.order_of(
        catalog, target, use, actor=actor, idempotency_key=str(made.id), hold_seconds=HOLD_SECONDS, pinned=True
    )
    if order is None or order.offer.model_id != made.model_id:
        return False
    further = (
        str(made.id), made.prompt, as_json(made.parameters), made.idempotency_key, made.fingerprint, made.request_id, made.route,
        owner(), float(settings.JOB_LEASE_SECONDS),
    )  # fmt: skip
    try:
        held = fast_path.hold_by(_BEGIN[order.kind], order, *further)
    except IntegrityError as error:
        if made.idempotency_key is None:
            raise
        raise KeyTaken from error
    if not isinstance(held, fast_path.Posted):
        return False
    made._state.adding = False
    made.hold_id, made.state, made.lease_owner = held.id, State.RUNNING, owner()
    made.created_at = made.started_at = made.run_after = held.created_at
    return True


@retried
def end(generation: Generation, *, results: list[dict[str, Any]], flags: list[str]) -> bool:
    """End an image that was made as asked and charge what its hold holds. False, with nothing changed: the long way.

    It is refused where others have the generation now, or have ended its hold.
    """
    is_usual = generation.type == Generation.Type.IMAGE and not generation.is_billed_by_gateway and generation.hold_id
    if not IS_POSTGRESQL or not is_usual or len(results) < generation.parameters.get("quantity", 1):
        return False
    double_charges.look_for(generation)
    charge_id = uuid7()
    row = _END.write(
        str(generation.hold_id), str(charge_id), ACTOR, str(generation.id), generation.attempt, as_json(results), as_json(flags)
    )
    if row is None:
        return False
    generation.outcome = generation.state = State.SUCCEEDED
    generation.outputs, generation.flags, generation.progress = results, flags, 100
    generation.charge_id, generation.is_free, generation.lease_until = charge_id, False, None
    generation.credits_charged, generation.completed_at = row
    return True
