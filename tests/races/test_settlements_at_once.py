"""One unknown outcome, settled by many operators at once: by one of them, and charged or released, not both."""

from collections import Counter
from typing import Any

from aiservices.errors import TaskOver
from aiservices.generations.models import Generation
from aiservices.generations.services import settle_unknown
from aiservices.generations.unknown import settle_many
from billing.ledger.models import Charge
from billing.reconciliation.checks import reconcile
from tenants.models import AuditEntry, Tenant
from tests.aiservices.unknown_outcomes import an_unknown
from tests.at_once import at_once
from tests.books import balance_and_held

OPERATORS = 8
ROUNDS = 6


def settled_by_all(row: Generation) -> Counter[str]:
    """What each of the operators was told, who all have read the same row; half of them charge, every fourth settles in bulk."""

    def settle(number: int) -> str:
        given: Any = {"charge": number % 2 == 0, "reason": f"operator {number}", "actor": "test"}
        try:
            if number % 4 == 3:
                return "settled" if settle_many([row], **given).ids else "over"
            settle_unknown(generation=row, **given)
            return "settled"
        except TaskOver:
            return "over"

    return Counter(at_once(OPERATORS, settle))


def test_of_many_operators_one_settles_it(cloned_db: Any, acme: Tenant) -> None:
    for number in range(ROUNDS):
        row = an_unknown(acme)
        assert settled_by_all(row) == {"settled": 1, "over": OPERATORS - 1}
        row.refresh_from_db()
        told = AuditEntry.objects.filter(action="generation.settle").latest("id")
        assert told.after == {"state": row.state}
        assert (row.state == "succeeded") == (row.charge_id is not None)
        assert AuditEntry.objects.filter(action="generation.settle").count() == number + 1
        charged = Charge.objects.count()
        assert charged == Generation.objects.filter(state="succeeded").count()
        assert balance_and_held(acme) == (1000 - 15 * charged, 0)
    assert reconcile().ok
