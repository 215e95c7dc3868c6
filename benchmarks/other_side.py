"""What waule is compared with: the same writes and reads by its database alone, without waule."""

import contextlib
import secrets
import sqlite3
import subprocess
import tempfile
import time

import psycopg2

ONE_STATEMENT = """
WITH moved AS (
    UPDATE billing_account SET balance = balance - 7, last_seq = last_seq + 1, last_entry_at = now()
    WHERE id = :id AND balance - held >= 7 RETURNING id, balance, held, last_seq
)
INSERT INTO billing_ledgerentry
    (account_id, seq, kind, amount, balance, description, actor, fingerprint, spendable, created_at, hash)
SELECT id, last_seq, 'CONSUME', -7, balance, 'bench', 'bench', '', balance - held, now(), '' FROM moved;
"""


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
    """Return the same two writes as `ONE_STATEMENT`, with a charge's row, from one thread without any framework."""
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


def plain_sum(url: str) -> float:
    """Return rows per second of the simplest look at every entry."""
    with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SET max_parallel_workers_per_gather = 0")
        started = time.perf_counter()
        cursor.execute("SELECT sum(amount), count(*) FROM billing_ledgerentry")
        _sum, rows = cursor.fetchone()
        return float(rows / (time.perf_counter() - started))
