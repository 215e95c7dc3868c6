"""A prepared statement finds its rows by an index, however large its tables are: none reads all accounts to charge one."""

import gc
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.urls import get_resolver
from django.utils import timezone

from aiservices.credentials.pool import leasing
from aiservices.credentials.pool.leasing import Kind
from billing.ledger import rows
from billing.ledger.models import Account, Charge, Hold
from storage.models import StoredObject
from tenants.models import ApiKey, Tenant
from tests.catalog import priced_model
from tests.live import Database
from waule.core.db.prepared import Prepared, PreparedQuery

pytestmark = pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite prepares nothing")
OWNERS = 3000
WRITTEN = ("holds", "ended", "charges", "entries", "accounts")
LARGE = {
    *("tenants_tenant", "tenants_apikey", "billing_account", "billing_charge", "billing_hold", "billing_ledgerentry"),
    *("storage_storedobject", "storage_storageusage"),
}


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


def reads_all(node: dict[str, Any]) -> bool:
    """Whether it goes through a large table, with nothing that tells where to look."""
    return node.get("Relation Name") in LARGE and "Scan" in node["Node Type"] and not {"Index Cond", "Recheck Cond"} & set(node)


def statements() -> list[Prepared]:
    """Those there are, and those that are made when they are first needed."""
    get_resolver().url_patterns  # noqa: B018  (what answers requests is loaded)
    for are_many in (False, True):
        rows._statement(tuple((name, are_many) for name in WRITTEN))
    for kind in (Kind("gemini", has_model=True), Kind("sora", "video", has_service=True)):
        leasing._prepared(kind)
    for each in [found for found in gc.get_objects() if type(found) is PreparedQuery]:  # a dead weak reference has a type
        each._compiled  # noqa: B018
    return sorted({found for found in gc.get_objects() if type(found) is Prepared}, key=lambda one: one.sql)


@pytest.fixture
def large_tables(cloned_db: Database) -> None:
    """Tenants with an account, a key, a charge, a hold and a file each, and no user, as PostgreSQL knows them after a while."""
    model, now = priced_model("flash"), timezone.now()
    tenants = Tenant.objects.bulk_create([Tenant(name=f"Tenant {number}", enabled_models=["*"]) for number in range(OWNERS)])
    accounts = Account.objects.bulk_create([Account(tenant=tenant, mode="live") for tenant in tenants])
    ApiKey.objects.bulk_create(
        [ApiKey(tenant=tenant, name="key", masked="wk_live_…", key_hash=f"{n:064d}") for n, tenant in enumerate(tenants)]
    )
    Charge.objects.bulk_create([Charge(account=each, model=model, credits=0, is_free=True, created_at=now) for each in accounts])
    Hold.objects.bulk_create(
        [
            Hold(
                account=each,
                model=model,
                credits=0,
                is_free=True,
                state="held",
                created_at=now,
                expires_at=now + timedelta(hours=1),
            )
            for each in accounts
        ]
    )
    StoredObject.objects.bulk_create(
        [StoredObject(tenant=tenant, object_key=f"file {tenant.id}", size_bytes=7) for tenant in tenants]
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def plans() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each statement's SQL with each node of the plan that it gets now."""
    with transaction.atomic():  # some lock rows
        prepared = statements()
    assert len(prepared) > 20
    with connection.cursor() as cursor:
        for one in prepared:
            one._prepare(connection.connection, cursor)
            cursor.execute(f"EXPLAIN (FORMAT JSON) {one.plan}")
            (plan,) = cursor.fetchone()
            yield from ((one.sql, node) for node in nodes((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]))


def test_none_reads_the_whole_of_a_large_table(large_tables: None) -> None:
    assert not [(node["Node Type"], node["Relation Name"], sql) for sql, node in plans() if reads_all(node)]


def test_holds_are_found_by_their_account_with_plans_made_before_there_were_any(cloned_db: Database) -> None:
    """The index of open holds, by account and time, looks as good without an account while it is empty."""
    found = [(node, sql) for sql, node in plans() if node.get("Relation Name") == "billing_hold" and "Scan" in node["Node Type"]]
    assert len(found) > 5
    assert not [
        sql for node, sql in found if not re.search(r"\b(account_id|id) = ", node.get("Index Cond", node.get("Recheck Cond", "")))
    ]
