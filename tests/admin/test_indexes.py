"""Every filter of a list that grows without end has an index that gives its newest rows first."""

import pytest
from django.db import connection

from aiservices.generations.models import Generation
from billing.ledger.models import Charge, Hold, LedgerEntry
from tenants.models import AuditEntry
from tenants.webhooks.models import OutboxMessage

FILTERS = [
    (LedgerEntry, {"kind": "REFUND"}, "-id", "billing_entry_rare_kind"),
    (LedgerEntry, {"account_id": 1}, "-seq", "billing_entry_number_once"),
    (Charge, {"refunded__gt": 0}, "-id", "billing_charge_refunded"),
    (Charge, {"shortfall__gt": 0}, "-id", "billing_charge_shortfall"),
    (Hold, {"state": "released"}, "-id", "billing_hold_not_used"),
    (Hold, {"state": "expired"}, "-id", "billing_hold_not_used"),
    (Generation, {"state": "failed"}, "-id", "aiservices_gen_trouble"),
    (Generation, {"state": "unknown"}, "-id", "aiservices_gen_trouble"),
    (Generation, {"type": "video"}, "-id", "aiservices_gen_type"),
    (AuditEntry, {"actor": "admin"}, "-id", "tenants_audit_actor"),
    (OutboxMessage, {"kind": "generation.failed"}, "-id", "tenants_outbox_kind"),
]


@pytest.mark.parametrize(("model", "condition", "order", "index"), FILTERS)
def test_a_filter_is_answered_by_an_index(db, model, condition, order, index):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite's planner does not see that one state is among several")
    with connection.cursor() as cursor:
        # As it would choose with many rows, of which there are none here.
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off")
        statement, values = model.objects.filter(**condition).order_by(order)[:51].query.sql_with_params()
        cursor.execute(f"EXPLAIN {statement}", values)
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert index in plan, plan
    assert "Sort" not in plan
