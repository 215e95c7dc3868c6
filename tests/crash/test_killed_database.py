"""PostgreSQL is shut down at once, as by a power cut, under a server that charges: 503 meanwhile, and nothing told is lost."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from django.db import connection

from tests.live import LiveWaule, manage
from tests.settings import INTERNAL_SECRET
from tests.upstreams.postgres_cluster import Cluster, find_pg_ctl
from tests.waiting import eventually

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no server that could be shut down"),
    pytest.mark.skipif(not find_pg_ctl(), reason="PostgreSQL's own programs are not installed here"),
]
CHARGES = 300
CUTS = 60
CATALOG = (
    "models: [{modelId: flash, name: Flash, provider: sandbox, type: IMAGE_GENERATION}]\n"
    "rules: [{name: flash, scope: {modelId: flash}, billingType: PER_REQUEST, baseCredits: 7}]\n"
)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    yield cluster
    cluster.drop()


def with_prices(cluster: Cluster, directory: Path) -> LiveWaule:
    assert manage("migrate", "--verbosity=0", DATABASE_URL=cluster.url).returncode == 0
    (catalog := directory / "catalog.yaml").write_text(CATALOG)
    assert manage("apply_catalog", str(catalog), DATABASE_URL=cluster.url).returncode == 0
    return LiveWaule(cluster, directory)


def test_what_was_told_before_the_database_died_is_there_afterwards(cluster: Cluster, tmp_path: Path) -> None:
    waule = with_prices(cluster, tmp_path)
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
            eventually(lambda: len(told) >= CHARGES // 4)
            cluster.stop_immediately()
            died.set()
            eventually(lambda: 503 in seen)
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


def test_cut_connections_are_no_error_of_ours(cluster: Cluster, tmp_path: Path) -> None:
    """An administrator ends all sessions again and again: each call of a machine is answered, or told to try again."""
    waule = with_prices(cluster, tmp_path)
    made = waule.manage_json("create_tenant", "Acme", "--credits", "100000000", "--all-models")
    (keys := tmp_path / "keys").write_text("".join(f"AIzaCut{number}{'x' * 32}\n" for number in range(8)))
    assert waule.manage("import_credentials", "gemini", str(keys)).returncode == 0
    bearer, secret = {"Authorization": f"Bearer {made['apiKey']}"}, {"X-Internal-Secret": INTERNAL_SECRET}
    target = {"targetType": "tenant", "targetId": made["id"]}
    charge = target | {"modelId": "flash"}
    calls: list[Callable[[], requests.Response]] = [
        lambda: waule.post("/internal/billing/charge", charge, headers=secret),
        lambda: waule.post("/internal/billing/charges/batch", {"charges": [charge] * 3}, headers=secret),
        lambda: waule.post("/internal/billing/holds", charge, headers=secret),
        lambda: waule.post("/internal/credentials/lease", {"provider": "gemini", "ttl": 30}, headers=secret),
        lambda: waule.get("/internal/billing/balance", params=target, headers=secret),
        lambda: waule.post("/internal/storage/record", {"tenantId": made["id"], "bytes": 1}, headers=secret),
        lambda: waule.post("/v1/images/generations", {"model": "flash", "prompt": "x"}, headers=bearer),
        lambda: waule.get("/v1/models", headers=bearer),
        lambda: waule.get("/v1/usage", headers=bearer),
    ]
    stop, wrong, seen = threading.Event(), list[str](), Counter[tuple[int, int]]()

    def ask(number: int) -> None:
        while not stop.is_set():
            answer = calls[number]()
            seen[number, answer.status_code] += 1
            if answer.status_code not in (200, 201, 429, 503):
                wrong.append(f"{answer.request.url}: {answer.status_code} {answer.text}")

    try:
        assert waule.url
        with ThreadPoolExecutor(2 * len(calls)) as callers:
            asked = [callers.submit(ask, number % len(calls)) for number in range(2 * len(calls))]
            for _time in range(CUTS):
                time.sleep(0.1)
                cluster.cut_connections()
            time.sleep(0.5)  # the last calls may take what they need
            stop.set()
            for each in asked:
                each.result()
        assert not wrong, wrong[:5]
        assert {number for number, status in seen if status in (200, 201)} == set(range(len(calls)))
        assert any(status == 503 for _number, status in seen)
        assert waule.manage_json("reconcile")["ok"]
    finally:
        waule.stop()
