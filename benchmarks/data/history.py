"""Fills a throw-away database with a long history, chained as the ledger chains it: python -m benchmarks.data.history ENTRIES

Every entry but the first of each account is a use with its charge, spread over the last DAYS days. For every ten of them
there is a generation, a hold, a stored object, an entry of the audit trail, a message and a refund.
"""

import os
import sys
from datetime import timedelta
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "waule.settings")

import django

django.setup()

from django.db import connection, models  # noqa: E402
from django.utils import timezone  # noqa: E402

from aiservices.generations.models import Generation  # noqa: E402
from benchmarks.seed import platform  # noqa: E402
from billing.ledger.models import Account, Charge, Hold, Refund  # noqa: E402
from storage.models import StoredObject  # noqa: E402
from tenants.models import AuditEntry  # noqa: E402
from tenants.webhooks.models import OutboxMessage  # noqa: E402

TENANTS = 1000
DAYS = 60
ROUNDS_A_VACUUM = 50
CREDITS = 1_000_000_000

AT = "to_timestamp(%(at)s)"
MICROSECONDS = f"(extract(epoch FROM {AT}) * 1000000)::bigint"
UUID7 = (
    "(lpad(to_hex((extract(epoch FROM {at}) * 1000)::bigint), 12, '0') || '7' || substr(md5(random()::text), 1, 3) "
    "|| '8' || substr(md5(random()::text), 1, 15))::uuid"
)

# One entry for every account, and the charge that it pays for (the first one pays for none: it is a gift).
ROUND = f"""
WITH fresh AS MATERIALIZED (
    SELECT id AS account_id, CASE WHEN %(amount)s < 0 THEN {UUID7.format(at=AT)} END AS charge_id FROM billing_account
), moved AS (
    UPDATE billing_account SET balance = balance + %(amount)s, last_seq = last_seq + 1, last_entry_at = {AT},
        last_hash = encode(sha256(convert_to(concat_ws(E'\\x1f', last_hash, id, last_seq + 1, %(kind)s, %(amount)s,
            balance + %(amount)s, coalesce(charge_id::text, ''), {MICROSECONDS}, 'bench', 'bench'), 'UTF8')), 'hex')
    FROM fresh WHERE id = account_id RETURNING id, balance, held, last_seq, last_hash, charge_id
), charged AS (
    INSERT INTO billing_charge ({{columns}}) SELECT {{values}}
    FROM moved CROSS JOIN (SELECT * FROM billing_charge WHERE id = %(template)s) AS t WHERE moved.charge_id IS NOT NULL
)
INSERT INTO billing_ledgerentry
    (account_id, seq, kind, amount, balance, charge_id, description, actor, fingerprint, spendable, created_at, hash)
SELECT id, last_seq, %(kind)s, %(amount)s, balance, charge_id, 'bench', 'bench', '', balance - held, {AT}, last_hash FROM moved
"""

VARIED = {
    Generation: {
        "state": "CASE n %% 20 WHEN 0 THEN 'failed' WHEN 1 THEN 'canceled' ELSE 'succeeded' END",
        "type": "CASE n %% 5 WHEN 0 THEN 'video' ELSE 'image' END",
    }
}


def fill(entries: int) -> None:
    seeded = platform(TENANTS)
    accounts = list(Account.objects.order_by("id"))
    start = timezone.now() - timedelta(days=DAYS)
    # A charge and what else is copied: made by hand, of no account that the rounds move.
    template = Charge(account=accounts[0], model_id=seeded["model"], operation="image", credits=0, created_at=start)
    template.save()
    rounds = max(1, entries // TENANTS)
    step = timedelta(days=DAYS) / (rounds + 1)
    columns = [field.column for field in Charge._meta.concrete_fields]
    made = {"id": "moved.charge_id", "account_id": "moved.id", "credits": "7", "created_at": AT}
    statement = ROUND.format(columns=", ".join(columns), values=", ".join(made.get(name, f"t.{name}") for name in columns))
    with connection.cursor() as cursor:
        for number in range(rounds):
            kind, amount = ("CONSUME", -7) if number else ("GIFT", CREDITS)
            values = {"kind": kind, "amount": amount, "at": (start + number * step).timestamp(), "template": template.pk}
            cursor.execute(statement, values)
            if number % ROUNDS_A_VACUUM == 0:
                cursor.execute("VACUUM ANALYZE billing_account")  # every row has as many dead ones
        owner, model = accounts[0].tenant, str(seeded["model"])
        templates = (
            Generation(tenant=owner, model_id=model, type="image", state="succeeded", prompt="a bench", started_at=start,
                       completed_at=start + timedelta(seconds=9), credits_charged=7),
            Hold(account=accounts[0], credits=7, state="released", model_id=model, created_at=start, expires_at=start,
                 ended_at=start),
            StoredObject(tenant=owner, object_key=None, size_bytes=1000, driver="local", url="/media/bench.png"),
            AuditEntry(actor="bench", action="bench.made", at=start),
            OutboxMessage(tenant=owner, kind="generation.succeeded", payload={}, state="delivered"),
            Refund(charge=template, account=accounts[0], credits=0, total_after=0, is_full=False, reason="bench",
                   spendable_after=0, created_at=start),
        )  # fmt: skip
        for row in templates:
            row.save()
            copy(cursor, row, max(1, entries // 10), first=accounts[0].pk, **VARIED.get(type(row), {}))
        cursor.execute("VACUUM ANALYZE")


def copy(cursor: Any, row: models.Model, count: int, *, first: int, **varied: str) -> None:
    """So many copies of `row`, with ids and times over the same days, of all tenants in turn.

    `first` is the first account; `varied` gives a column's value as SQL, where `n` counts the copies.
    """
    timestamp = f"(now() - interval '{DAYS} days' * (1 - n / {count + 1}::float))"
    options = row._meta
    made = {"created_at": timestamp, "at": timestamp, **varied}
    made[options.pk.column] = UUID7.format(at=timestamp) if options.pk.get_internal_type() == "UUIDField" else ""
    made["account_id"] = f"{first} + n %% {TENANTS}"
    made["tenant_id"] = f"(SELECT tenant_id FROM billing_account WHERE id = {first} + n %% {TENANTS})"
    columns = [field.column for field in options.concrete_fields if made.get(field.column, "kept")]
    values = ", ".join(made.get(name, f"t.{name}") for name in columns)
    template = f"(SELECT * FROM {options.db_table} WHERE {options.pk.column} = %s) AS t"
    cursor.execute(
        f"INSERT INTO {options.db_table} ({', '.join(columns)}) "
        f"SELECT {values} FROM generate_series(1, {count}) AS n CROSS JOIN {template}",
        [row.pk],
    )


if __name__ == "__main__":
    fill(int(sys.argv[1]))
