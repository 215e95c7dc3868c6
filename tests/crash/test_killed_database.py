"""PostgreSQL is shut down at once, as by a power cut, under a server that charges: 503 meanwhile, and nothing told is lost."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from django.db import connection

from tests.live import LiveWaule, manage
from tests.settings import INTERNAL_SECRET
from tests.upstreams.postgres_cluster import Cluster, find_pg_ctl

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no server that could be shut down"),
    pytest.mark.skipif(not find_pg_ctl(), reason="PostgreSQL's own programs are not installed here"),
]
CHARGES = 300


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    yield cluster
    cluster.drop()


def test_what_was_told_before_the_database_died_is_there_afterwards(cluster: Cluster, tmp_path: Path) -> None:
    assert manage("migrate", "--verbosity=0", DATABASE_URL=cluster.url).returncode == 0
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text(
        "models: [{modelId: flash, name: Flash, provider: sandbox, type: IMAGE_GENERATION}]\n"
        "rules: [{name: flash, scope: {modelId: flash}, billingType: PER_REQUEST, baseCredits: 7}]\n"
    )
    assert manage("apply_catalog", str(catalog), DATABASE_URL=cluster.url).returncode == 0
    waule = LiveWaule(cluster, tmp_path)
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
            cluster.stop_immediately()
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
