"""The measurements: what is asked of waule, what is asked of its database, and what the one is to the other.

Every repeat measures both sides one after the other, so that a ratio compares the same minute of the same machine.
"""

import contextlib
import json
import os
import secrets
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2

from benchmarks.load import Load, request, run
from benchmarks.report import Line
from benchmarks.waiting import WAITING, SlowProvider, measure_following, measure_waiting, processes_on

PROJECT = Path(__file__).resolve().parent.parent
SECRET = "benchmark-internal-secret-of-32-characters"
SPREAD = 10_000
FEW_ENTRIES = 1000
LONGEST_SECONDS = 3600  # of one child: a history of ten million entries takes a quarter of an hour
CONNECTIONS = 8  # that a server process lends at most: `waule.core.db.connection_pool`, which cannot be imported without settings

ONE_STATEMENT = """
WITH moved AS (
    UPDATE billing_account SET balance = balance - 7, last_seq = last_seq + 1, last_entry_at = now()
    WHERE id = :id AND balance - held >= 7 RETURNING id, balance, held, last_seq
)
INSERT INTO billing_ledgerentry
    (account_id, seq, kind, amount, balance, description, actor, fingerprint, spendable, created_at, hash)
SELECT id, last_seq, 'CONSUME', -7, balance, 'bench', 'bench', '', balance - held, now(), '' FROM moved;
"""


# --- databases and servers -----------------------------------------------------------------------------------------


def environment(url: str, directory: Path) -> dict[str, str]:
    keys = {"SECRET_KEY": secrets.token_urlsafe(48), "JWT_SECRET": secrets.token_urlsafe(48), "INTERNAL_SECRET": SECRET}
    from cryptography.fernet import Fernet

    return os.environ | keys | {
        "ENCRYPTION_KEYS": Fernet.generate_key().decode(),
        "ALLOWED_HOSTS": "127.0.0.1",
        "DEBUG": "false",
        "DATABASE_URL": url,
        "MEDIA_ROOT": str(directory / "media"),
        "WAULE_ENV_FILE": str(directory / "none"),
        "DJANGO_SETTINGS_MODULE": "waule.settings",
        "LOG_LEVEL": "ERROR",
    }  # fmt: skip


def child(*arguments: str, env: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=PROJECT, env=env, capture_output=True, text=True, timeout=LONGEST_SECONDS
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: {done.stderr[-2000:]}")
    return done.stdout


@contextlib.contextmanager
def postgresql(server: str, template: str = "") -> Iterator[str]:
    """The URL of a new database on that server (…/postgres), a copy of `template` if that is given; dropped at the end."""
    name = f"waule_benchmark_{secrets.token_hex(4)}"

    def on_server(statement: str) -> None:
        with contextlib.closing(psycopg2.connect(server)) as connection:
            connection.autocommit = True
            connection.cursor().execute(statement)

    on_server(f"CREATE DATABASE {name}" + (f" TEMPLATE {template.rpartition('/')[2]}" if template else ""))
    try:
        yield f"{server.rpartition('/')[0]}/{name}"
    finally:
        on_server(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def vacuum(url: str) -> None:
    """What autovacuum does between the minutes: some servers have it switched off, and their plans are of empty tables."""
    with contextlib.closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        connection.cursor().execute("VACUUM ANALYZE")


@contextlib.contextmanager
def serving(env: dict[str, str]) -> Iterator[int]:
    """A waule server on a free port of loopback; the port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "manage.py", "serve", "--port", str(port)],
        cwd=PROJECT,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for _attempt in range(600):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5):
                break
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()


# --- the other side ------------------------------------------------------------------------------------------------


def pgbench(url: str, script: str, *, clients: int, seconds: float) -> float:
    """Transactions per second of that script, each its own transaction, prepared."""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        command = ["pgbench", "-n", "-M", "prepared", "-c", str(clients), "-j", "2", "-T", str(max(1, round(seconds)))]
        done = subprocess.run([*command, "-f", file.name, url], capture_output=True, text=True, timeout=seconds + 60)
    if done.returncode:
        raise RuntimeError(done.stderr)
    line = next(line for line in done.stdout.splitlines() if line.startswith("tps = "))
    return float(line.split()[2])


def plain_sqlite(path: str, account: int, seconds: float) -> float:
    """The same two writes as `ONE_STATEMENT`, with a charge's row, from one thread without any framework."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=20)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    row = connection.execute("SELECT * FROM billing_charge LIMIT 1")
    columns = [column[0] for column in row.description]
    values = list(row.fetchone())
    insert = f"INSERT INTO billing_charge ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    values[columns.index("account_id")] = account
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        values[columns.index("id")] = secrets.token_hex(16)
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(
            "UPDATE billing_account SET balance = balance - 7, last_seq = last_seq + 1 WHERE id = ? AND balance - held >= 7",
            (account,),
        )
        connection.execute(insert, values)
        connection.execute(
            "INSERT INTO billing_ledgerentry (account_id, seq, kind, amount, balance, description, actor, fingerprint, "
            "spendable, created_at, hash) SELECT id, last_seq, 'CONSUME', -7, balance, 'bench', 'bench', '', balance, "
            "'2026-01-01 00:00:00', '' FROM billing_account WHERE id = ?",
            (account,),
        )
        connection.execute("COMMIT")
        done += 1
    rate = done / (time.perf_counter() - started)
    connection.close()
    return rate


# --- requests ------------------------------------------------------------------------------------------------------


def internal(method: str, path: str, body: Any = None, **headers: str) -> bytes:
    return request(method, f"/internal/{path}", body, X_Internal_Secret=SECRET, **headers)


def charge_body(tenant: str, model: str) -> dict[str, Any]:
    return {"targetType": "tenant", "targetId": tenant, "modelId": model, "operation": "image"}


def new_objects(tenants: list[str], repeat: int) -> list[bytes]:
    """Records of objects that nobody has told of, 500 of each tenant."""
    return [
        internal("POST", "storage/record", {"tenantId": tenant, "bytes": 1000, "objectKey": f"{repeat}/{number}.png"})
        for number in range(500)
        for tenant in tenants
    ]


def capture_of(answer: bytes) -> bytes:
    return internal("POST", f"billing/holds/{json.loads(answer)['holdId']}/capture")


def report_of(answer: bytes) -> bytes:
    return internal("POST", f"credentials/leases/{json.loads(answer)['leaseId']}/report", {"outcome": "ok"})


# --- the run -------------------------------------------------------------------------------------------------------


def measure(*, server: str | None, seconds: float, repeats: int, entries: int, say: Callable[[str], None]) -> list[Line]:
    """All of it, the long history with so many `entries`.

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
    return env, json.loads(child("-m", "benchmarks.data.seed", str(count), env=env))


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
    spread_line = Line("charge, 10,000 accounts, 16 connections", "pgbench, one statement, 16 clients", 0.20)
    hot_line = Line("charge, one account, 64 connections", "pgbench, one account, 8 clients", 0.75)
    batch_line = Line("batches of 100, items, 4 connections", "pgbench, one statement, 16 clients", 1.0)
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
            note(pair_line, run(port, 16, seconds, holds, capture_of), single.per_second, times=0.5)
            lease_limit = pgbench(plain_url, seeded["lease_and_report"], clients=16, seconds=seconds)
            note(lease_line, run(port, 64, seconds, leases, report_of), lease_limit, times=0.5)
            for name, (requests, connections) in plain.items():
                note(plain_lines[name], run(port, connections, seconds, requests), single.per_second)
            note(record_line, run(port, 16, seconds, new_objects(tenants[:100], repeat)), single.per_second)
    waiting_lines = while_generations_wait(url, env, seeded, seconds, repeats, charges, say)
    return [spread_line, hot_line, batch_line, pair_line, lease_line, *plain_lines.values(), record_line, *waiting_lines]


def on_a_long_history(server: str, directory: Path, entries: int, repeats: int, say: Callable[[str], None]) -> list[Line]:
    """What must not become slow with the years: the admin's pages, and the reconciliation."""
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


def plain_sum(url: str) -> float:
    """Rows per second of the simplest look at every entry."""
    with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SET max_parallel_workers_per_gather = 0")
        started = time.perf_counter()
        cursor.execute("SELECT sum(amount), count(*) FROM billing_ledgerentry")
        _sum, rows = cursor.fetchone()
        return float(rows / (time.perf_counter() - started))


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
    at_provider = {"OPENAI_API_URL": provider.url, "OPENAI_API_KEY": "sk-benchmark-0123456789", "UPSTREAM_READ_SECONDS": "300"}

    def connections() -> int:
        with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'waule'"
            )
            return int(cursor.fetchone()[0])

    with serving(env | at_provider) as port:
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
        found = measure_following(port, seconds, seeded, charges, provider, env | at_provider)
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
    line.p99.append(load.percentile(0.99))
    line.refused += sum(count for status, count in load.statuses.items() if status >= 300)
