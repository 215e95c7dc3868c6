"""Many threads, few database connections."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.conf import settings
from django.db import OperationalError, connection, connections

from tenants.models import Tenant
from tests.live import Database, LiveWaule
from waule.core.db import connection_pool
from waule.core.db.connection_pool import Pool
from waule.core.errors import Unavailable

OPEN = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'waule'"


def status_of_balance(waule: LiveWaule, tenant: Tenant) -> int:
    status, _answer = waule.internal("GET", f"/internal/billing/balance?targetType=tenant&targetId={tenant.pk}")
    return status


def test_a_crowd_of_callers_shares_a_few_connections(live_waule: LiveWaule, acme: Tenant) -> None:
    with ThreadPoolExecutor(40) as crowd:
        statuses = list(crowd.map(lambda _number: status_of_balance(live_waule, acme), range(400)))
    assert statuses == [200] * 400
    if live_waule.database.is_postgresql:
        mine = 1  # this test's own
        assert live_waule.sql(OPEN)[0][0] - mine <= settings.DATABASE_CONNECTIONS


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no server that could go away")
def test_after_the_database_was_away_at_most_one_call_notices(live_waule: LiveWaule, acme: Tenant) -> None:
    with ThreadPoolExecutor(16) as crowd:
        list(crowd.map(lambda _number: status_of_balance(live_waule, acme), range(64)))
    connections.close_all()
    live_waule.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    statuses = [status_of_balance(live_waule, acme) for _number in range(20)]
    assert statuses.count(200) >= 19
    assert set(statuses) <= {200, 503}


def test_a_waiting_thread_gives_its_connection_to_another(cloned_db: Database, acme: Tenant) -> None:
    pool = Pool(1)
    first = pool.take()
    got: list[object] = []
    other = threading.Thread(target=lambda: got.append(pool.take()))
    other.start()
    time.sleep(0.05)
    assert got == []
    pool.put(first)
    other.join(5)
    assert got == [first]
    first.close()


def test_when_none_becomes_free_the_caller_is_told_to_come_back(cloned_db: Database) -> None:
    pool = Pool(0)
    pool.wait_seconds = 0.05
    with pytest.raises(Unavailable):
        pool.take()


def test_outside_of_a_server_giving_back_closes_the_connection(cloned_db: Database) -> None:
    Tenant.objects.count()
    connection_pool.release_connection()
    assert connection.connection is None
    assert Tenant.objects.count() == 0


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no server that could go away")
def test_a_connection_that_broke_is_not_lent_again(cloned_db: Database) -> None:
    """A worker's job that is cut off gives back what it has, and nothing of Django's looks at it in between."""
    pool = Pool(1)
    broken = pool.take()
    with broken.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    cloned_db.sql("SELECT pg_terminate_backend(%s)", pid)
    with pytest.raises(OperationalError), broken.cursor() as cursor:
        cursor.execute("SELECT 1")
    pool.put(broken)
    again = pool.take()
    with again.cursor() as cursor:
        cursor.execute("SELECT 1")
    again.close()
