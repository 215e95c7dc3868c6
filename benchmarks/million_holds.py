"""Whether holds stay quick while the table grows: plans and times of hold, capture and expiry with few and with many.

Run with DATABASE_URL naming a throw-away PostgreSQL database that is migrated: python -m benchmarks.million_holds [COUNT].
Prints a table: shared buffers that each statement touches (a figure that no other load changes) and its time in the
database, the least of TIMES; and the indexes that are read.
"""

import os
import re
import sys
import uuid
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "waule.settings")

import django

django.setup()

from django.db import connection, transaction  # noqa: E402

from benchmarks.seed import CREDITS, platform  # noqa: E402
from billing.catalog.current import current_catalog  # noqa: E402
from billing.catalog.usage import UsageRequest  # noqa: E402
from billing.ledger import fast_path, fast_path_sql  # noqa: E402
from billing.ledger.expiry import due_holds  # noqa: E402
from billing.ledger.models import Account, Hold, Kind  # noqa: E402
from billing.ledger.posting import database_now  # noqa: E402
from billing.services import capture, grant, hold  # noqa: E402
from tenants.principal import Principal  # noqa: E402

TIMES = 15
TENANTS = 100
OPEN_SHARE = 100  # one in so many of the old holds is still open
ANOTHER = (
    "INSERT INTO billing_hold ({columns}) SELECT {values} FROM generate_series(1, %s) AS n, billing_hold AS h WHERE h.id = %s"
)


def fill(count: int, template: uuid.UUID) -> None:
    """Add `count` holds like `template`, most of them captured or released, spread over all accounts."""
    first = Account.objects.order_by("id").values_list("id", flat=True)[0]
    changed = {
        "id": "gen_random_uuid()",
        "account_id": f"{first} + n %% {TENANTS}",
        "idempotency_key": "NULL",
        "state": f"CASE WHEN n %% {OPEN_SHARE} = 0 THEN 'held' WHEN n %% 3 = 0 THEN 'released' ELSE 'captured' END",
        "created_at": "h.created_at - n * interval '1 second'",
        "is_pinned": "true",
    }
    names = [field.column for field in Hold._meta.concrete_fields]
    sql = ANOTHER.format(columns=", ".join(names), values=", ".join(changed.get(name, f"h.{name}") for name in names))
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")  # no look at what the rows refer to: they refer to what is there
        cursor.execute(sql, [count, template])
        cursor.execute(
            "UPDATE billing_account a SET held = (SELECT coalesce(sum(credits), 0) FROM billing_hold h "
            "WHERE h.account_id = a.id AND h.state = 'held')"
        )
        cursor.execute("SET session_replication_role = origin")
        cursor.execute("ANALYZE billing_hold")


def explained(statement: Any, values: tuple[Any, ...]) -> tuple[float, int, set[str]]:
    """Return milliseconds, shared buffers, and the indexes of one execution, which is rolled back."""
    with transaction.atomic(), connection.cursor() as cursor:
        statement._prepare(connection.connection, cursor)
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS) {statement.execution}", values)
        plan = "\n".join(row[0] for row in cursor.fetchall())
        transaction.set_rollback(True)
    assert "Seq Scan on billing_hold" not in plan, plan
    buffers = sum(int(found) for found in re.findall(r"shared hit=(\d+)", plan.split("Planning")[0].splitlines()[1]))
    time = re.search(r"Execution Time: ([\d.]+)", plan)
    assert time is not None
    return float(time[1]), buffers, set(re.findall(r"Index (?:Only )?Scan using (billing_hold\w+)", plan))


def measured(name: str, statement: Any, make: Any) -> str:
    runs = [explained(statement, make()) for _number in range(TIMES)]
    indexes = ", ".join(sorted(set().union(*(each[2] for each in runs)))) or "none"
    return f"| {name} | {min(each[0] for each in runs):.2f} | {min(each[1] for each in runs)} | {indexes} |"


def expiry() -> str:
    """Return the look for holds that are due, of which there are none or few."""
    with connection.cursor() as cursor:
        sql, values = (
            due_holds(database_now()).order_by("account_id").values_list("account_id").distinct()[:1000].query.sql_with_params()
        )
        runs = []
        for _number in range(TIMES):
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS) {sql}", values)
            plan = "\n".join(row[0] for row in cursor.fetchall())
            time = re.search(r"Execution Time: ([\d.]+)", plan)
            buffers = re.search(r"shared hit=(\d+)", plan)
            runs.append((float(time[1]) if time else 0.0, int(buffers[1]) if buffers else 0))
    indexes = ", ".join(sorted(set(re.findall(r"using (billing_hold\w+)", plan)))) or "none"
    return f"| look for what is due | {min(runs)[0]:.2f} | {min(each[1] for each in runs)} | {indexes} |"


def rows(target: Principal, use: UsageRequest) -> list[str]:
    def order() -> tuple[Any, ...]:
        made = fast_path.order_of(current_catalog(), target, use, actor="bench", idempotency_key=uuid.uuid4().hex)
        assert made is not None
        return (*fast_path._given(made), 3600.0, False)

    open_hold = hold(target=target, use=use, actor="bench").hold.id
    return [
        measured("hold", fast_path_sql.HOLD["tenant", True], order),
        measured("capture", fast_path_sql.CAPTURE[True], lambda: (str(open_hold), str(uuid.uuid4()), "bench")),
        expiry(),
    ]


def main(count: int) -> None:
    made = platform(TENANTS)
    target, use = Principal("tenant", made["tenants"][0]), UsageRequest(model=made["model"], operation="image")
    for tenant in made["tenants"]:
        grant(
            target=Principal("tenant", tenant),
            credits=CREDITS,
            kind=Kind.GIFT,
            reason="b",
            actor="bench",
            idempotency_key=uuid.uuid4().hex,
        )
    template = hold(target=target, use=use, actor="bench").hold.id
    before = rows(target, use)  # plans are made now, while the table is empty, and kept
    fill(count, template)
    after = rows(target, use)
    capture(hold_id=str(hold(target=target, use=use, actor="bench").hold.id), actor="bench")
    few_holds = Hold.objects.count() - count - 4
    print(f"| statement | ms with {few_holds} holds | buffers | ms with {count:,} holds | buffers | indexes read |")
    print("| --- | --: | --: | --: | --: | --- |")
    for few, many in zip(before, after, strict=True):
        name, least, buffers, _indexes = few.strip("| ").split(" | ")
        print(f"| {name} | {least} | {buffers} | {' | '.join(many.strip('| ').split(' | ')[1:])} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
