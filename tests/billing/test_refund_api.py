"""POST /internal/billing/refund."""

from typing import Any

import pytest

from billing.catalog.models import AIModel
from billing.ledger.models import DailyUsage, LedgerEntry
from billing.reconciliation.checks import reconcile
from tests.books import body
from tests.catalog import permit, priced_model

URL = "/internal/billing/refund"


@pytest.fixture
def charge(internal: Any, acme: Any, any_database: None) -> str:
    priced_model("dear", base=100)
    answer = internal.post("/internal/billing/charge", body(acme, "dear"))[1]
    return str(answer["chargeId"])


def test_a_full_refund_moves_once(internal: Any, charge: str) -> None:
    first = internal.post(URL, {"chargeId": charge, "reason": "failed"})
    assert first == (200, {"success": True, "creditsRefunded": 100, "totalRefunded": 100, "balance": 1000})
    for key in (None, "k"):
        assert internal.post(URL, {"chargeId": charge, "reason": "again"}, key=key) == first
        assert internal.last["Idempotent-Replayed"] == "true"
    entry = LedgerEntry.objects.order_by("-seq")[0]
    assert (entry.kind, entry.amount, entry.description, str(entry.charge_id)) == ("REFUND", 100, "failed", charge)
    assert internal.get(f"/internal/billing/charges/{charge}")[1]["state"] == "refunded"
    assert reconcile().ok


def test_partial_refunds_add_up_to_the_charge_and_no_further(internal: Any, charge: str) -> None:
    part = {"chargeId": charge, "reason": "half", "credits": 60}
    assert internal.post(URL, part)[0] == 400, "a partial refund needs a key"
    first = internal.post(URL, part, key="k1")
    assert (first[1]["creditsRefunded"], first[1]["totalRefunded"]) == (60, 60)
    assert internal.post(URL, part, key="k1") == first
    assert internal.post(URL, part | {"credits": 61}, key="k1")[1]["code"] == "idempotency_key_reused"
    status, answer = internal.post(URL, part, key="k2")
    assert (status, answer["code"], answer["details"]["left"]) == (409, "refund_exceeds_charge", 40)
    assert internal.get(f"/internal/billing/charges/{charge}")[1]["state"] == "partially_refunded"
    rest = internal.post(URL, {"chargeId": charge, "reason": "rest"})[1]
    assert (rest["creditsRefunded"], rest["totalRefunded"], rest["balance"]) == (40, 100, 1000)
    assert internal.post(URL, part, key="k1") == first, "a replay of the first part is still the first answer"
    assert reconcile().ok


def test_a_refund_gives_the_daily_use_back_once_the_whole_charge_is_refunded(internal: Any, alice: Any, flash: AIModel) -> None:
    permit("USER", flash, daily_limit=1)
    charge_id = internal.post("/internal/billing/charge", body(alice))[1]["chargeId"]
    part = {"chargeId": charge_id, "reason": "half", "credits": 3}
    assert internal.post(URL, part, key="k")[0] == 200
    assert internal.post("/internal/billing/charge", body(alice))[1]["code"] == "daily_limit"
    for _time in range(2):
        assert internal.post(URL, {"chargeId": charge_id, "reason": "rest"})[1]["creditsRefunded"] == 4
        assert DailyUsage.objects.get().uses == 0
    assert internal.post("/internal/billing/charge", body(alice))[0] == 200
    assert internal.post("/internal/billing/charge", body(alice))[1]["code"] == "daily_limit"


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"chargeId": "nothing"}, 404, "not_found"),
        ({"reason": ""}, 400, "invalid_request"),
        ({"reason": "x" * 501}, 400, "invalid_request"),
        ({"reason": None}, 400, "invalid_request"),
        ({"credits": 0}, 400, "invalid_request"),
        ({"credits": -1}, 400, "invalid_request"),
        ({"credits": 1.0}, 400, "invalid_request"),
        ({"credits": 2**63 - 1}, 409, "refund_exceeds_charge"),
    ],
)
def test_bad_refunds(internal: Any, charge: str, change: dict[str, Any], status: int, code: str) -> None:
    got, answer = internal.post(URL, {"chargeId": charge, "reason": "failed"} | change, key="k")
    assert (got, answer["code"]) == (status, code)
    assert LedgerEntry.objects.filter(kind="REFUND").count() == 0
