"""`/metrics`: who may read it, and what it says."""

import cProfile
import pstats
import re
from typing import Any

import pytest
from django.test import RequestFactory

from aiservices.monitoring.reconcile_task import reconcile_all
from billing.catalog.models import AIModel
from billing.catalog.usage import UsageRequest
from billing.services import hold
from tenants.principal import Principal
from tests.catalog import priced_model
from waule.site.metrics import RequestMetrics


def value(text: str, name: str) -> float:
    found = re.search(rf"(?m)^{re.escape(name)} (\S+)$", text)
    assert found, text
    return float(found[1])


@pytest.mark.parametrize(
    ("headers", "address", "status"),
    [
        ({}, "127.0.0.1", 200),
        ({}, "::1", 200),
        ({}, "10.0.0.7", 403),
        ({}, "", 403),
        ({"X-Forwarded-For": "127.0.0.1"}, "127.0.0.1", 403),
        ({"X-Forwarded-Proto": "http"}, "127.0.0.1", 403),
        ({"X-Forwarded-Host": "x"}, "127.0.0.1", 403),
        ({"Forwarded": "for=127.0.0.1"}, "127.0.0.1", 403),
        ({"Via": "1.1 x"}, "127.0.0.1", 403),
        ({"X-Real-IP": "127.0.0.1"}, "127.0.0.1", 403),
        ({"True-Client-IP": "127.0.0.1"}, "127.0.0.1", 403),
        ({"CF-Connecting-IP": "127.0.0.1"}, "127.0.0.1", 403),
        ({"X-Client-IP": ""}, "127.0.0.1", 403),
        ({"Authorization": "Bearer right-token"}, "10.0.0.7", 200),
        ({"Authorization": "Bearer wrong-token"}, "10.0.0.7", 403),
        ({"Authorization": "Bearer "}, "10.0.0.7", 403),
        ({"Authorization": "Bearer ünïcode"}, "10.0.0.7", 403),
    ],
)
def test_who_may_read_it(client: Any, db: None, settings: Any, headers: dict[str, str], address: str, status: int) -> None:
    settings.METRICS_TOKEN = "right-token"
    answer = client.get("/metrics", headers=headers, REMOTE_ADDR=address)
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["code"] == "forbidden"


def test_behind_a_trusted_proxy_its_own_word_opens_nothing(client: Any, db: None, settings: Any) -> None:
    settings.TRUST_PROXY_HEADERS = True
    for headers in ({"X-Forwarded-For": "127.0.0.1"}, {"X-Forwarded-For": "10.0.0.7, 127.0.0.1"}, {"X-Real-IP": "::1"}):
        assert client.get("/metrics", headers=headers, REMOTE_ADDR="127.0.0.1").status_code == 403
    assert client.get("/metrics", REMOTE_ADDR="127.0.0.1").status_code == 200


def test_without_a_token_none_opens_it(client: Any, db: None, settings: Any) -> None:
    settings.METRICS_TOKEN = ""
    assert client.get("/metrics", headers={"Authorization": "Bearer "}, REMOTE_ADDR="10.0.0.7").status_code == 403


def test_it_tells_the_figures(client: Any, db: None, acme: Any, django_assert_max_num_queries: Any) -> None:
    model: AIModel = priced_model()
    hold(target=Principal("tenant", str(acme.id)), use=UsageRequest(model=model.model_id), actor="test")
    reconcile_all()
    with django_assert_max_num_queries(11):
        text = client.get("/metrics").text
    assert value(text, "waule_reconcile_ok") == 1
    assert 0 <= value(text, "waule_reconcile_age_seconds") < 60
    assert value(text, "waule_open_holds") == 1
    assert value(text, 'waule_generations{state="unknown"}') == 0
    assert value(text, "waule_outbox_pending") == 0
    client.get("/healthz")
    assert 'route="healthz",status="200"' in client.get("/metrics").text


def test_counting_costs_little() -> None:
    answer = type("Answer", (), {"status_code": 200})()
    count = RequestMetrics(lambda request: answer)
    request = RequestFactory().get("/internal/x")
    request.resolver_match = type("Match", (), {"route": "internal/x"})()
    count(request)
    profile = cProfile.Profile()
    for _ in range(100):
        profile.runcall(count, request)
    assert pstats.Stats(profile).total_calls / 100 <= 20
