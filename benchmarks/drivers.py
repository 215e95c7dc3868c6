"""The database drivers beside each other: CPU of this process for one prepared statement, psycopg2 against psycopg 3.

    pip install "psycopg[binary,pool]"
    python -m benchmarks.drivers postgresql://postgres@127.0.0.1:5432/postgres

Two statements as the hot path has them: a row looked up by its key, and an UPDATE with fourteen values that answers a row. The
ways take turns in rounds; the medians are shown, with the quickest and the slowest round.
"""

import statistics
import sys
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

import psycopg  # type: ignore[import-not-found]
import psycopg2
import psycopg_pool  # type: ignore[import-not-found]

ROUNDS, CALLS = 9, 4000
TABLE = "CREATE TEMPORARY TABLE bench (id uuid PRIMARY KEY, n bigint NOT NULL, texts text[], body jsonb, at timestamptz)"
KEY = uuid.uuid4()
READ = "SELECT id, n, body, at FROM bench WHERE id = {0}"
NAMES = ("uuid", "bigint", *["text"] * 10, "jsonb", "timestamptz")
WRITE = (
    "UPDATE bench SET n = n + {1}, texts = ARRAY[{2}, {3}, {4}, {5}, {6}, {7}, {8}, {9}, {10}, {11}], body = {12}, at = {13} "
    "WHERE id = {0} RETURNING id, n, at"
)
VALUES = (str(KEY), 1, *["a value of some length"] * 10, '{"model": "flash", "quantity": 1}', datetime.now(UTC))


def numbered(statement: str, types: tuple[str, ...]) -> str:
    return statement.format(*(f"${number}::{name}" for number, name in enumerate(types, 1)))


def by_psycopg2(url: str) -> tuple[Callable[[], object], Callable[[], object]]:
    """As `waule.core.db.prepared`: PREPARE once, then EXECUTE with the values written into the text."""
    connection = psycopg2.connect(url)
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute(TABLE)
    cursor.execute("INSERT INTO bench VALUES (%s, 0)", [str(KEY)])
    cursor.execute(f"PREPARE read (uuid) AS {numbered(READ, NAMES[:1])}")
    cursor.execute(f"PREPARE write ({', '.join(NAMES)}) AS {numbered(WRITE, NAMES)}")
    write = f"EXECUTE write ({', '.join(['%s'] * len(NAMES))})"

    def call(text: str, values: tuple[object, ...]) -> object:
        with connection.cursor() as cursor:
            cursor.execute(text, values)
            return cursor.fetchone()

    return (lambda: call("EXECUTE read (%s)", VALUES[:1])), (lambda: call(write, VALUES))


def by_psycopg3(url: str, *, is_binary: bool, is_pooled: bool) -> tuple[Callable[[], object], Callable[[], object]]:
    """Values sent beside the statement, which the driver prepares; borrowed from its own pool for each call, or kept."""
    about = {"autocommit": True, "prepare_threshold": 0}
    pool = psycopg_pool.ConnectionPool(url, min_size=1, max_size=1, kwargs=about, open=True)
    kept = pool.getconn()
    kept.execute(TABLE)
    kept.execute("INSERT INTO bench VALUES (%s, 0)", [KEY])
    if is_pooled:
        pool.putconn(kept)
    read = READ.format("%s::uuid")
    write = (  # its values stand in the order of the text
        f"UPDATE bench SET n = n + %s::bigint, texts = ARRAY[{', '.join(['%s::text'] * 10)}], body = %s::jsonb, "
        "at = %s::timestamptz WHERE id = %s::uuid RETURNING id, n, at"
    )
    values = (*VALUES[1:], VALUES[0])

    def call(text: str, values: tuple[object, ...]) -> object:
        if not is_pooled:
            return kept.execute(text, values, binary=is_binary).fetchone()
        with pool.connection() as connection:
            return connection.execute(text, values, binary=is_binary).fetchone()

    return (lambda: call(read, VALUES[:1])), (lambda: call(write, values))


def main(url: str) -> None:
    ways = {
        "psycopg2, EXECUTE": by_psycopg2(url),
        "psycopg 3, text": by_psycopg3(url, is_binary=False, is_pooled=False),
        "psycopg 3, binary": by_psycopg3(url, is_binary=True, is_pooled=False),
        "psycopg 3, its pool": by_psycopg3(url, is_binary=False, is_pooled=True),
    }
    print(f"psycopg2 {psycopg2.__version__.split()[0]}, psycopg {psycopg.__version__} ({psycopg.pq.__impl__})")
    for number, what in enumerate(("read", "write")):
        found: dict[str, list[float]] = {name: [] for name in ways}
        for _round in range(ROUNDS):
            for name, calls in ways.items():
                began = time.process_time()
                for _call in range(CALLS):
                    calls[number]()
                found[name].append((time.process_time() - began) / CALLS * 1e6)
        for name, rounds in found.items():
            print(f"{what:6} {name:20} {statistics.median(rounds):6.1f} us  ({min(rounds):.1f} to {max(rounds):.1f})")


if __name__ == "__main__":
    main(sys.argv[1])
