"""waule beside the server that it replaces (`benchmarks/peer`), in one run, with wrk: scripts/bench beside.

Both sides run two processes on one PostgreSQL and are measured in turn, round by round, so that a ratio compares the same
minutes. CPU per request is that of the side's process tree and of PostgreSQL's: steadier than rates on a machine that
others use. An image is the control path alone: its provider answers at once. After every load of waule its ledger is reconciled.
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks.load import wrk
from benchmarks.servers import PROJECT, SECRET, child, environment, postgresql, vacuum
from benchmarks.waiting import SlowProvider

PEER = PROJECT / "benchmarks" / "peer"
SCENARIOS = ["charge spread", "charge hot", "balance", "by-apikey", "storage record", "hold", "batch", "models", "image"]
OURS_ALONE = {"hold", "batch", "models", "image"}
CHARGES = {"charge spread", "charge hot", "hold", "batch", "image"}
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(root: int) -> float:
    """User and system time of a process and all below it, also of those that have ended meanwhile."""
    parents: dict[int, tuple[int, int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "stat").read_text()
            except OSError:
                continue
            fields = text[text.rindex(")") + 2 :].split()
            parents[int(entry.name)] = int(fields[1]), sum(map(int, fields[11:15]))
    tree = {root}
    while more := {pid for pid, (parent, _ticks) in parents.items() if parent in tree and pid not in tree}:
        tree |= more
    return sum(parents[pid][1] for pid in tree if pid in parents) / TICKS


def load(side: str, scenario: str, port: int, pid: int, postgres: int, given: dict[str, str], args: Any) -> dict[str, float]:
    """Return one cell: rates a second, milliseconds, microseconds of CPU for each request, and how many were not answered."""
    environ = given | {"SIDE": side, "SCENARIO": scenario, "SEED": str(time.time_ns() % 10**9)}
    before = cpu_seconds(pid), cpu_seconds(postgres)
    ran = wrk("load.lua", port, args.connections, args.seconds, environ)
    after = cpu_seconds(pid), cpu_seconds(postgres)
    answers = max(1, ran.good + ran.bad)
    app, database = ((late - early) / answers * 1e6 for early, late in zip(before, after, strict=True))
    return {
        "rate": ran.per_second, "p50": ran.p50 * 1e3, "p99": ran.p99 * 1e3, "app": app, "database": database,
        "errors": ran.bad, "requests": answers,
    }  # fmt: skip


def sql(url: str, query: str) -> str:
    return subprocess.run(["psql", "-Atqc", query, url], capture_output=True, text=True, check=True).stdout.strip()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: list[str], directory: Path, environ: dict[str, str], port: int) -> Iterator[int]:
    """A server that answers on that port; its process."""
    process = subprocess.Popen(command, cwd=directory, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _attempt in range(600):
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5):
                break
            time.sleep(0.1)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


@contextmanager
def peer(server: str, directory: Path) -> Iterator[tuple[int, int]]:
    """The port and process of the peer, on a database of its own; npm installs it into `directory`."""
    shutil.copytree(PEER, directory / "peer")
    home = directory / "peer"
    # `prisma generate` only asks whether its schema engine is there; it is not needed, and is fetched from elsewhere.
    engine = home / "engine.sh"
    engine.write_text('#!/bin/sh\necho "schema-engine-cli 0"\n')
    engine.chmod(0o755)
    for command in (["npm", "install", "--no-audit", "--no-fund"], ["npx", "prisma", "generate"]):
        subprocess.run(
            command, cwd=home, env=os.environ | {"PRISMA_SCHEMA_ENGINE_BINARY": str(engine)}, check=True, capture_output=True
        )
    with postgresql(server) as url:
        subprocess.run(["psql", "-q", "-v", "ON_ERROR_STOP=1", "-f", str(PEER / "schema.sql"), url], check=True)
        port = free_port()
        environ = os.environ | {"NODE_ENV": "production", "PORT": str(port), "DATABASE_URL": url, "INTERNAL_SECRET": SECRET}
        with running(["node", "server.mjs"], home, environ, port) as pid:
            yield port, pid


@contextmanager
def waule(server: str, directory: Path) -> Iterator[tuple[int, int, str, dict[str, str], dict[str, str]]]:
    with postgresql(server) as url:
        provider = SlowProvider(answers_at_once=True)
        environ = environment(url, directory) | {"LOG_LEVEL": "ERROR"} | provider.settings
        child("manage.py", "migrate", "-v0", env=environ)
        made = json.loads(child("-m", "benchmarks.seed", "10000", env=environ))
        vacuum(url)
        (directory / "tenants").write_text("\n".join(made["tenants"]))
        given = {"TENANTS": str(directory / "tenants"), "MODEL": made["model"], "KEY": made["key"], "INTERNAL_SECRET": SECRET}
        port = free_port()
        command = [sys.executable, "manage.py", "serve", "--port", str(port), "--workers", "2"]
        with running(command, PROJECT, environ, port) as pid:
            yield port, pid, url, environ, given


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench beside", description=__doc__)
    parser.add_argument("--postgres", default="postgresql://postgres@127.0.0.1:5432/postgres")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--scenarios", default=",".join(SCENARIOS))
    args = parser.parse_args()
    lacking = [tool for tool in ("wrk", "node", "npm", "psql") if shutil.which(tool) is None]
    if lacking:
        raise SystemExit(f"Not installed: {', '.join(lacking)}.")
    cells: dict[tuple[str, str], list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="waule-beside-") as name, ExitStack() as stack:
        directory = Path(name)
        theirs = stack.enter_context(peer(args.postgres, directory))
        port, pid, url, environ, given = stack.enter_context(waule(args.postgres, directory))
        sides = {"waule": (port, pid), "peer": theirs}
        postgres = int(Path(sql(url, "SHOW data_directory"), "postmaster.pid").read_text().splitlines()[0])
        for turn in range(args.rounds + 1):
            for scenario in args.scenarios.split(","):
                for side, (its_port, its_pid) in sides.items():
                    if side == "peer" and scenario in OURS_ALONE:
                        continue
                    wal = sql(url, "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")
                    cell = load(side, scenario, its_port, its_pid, postgres, given, args)
                    cell["wal"] = (int(sql(url, "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")) - int(wal)) / cell["requests"]
                    if turn:  # the first round warms up
                        cells.setdefault((scenario, side), []).append(cell)
                if scenario in CHARGES:
                    child("manage.py", "reconcile", env=environ)  # fails where the ledger differs
    print(table(cells, args))


def table(cells: dict[tuple[str, str], list[dict[str, float]]], args: Any) -> str:
    """Medians; of the rate also its range, which is the noise."""
    lines = [
        f"{args.connections} connections, {args.rounds} rounds of {args.seconds} s, {os.cpu_count()} processors.", "",
        "| scenario | side | req/s | lowest – highest | × peer | p50 ms | p99 ms | app µs | database µs | WAL bytes | errors |",
        "| --- | --- | --: | --: | --: | --: | --: | --: | --: | --: | --: |",
    ]  # fmt: skip
    for (scenario, side), rounds in cells.items():
        middle = {name: statistics.median(cell[name] for cell in rounds) for name in rounds[0]}
        other = cells.get((scenario, "peer"), [])
        ratios = [mine["rate"] / its["rate"] for mine, its in zip(rounds, other, strict=False)]
        ratio = f"{statistics.median(ratios):.2f}" if side == "waule" and ratios else ""
        rates = [cell["rate"] for cell in rounds]
        lines.append(
            f"| {scenario} | {side} | {middle['rate']:.0f} | {min(rates):.0f} – {max(rates):.0f} | {ratio} | {middle['p50']:.1f} "
            f"| {middle['p99']:.1f} | {middle['app']:.0f} | {middle['database']:.0f} | {middle['wal']:.0f} "
            f"| {sum(cell['errors'] for cell in rounds):.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
