"""Servers die between the gateway's callback and the end of its generation: one charge or none, never two."""

import contextlib
from typing import Any

import pytest
import requests

from aiservices.generations.models import Generation
from aiservices.generations.services import settle_unknown
from billing.catalog.models import AIModel
from billing.ledger.models import Charge, Hold, Refund
from tenants.models import Tenant
from tests.books import balance_and_held
from tests.callers import bearer
from tests.live import LiveWaule
from tests.upstreams.gateway import Gateway
from tests.waiting import eventually

IMAGES = "/v1/images/generations"
pytestmark = pytest.mark.slow


@pytest.fixture
def headers(acme: Tenant) -> dict[str, str]:
    return bearer(acme)


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
    return eventually(lambda: (found := Generation.objects.get()).state != "running" and found)


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
    live_gateway: Gateway,
    acme: Tenant,
    banana: AIModel,
    headers: dict[str, str],
    point: str,
    fails: bool,
    state: str,
    left: tuple[int, int],
) -> None:
    refused = (400, {"error": {"message": "no", "type": "invalid_request"}})
    live_gateway.answer = calling_back(live_waule, acme, refused if fails else live_gateway.pictures("/picture"))
    live_waule.environ |= {"GATEWAY_BILLING": "auto", "JOB_LEASE_SECONDS": "3", "WAULE_TEST_FAIL_POINT": point}
    live_waule.post_to_its_death(IMAGES, {"model": "banana", "prompt": "x"}, headers=headers)
    live_waule.restart(WAULE_TEST_FAIL_POINT="")
    found = ended(live_waule)
    assert (found.state, balance_and_held(acme)) == (state, left)
    charge = {"targetType": "tenant", "targetId": str(acme.pk), "modelId": "banana"}
    answers = [live_waule.internal("POST", "/internal/billing/charge", charge, key=str(found.id)) for _ in range(2)]
    assert [(status, answer["creditsCharged"]) for status, answer in answers] == [(200, 15)] * 2
    if state == "unknown":
        settle_unknown(generation=found, charge=False, reason="it was not made", actor="test")
    assert balance_and_held(acme) == ((985, 0) if state == "succeeded" else (1000, 0))
    assert (Charge.objects.count(), Refund.objects.count()) == (1, 0 if state == "succeeded" else 1)
    assert Hold.objects.get().state == "captured"
    assert len(live_gateway.asked) == 1
    assert live_waule.manage("reconcile").returncode == 0
