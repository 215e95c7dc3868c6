"""The measurements: what is asked of waule, what is asked of its database, and what the one is to the other.

Every repeat measures both sides one after the other, so that a ratio compares the same minute of the same machine.
"""

import contextlib
import json
import shutil
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg2

from benchmarks.load import FollowUp, Load, request, run
from benchmarks.other_side import ONE_STATEMENT, pgbench, plain_sqlite, plain_sum
from benchmarks.report import Line
from benchmarks.servers import SECRET, child, environment, postgresql, serving, vacuum
from benchmarks.waiting import WAITING, SlowProvider, measure_following, measure_waiting, processes_on

SPREAD = 10_000
FEW_ENTRIES = 1000
CONNECTIONS = 8  # that a server process lends at most: `waule.core.db.connection_pool`, which cannot be imported without settings


# --- requests ------------------------------------------------------------------------------------------------------


def internal(method: str, path: str, body: Any = None, **headers: str) -> bytes:
    return request(method, f"/internal/{path}", body, X_Internal_Secret=SECRET, **headers)


def charge_body(tenant: str, model: str) -> dict[str, Any]:
    return {"targetType": "tenant", "targetId": tenant, "modelId": model, "operation": "image"}


def new_objects(tenants: list[str], repeat: int) -> list[bytes]:
    """Record of objects that nobody has told of, 500 of each tenant."""
    return [
        internal("POST", "storage/record", {"tenantId": tenant, "bytes": 1000, "objectKey": f"{repeat}/{number}.png"})
        for number in range(500)
        for tenant in tenants
    ]


CAPTURE = FollowUp('"holdId": ?"([^"]+)",', internal("POST", "billing/holds/{}/capture"))
REPORT = FollowUp('"leaseId": ?"([^"]+)",', internal("POST", "credentials/leases/{}/report", {"outcome": "ok"}))


# --- the run -------------------------------------------------------------------------------------------------------


def measure(*, server: str | None, seconds: float, repeats: int, entries: int, say: Callable[[str], None]) -> list[Line]:
    """Return all of it, the long history with so many `entries`.

    `server` is the URL of a PostgreSQL database from which others can be made; None: SQLite alone.
    """
    lines: list[Line] = []
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="waule-benchmark-")))
        if server is None or shutil.which("pgbench") is None:
            say("no PostgreSQL server or no pgbench: only SQLite is measured")
        else:
            url = stack.enter_context(postgresql(server))
            env, seeded = prepare(url, directory, SPREAD, say)
            plain_url = stack.enter_context(postgresql(server, url))  # pgbench writes past the ledger: not into ours
            lines += on_postgresql(url, plain_url, env, seeded, seconds, repeats, say)
            lines += on_a_long_history(server, directory, entries, repeats, say)
        lines += on_sqlite(directory, seconds, repeats, say)
    return lines


def prepare(url: str, directory: Path, count: int, say: Callable[[str], None]) -> tuple[dict[str, str], dict[str, Any]]:
    env = environment(url, directory)
    say(f"a database with {count:,} tenants")
    child("manage.py", "migrate", "--verbosity=0", env=env)
    return env, json.loads(child("-m", "benchmarks.seed", str(count), env=env))


def on_postgresql(
    url: str,
    plain_url: str,
    env: dict[str, str],
    seeded: dict[str, Any],
    seconds: float,
    repeats: int,
    say: Callable[[str], None],
) -> list[Line]:
    first, last = seeded["first_account"], seeded["first_account"] + SPREAD - 1
    spread_script = f"\\set id random({first}, {last})\n{ONE_STATEMENT}"
    hot_script = f"\\set id {first}\n{ONE_STATEMENT}"
    tenants, model = seeded["tenants"], seeded["model"]
    charges = [internal("POST", "billing/charge", charge_body(tenant, model)) for tenant in tenants]
    batches = [
        internal("POST", "billing/charges/batch", {"charges": [charge_body(tenant, model) for tenant in tenants[n : n + 100]]})
        for n in range(0, SPREAD, 100)
    ]
    lookups = [internal("GET", "tenants/by-apikey", X_Api_Key=seeded["key"])]
    balances = [internal("GET", f"billing/balance?targetType=tenant&targetId={tenant}") for tenant in tenants[:1000]]
    holds = [internal("POST", "billing/holds", charge_body(tenant, model)) for tenant in tenants]
    leases = [internal("POST", "credentials/lease", {"provider": "gemini"})]
    spread_line = Line("charge, 10,000 accounts, 16 connections", "pgbench, one statement, 16 clients", 0.25)
    hot_line = Line("charge, one account, 64 connections", "pgbench, one account, 8 clients", 0.75)
    batch_line = Line("batches of 100, items, 4 connections", "pgbench, one statement, 16 clients", 1.5)
    hold_line = Line("hold, 16 connections", "our charge, 16 connections", 0.8)
    pair_line = Line("hold + capture, pairs, 16 connections", "our charge, 16 connections", 0.5)
    lease_line = Line("lease + report of 40 keys, pairs, 64 connections", "pgbench, the same two statements, 16 clients", 0.3)
    plain = {
        "by-apikey, 16 connections": (lookups, 16),
        "by-apikey, 64 connections": (lookups, 64),
        "balance, 16 connections": (balances, 16),
        "balance, 64 connections": (balances, 64),
    }
    plain_lines = {name: Line(name, "our charge, 16 connections", None) for name in plain}
    record_line = Line("storage record, 16 connections", "our charge, 16 connections", None)
    with serving(env) as port:
        run(port, 16, min(2.0, seconds), charges)  # plans prepared, catalog read
        for repeat in range(1, repeats + 1):
            say(f"PostgreSQL, repeat {repeat} of {repeats}")
            for each in (url, plain_url):
                vacuum(each)
            limit = pgbench(plain_url, spread_script, clients=16, seconds=seconds)
            single = run(port, 16, seconds, charges)
            note(spread_line, single, limit)
            hot_limit = pgbench(plain_url, hot_script, clients=8, seconds=seconds)
            note(hot_line, run(port, 64, seconds, charges[:1]), hot_limit)
            note(batch_line, run(port, 4, seconds, batches), limit, times=100)
            note(hold_line, run(port, 16, seconds, holds), single.per_second)
            note(pair_line, run(port, 16, seconds, holds, CAPTURE), single.per_second, times=0.5)
            lease_limit = pgbench(plain_url, seeded["lease_and_report"], clients=16, seconds=seconds)
            note(lease_line, run(port, 64, seconds, leases, REPORT), lease_limit, times=0.5)
            for name, (requests, connections) in plain.items():
                note(plain_lines[name], run(port, connections, seconds, requests), single.per_second)
            note(record_line, run(port, 16, seconds, new_objects(tenants[:100], repeat)), single.per_second)
    waiting_lines = while_generations_wait(url, env, seeded, seconds, repeats, charges, say)
    return [
        spread_line,
        hot_line,
        batch_line,
        hold_line,
        pair_line,
        lease_line,
        *plain_lines.values(),
        record_line,
        *waiting_lines,
    ]


def on_a_long_history(server: str, directory: Path, entries: int, repeats: int, say: Callable[[str], None]) -> list[Line]:
    """Return what must not become slow with the years: the admin's pages, and the reconciliation."""
    proof = Line(f"reconcile of {entries:,} entries, rows", "SELECT sum(amount), one process, rows", 0.1)
    pages: dict[int, list[float]] = {}
    for count in (FEW_ENTRIES, entries):
        say(f"a history of {count:,} entries and as many charges")
        with postgresql(server) as url:
            env = environment(url, directory)
            child("manage.py", "migrate", "--verbosity=0", env=env)
            child("-m", "benchmarks.data.history", str(count), env=env)
            say("every list, search and filter of the admin")
            pages[count] = sorted(json.loads(child("-m", "benchmarks.pages.admin_pages", env=env)).values())
            for _repeat in range(repeats if count == entries else 0):
                say("reconcile")
                proof.theirs.append(plain_sum(url))
                proof.ours.append(entries / float(child("-m", "benchmarks.reconcile", env=env)))
    few, many = pages[FEW_ENTRIES], pages[entries]
    name = f"{len(many)} admin pages with {entries:,} entries"
    median = Line(f"{name}, the median, ms", f"with {FEW_ENTRIES:,} entries, ms", 2, is_at_most=True)
    slowest = Line(f"{name}, the slowest, ms", f"with {FEW_ENTRIES:,} entries, ms", None, is_at_most=True)
    median.ours, median.theirs = [statistics.median(many)], [statistics.median(few)]
    slowest.ours, slowest.theirs = [many[-1]], [few[-1]]
    return [median, slowest, proof]


def while_generations_wait(
    url: str,
    env: dict[str, str],
    seeded: dict[str, Any],
    seconds: float,
    repeats: int,
    charges: list[bytes],
    say: Callable[[str], None],
) -> list[Line]:
    slow = f"while {WAITING} generations wait"
    p99 = Line(f"p99 of a charge {slow}, ms", "the same, idle, ms", 2, is_at_most=True, digits=1)
    memory = Line(f"memory of each of {WAITING} waiting generations, MiB", "1 MiB", 1, is_at_most=True, digits=2)
    held = Line(f"database connections {slow}", "what is lent at most", 1, is_at_most=True)
    # Once: the videos never end, and would be followed in the next repeat too.
    followed = Line(
        f"p99 of a charge while {WAITING} videos are followed, ms", "the same, idle, ms", 2, is_at_most=True, digits=1
    )
    watched = Line(f"memory of a worker for each of {WAITING} videos it follows, MiB", "1 MiB", 1, is_at_most=True, digits=2)
    provider = SlowProvider()

    def connections() -> int:
        with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'waule'"
            )
            return int(cursor.fetchone()[0])

    with serving(env | provider.settings) as port:
        run(port, 16, min(2.0, seconds), charges)
        for repeat in range(1, repeats + 1):
            say(f"{WAITING} generations wait, repeat {repeat} of {repeats}")
            found = measure_waiting(port, seconds, seeded, charges, provider, connections)
            p99.ours.append(found["busy_ms"])
            p99.theirs.append(found["idle_ms"])
            memory.ours.append(found["mib_each"])
            memory.theirs.append(1)
            held.ours.append(found["connections"])
            held.theirs.append(CONNECTIONS * len(processes_on(port)))
        found = measure_following(port, seconds, seeded, charges, provider, env | provider.settings)
        followed.ours.append(found["busy_ms"])
        followed.theirs.append(found["idle_ms"])
        watched.ours.append(found["mib_each"])
        watched.theirs.append(1)
    return [p99, memory, held, followed, watched]


def on_sqlite(directory: Path, seconds: float, repeats: int, say: Callable[[str], None]) -> list[Line]:
    path = directory / "benchmark.sqlite3"
    env, seeded = prepare(f"sqlite:///{path}", directory, 10, say)
    charges = [internal("POST", "billing/charge", charge_body(seeded["tenants"][0], seeded["model"]))]
    line = Line("SQLite: charge, one account, 16 connections", "the same statements in plain sqlite3, one thread", 0.25)
    with serving(env) as port:
        run(port, 16, min(2.0, seconds), charges)
        for repeat in range(1, repeats + 1):
            say(f"SQLite, repeat {repeat} of {repeats}")
            limit = plain_sqlite(str(path), seeded["first_account"], seconds)
            note(line, run(port, 16, seconds, charges), limit)
    return [line]


def note(line: Line, load: Load, limit: float, *, times: float = 1) -> None:
    line.ours.append(load.per_second * times)
    line.theirs.append(limit)
    line.p99.append(load.p99 * 1e3)
    line.refused += load.bad
