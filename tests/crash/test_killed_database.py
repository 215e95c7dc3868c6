"""PostgreSQL is shut down at once, as by a power cut, under a server that charges: 503 meanwhile, and nothing told is lost."""

import os
import pwd
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg2
import pytest
import requests
from django.db import connection

from tests.live import LiveWaule, free_port, manage
from tests.settings import INTERNAL_SECRET

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no server that could be shut down"),
]
CHARGES = 300
BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))


class Cluster:
    """A PostgreSQL server of this test's own, which may be killed."""

    def __init__(self) -> None:
        pg_ctl = shutil.which("pg_ctl") or (BINARIES and str(BINARIES[-1]))
        if not pg_ctl:
            pytest.skip("PostgreSQL's own programs are not installed here")
        self.pg_ctl = str(pg_ctl)
        self.directory = tempfile.mkdtemp(prefix="waule-test-cluster-")
        self.port = free_port()
        if os.getuid() == 0:
            os.chown(self.directory, pwd.getpwnam("postgres").pw_uid, -1)  # it refuses to run as root
        self.run(str(Path(self.pg_ctl).with_name("initdb")), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
        self.start()

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def run(self, *command: str) -> None:
        as_postgres = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        done = subprocess.run(
            [*as_postgres, *command, "-D", f"{self.directory}/data"],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        options = f"-k {self.directory} -p {self.port} -c listen_addresses=127.0.0.1"
        self.run(self.pg_ctl, "start", "-w", "-l", f"{self.directory}/log", "-o", options)

    def stop_at_once(self) -> None:
        self.run(self.pg_ctl, "stop", "-m", "immediate")

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg2.connect(self.url) as opened, opened.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    yield cluster
    cluster.stop_at_once()
    shutil.rmtree(cluster.directory)


def test_what_was_told_before_the_database_died_is_there_afterwards(cluster: Cluster, tmp_path: Path) -> None:
    assert manage("migrate", "--verbosity=0", DATABASE_URL=cluster.url).returncode == 0
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text(
        "models: [{modelId: flash, name: Flash, provider: sandbox, type: IMAGE_GENERATION}]\n"
        "rules: [{name: flash, scope: {modelId: flash}, billingType: PER_REQUEST, baseCredits: 7}]\n"
    )
    assert manage("apply_catalog", str(catalog), DATABASE_URL=cluster.url).returncode == 0
    waule = LiveWaule(SimpleNamespace(url=cluster.url), tmp_path)  # type: ignore[arg-type]
    try:
        tenant = waule.manage_json("create_tenant", "Acme", "--credits", str(7 * CHARGES), "--all-models")["id"]
        seen: set[int] = set()
        told: dict[str, str] = {}  # the key of a charge and the id that it was answered with first
        died = threading.Event()

        def charge(number: int) -> None:
            body = {"targetType": "tenant", "targetId": tenant, "modelId": "flash"}
            headers = {"X-Internal-Secret": INTERNAL_SECRET, "Idempotency-Key": f"charge-{number}"}
            if number >= CHARGES // 2:
                died.wait(30)
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                answer = waule.post("/internal/billing/charge", body, headers=headers)
                seen.add(answer.status_code)
                if answer.status_code == 200:
                    told[f"charge-{number}"] = answer.json()["chargeId"]
                    return
                assert answer.status_code == 503, answer.text
                time.sleep(0.1)
            raise AssertionError("no answer")

        assert waule.url
        with ThreadPoolExecutor(8) as callers:
            charges = [callers.submit(charge, number) for number in range(CHARGES)]
            while len(told) < CHARGES // 4:
                time.sleep(0.01)
            cluster.stop_at_once()
            died.set()
            while 503 not in seen:
                time.sleep(0.01)
            assert requests.get(f"{waule.url}/readyz", timeout=20).status_code == 503
            cluster.start()
            for each in charges:
                each.result()
        assert seen == {200, 503}
        assert dict(cluster.sql("SELECT idempotency_key, id::text FROM billing_charge")) == told
        assert cluster.sql("SELECT balance FROM billing_account WHERE mode = 'live'") == [(0,)]
        assert waule.manage_json("reconcile")["ok"]
    finally:
        waule.stop()
