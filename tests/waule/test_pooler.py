"""DATABASE_POOLER=transaction behind a real PgBouncer: the money stays right, and nothing of a session is relied on."""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.db import connection, connections

from billing.ledger.models import Account
from tenants.models import Tenant
from tests.catalog import priced_model
from tests.live import LiveWaule, connect
from tests.settings import PROJECT
from tests.upstreams.pgbouncer import pgbouncer
from waule.core.db.pooler import LOCK_TIMEOUT_SECONDS

pytestmark = pytest.mark.skipif(connection.vendor != "postgresql", reason="PgBouncer stands before PostgreSQL alone")
SHARED = 4  # server connections of all processes together


@pytest.fixture
def pooled(live_waule: LiveWaule) -> Iterator[LiveWaule]:
    """waule, whose every process reaches its database through PgBouncer. The database's own defaults are not what we want."""
    name = live_waule.database.name
    live_waule.sql(f'ALTER DATABASE "{name}" SET synchronous_commit = off')
    live_waule.sql(f"ALTER DATABASE \"{name}\" SET timezone = 'Asia/Shanghai'")
    with pgbouncer(size=SHARED) as port:
        user = connections.settings["default"]["USER"]
        live_waule.environ |= {"DATABASE_URL": f"postgresql://{user}@127.0.0.1:{port}/{name}", "DATABASE_POOLER": "transaction"}
        live_waule.workers = 2
        yield live_waule
        live_waule.stop()


def charge(waule: LiveWaule, tenant: Tenant, **more: object) -> tuple[int, dict[str, object]]:
    body = {"targetType": "tenant", "targetId": str(tenant.id), "modelId": "flash", **more}
    return waule.internal("POST", "/internal/billing/charge", body)


def test_two_hundred_charges_at_the_same_time(pooled: LiveWaule, acme: Tenant) -> None:
    priced_model(base=7)
    with ThreadPoolExecutor(40) as crowd:
        statuses = list(crowd.map(lambda _number: charge(pooled, acme)[0], range(200)))
    assert (statuses.count(200), statuses.count(402)) == (142, 58)
    assert Account.objects.get(tenant=acme, mode="live").balance == 6
    used = pooled.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'waule'")
    assert used[0][0] - 1 <= SHARED  # one is this test's own
    report = pooled.manage_json("reconcile")
    assert report["ok"] is True and report["charges"] == 142


def test_every_verb_works_and_the_ledger_reconciles(pooled: LiveWaule, acme: Tenant) -> None:
    priced_model(base=7)
    target = {"targetType": "tenant", "targetId": str(acme.id)}
    use = {**target, "modelId": "flash"}
    post = pooled.internal
    status, charged = post("POST", "/internal/billing/charge", use, key="c1")
    assert (status, charged["balance"]) == (200, 993)
    assert post("POST", "/internal/billing/charge", use, key="c1")[1]["chargeId"] == charged["chargeId"]
    held = [post("POST", "/internal/billing/holds", use)[1] for _number in range(2)]
    assert post("POST", f"/internal/billing/holds/{held[0]['holdId']}/capture", {})[0] == 200
    assert post("POST", f"/internal/billing/holds/{held[1]['holdId']}/release", {})[0] == 200
    refund = {"chargeId": charged["chargeId"], "reason": "r"}
    assert post("POST", "/internal/billing/refund", refund)[1]["creditsRefunded"] == 7
    batch = {"charges": [{**use, "idempotencyKey": f"b{number}"} for number in range(30)]}
    assert [item["status"] for item in post("POST", "/internal/billing/charges/batch", batch)[1]["results"]] == [200] * 30
    grant = {**target, "credits": 5, "type": "GIFT", "reason": "r"}
    assert post("POST", "/internal/billing/grant", grant, key="g")[0] == 200
    assert post("GET", f"/internal/billing/balance?targetType=tenant&targetId={acme.id}")[1]["balance"] == 1000 - 7 - 210 + 5
    assert pooled.manage_json("reconcile")["ok"] is True
    for name in ("expire_holds", "purge", "export_catalog"):
        assert pooled.manage(name).returncode == 0
    times = post("GET", f"/internal/billing/entries?targetType=tenant&targetId={acme.id}")[1]["entries"]
    assert all(entry["createdAt"].endswith(("Z", "+00:00")) for entry in times)


def test_a_wait_for_a_lock_ends_in_time(pooled: LiveWaule, acme: Tenant) -> None:
    priced_model(base=7)
    assert charge(pooled, acme)[0] == 200
    with connect(pooled.database.name) as other, other.cursor() as cursor:
        cursor.execute("SELECT 1 FROM billing_account FOR UPDATE")
        began_at = time.monotonic()
        with ThreadPoolExecutor(2) as callers:
            answers = list(callers.map(lambda more: charge(pooled, acme, **more), ({}, {"quantity": 2})))
        waited = time.monotonic() - began_at
        other.rollback()
    assert [(status, answer["code"]) for status, answer in answers] == [(503, "unavailable")] * 2
    assert waited >= LOCK_TIMEOUT_SECONDS - 1
    assert charge(pooled, acme)[0] == 200


def test_limits_go_with_each_transaction_and_stay_in_none(pooled: LiveWaule) -> None:
    code = """
from django.db import connection, transaction
def show(*names):
    with connection.cursor() as cursor:
        return [cursor.execute(f"SELECT current_setting('{name}')") or cursor.fetchone()[0] for name in names]
names = ("lock_timeout", "synchronous_commit", "TimeZone")
print(show(*names))
with transaction.atomic():
    print(show(*names))
    with transaction.atomic():
        print(show(*names))
with connection.cursor() as cursor:
    cursor.execute("SHOW synchronous_commit")
    print(cursor.fetchone()[0])
"""
    done = pooled.manage("shell", "--no-imports", "-c", code)
    assert done.stdout.splitlines() == ["['10s', 'on', 'UTC']"] * 3 + ["off"], done.stderr


def test_without_the_setting_the_pooler_refuses_the_session(pooled: LiveWaule) -> None:
    """The control: what `DATABASE_POOLER` leaves out is what PgBouncer does not take."""
    pooled.environ["DATABASE_POOLER"] = ""
    done = pooled.manage("reconcile")
    assert done.returncode == 1 and "unsupported startup parameter" in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_money_part_of_the_suite(tmp_path: Path) -> None:
    """The tests of holds, refunds and races, with every connection going through PgBouncer."""
    run = tmp_path / f"waule-test-{secrets.token_hex(4)}-pooled"
    run.mkdir()
    user = connections.settings["default"]["USER"]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    files = ["tests/races/test_last_ones.py", *(f"tests/billing/test_{part}_api.py" for part in ("holds", "refund"))]
    command = [sys.executable, "-m", "pytest", "-n", "0", "-x", "-p", "no:cacheprovider", "-W", "ignore", *files]
    with pgbouncer(size=20) as port:
        environ |= {"DATABASE_URL": f"postgresql://{user}@127.0.0.1:{port}/postgres", "WAULE_TEST_RUN": str(run)}
        environ["DATABASE_POOLER"] = "transaction"
        done = subprocess.run(command, cwd=PROJECT, env=environ, capture_output=True, text=True, timeout=840)
    assert done.returncode == 0, done.stdout[-4000:]
