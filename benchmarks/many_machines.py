"""Many machines, by simulation: 1, 2, 4 and 8 server processes on one PostgreSQL, with a network's delay in between.

Run with DATABASE_URL of a server's database from which others can be made: python -m benchmarks.many_machines
[--seconds S] [--delays 0,1] [--processes 1,2,4,8]. Prints a table. All of it shares this machine's processors, so the rates
stop growing where those are full; what tells about many machines are the processor time of application and database for each
charge, which must not grow with the number of processes, and the rate of one account, which does not add up.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from benchmarks.beside import cpu_seconds, free_port, running, sql
from benchmarks.load import run
from benchmarks.measure import charge_body, internal
from benchmarks.servers import PROJECT, child, environment, postgresql, vacuum

CONNECTIONS = 8  # of the load, for each process


@contextlib.contextmanager
def delayed(url: str, milliseconds: float) -> Iterator[str]:
    """The URL of the same database behind a proxy that is late by so much, there and back."""
    parts, port = urlsplit(url), free_port()
    command = [
        sys.executable,
        "-m",
        "benchmarks.delay",
        str(port),
        parts.hostname or "",
        str(parts.port or 5432),
        str(milliseconds),
    ]
    process = subprocess.Popen(command, cwd=PROJECT)
    time.sleep(1)
    try:
        yield urlunsplit(parts._replace(netloc=f"{parts.username or 'postgres'}@127.0.0.1:{port}"))
    finally:
        process.terminate()
        process.wait(10)


def measured(environ: dict[str, str], requests: list[bytes], processes: int, seconds: float, postgres: int) -> list[float]:
    """Charges per second, p99 in ms, µs of application and of database for each, errors."""
    port = free_port()
    command = [sys.executable, "manage.py", "serve", "--port", str(port), "--workers", str(processes)]
    with running(command, PROJECT, environ, port) as pid:
        run(port, CONNECTIONS * processes, 2.0, requests)
        before = cpu_seconds(pid), cpu_seconds(postgres)
        load = run(port, CONNECTIONS * processes, seconds, requests)
        after = cpu_seconds(pid), cpu_seconds(postgres)
    app, database = ((late - early) / max(1, load.good) * 1e6 for early, late in zip(before, after, strict=True))
    return [load.per_second, load.p99 * 1e3, app, database, load.bad]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--delays", default="0,0.5,2")
    parser.add_argument("--processes", default="1,2,4,8")
    options = parser.parse_args()
    server = os.environ["DATABASE_URL"]
    with postgresql(server) as url, tempfile.TemporaryDirectory() as directory:
        environ = environment(url, Path(directory)) | {"DATABASE_CONNECTIONS": "4"}
        child("manage.py", "migrate", "-v0", env=environ)
        made = json.loads(child("-m", "benchmarks.seed", "2000", env=environ))
        vacuum(url)
        postgres = int(sql(url, "SELECT split_part(pg_read_file('postmaster.pid'), E'\\n', 1)"))
        charges = [internal("POST", "billing/charge", charge_body(tenant, made["model"])) for tenant in made["tenants"]]
        print("| delay, ms | processes | charges/s | p99, ms | app µs | PostgreSQL µs | one account/s | p99, ms | errors |")
        print("| --: | --: | --: | --: | --: | --: | --: | --: | --: |")
        for delay in map(float, options.delays.split(",")):
            for processes in map(int, options.processes.split(",")):
                with delayed(url, delay) as late:
                    given = environ | {"DATABASE_URL": late}
                    spread = measured(given, charges, processes, options.seconds, postgres)
                    hot = measured(given, charges[:1], processes, options.seconds, postgres)
                print(
                    f"| {delay:g} | {processes} | {spread[0]:,.0f} | {spread[1]:.0f} | {spread[2]:,.0f} | {spread[3]:,.0f} "
                    f"| {hot[0]:,.0f} | {hot[1]:.0f} | {spread[4] + hot[4]:.0f} |",
                    flush=True,
                )
        print(child("manage.py", "reconcile", "--json", env=environ))


if __name__ == "__main__":
    main()
