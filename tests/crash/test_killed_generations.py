"""Servers die between the gateway's callback and the end of its generation: one charge or none, never two."""

import contextlib
import time
from typing import Any

import pytest
import requests

from aiservices.generations.models import Generation
from aiservices.generations.services import settle_unknown
from billing.catalog.models import AIModel
from billing.ledger.models import Charge, Hold, Refund
from tenants.models import Tenant
from tests.aiservices.test_gateway_mode import IMAGES, Gateway, balance, banana, gateway, headers  # noqa: F401
from tests.live import LiveWaule

pytestmark = pytest.mark.slow
WAIT_SECONDS = 60


def calling_back(waule: LiveWaule, tenant: Tenant, then: tuple[int, Any]) -> Any:
    """A gateway's answer that charges first, whatever becomes of the server that it charges at."""

    def answer(sent: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
        charge = {"targetType": "tenant", "targetId": str(tenant.pk), "modelId": body["model"]}
        with contextlib.suppress(requests.RequestException):
            waule.internal("POST", "/internal/billing/charge", charge, key=sent["Idempotency-Key"])
        return then

    return answer


def ended(waule: LiveWaule) -> Generation:
    """The generation when a worker has settled what the dead server left behind."""
    waule.run("worker")
    deadline = time.monotonic() + WAIT_SECONDS
    while (found := Generation.objects.get()).state == "running":
        assert time.monotonic() < deadline, "nobody settled it"
        time.sleep(0.1)
    return found


@pytest.mark.parametrize(
    ("point", "fails", "state", "left"),
    [
        ("charge.before_commit", False, "unknown", (1000, 15)),
        ("charge.after_commit", False, "unknown", (985, 0)),
        ("generation.stored", False, "unknown", (985, 0)),
        ("generation.decided", False, "succeeded", (985, 0)),
        ("generation.paid", False, "succeeded", (985, 0)),
        ("refund.before_commit", True, "failed", (1000, 0)),
        ("generation.paid", True, "failed", (1000, 0)),
    ],
)
def test_killed_after_a_callback(
    live_waule: LiveWaule,
    gateway: Gateway,  # noqa: F811
    acme: Tenant,
    banana: AIModel,  # noqa: F811
    headers: dict[str, str],  # noqa: F811
    point: str,
    fails: bool,
    state: str,
    left: tuple[int, int],
) -> None:
    refused = (400, {"error": {"message": "no", "type": "invalid_request"}})
    gateway.answer = calling_back(live_waule, acme, refused if fails else gateway.pictures("/picture"))
    live_waule.environ |= {"GATEWAY_BILLING": "auto", "JOB_LEASE_SECONDS": "3", "WAULE_TEST_FAIL_POINT": point}
    live_waule.post_to_its_death(IMAGES, {"model": "banana", "prompt": "x"}, headers=headers)
    live_waule.restart(WAULE_TEST_FAIL_POINT="")
    found = ended(live_waule)
    assert (found.state, balance(acme)) == (state, left)
    charge = {"targetType": "tenant", "targetId": str(acme.pk), "modelId": "banana"}
    answers = [live_waule.internal("POST", "/internal/billing/charge", charge, key=str(found.id)) for _ in range(2)]
    assert [(status, answer["creditsCharged"]) for status, answer in answers] == [(200, 15)] * 2
    if state == "unknown":
        settle_unknown(generation=found, charge=False, reason="it was not made", actor="test")
    assert balance(acme) == ((985, 0) if state == "succeeded" else (1000, 0))
    assert (Charge.objects.count(), Refund.objects.count()) == (1, 0 if state == "succeeded" else 1)
    assert Hold.objects.get().state == "captured"
    assert len(gateway.asked) == 1
    assert live_waule.manage("reconcile").returncode == 0
