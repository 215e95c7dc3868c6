"""Probes that cost nothing, what traffic tells, and how both become a status."""

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.utils import timezone
from pytest_httpserver import HTTPServer

from aiservices.credentials import pool
from aiservices.monitoring import probes as health
from aiservices.monitoring.models import HealthCheck, Service
from tests.aiservices.credential_rows import access_token, key
from tests.upstreams.sora_service import SoraService

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nobody_outside(settings: Any, httpserver: HTTPServer) -> None:
    settings.GEMINI_API_URL = httpserver.url_for("/gemini")
    settings.OPENAI_API_URL = httpserver.url_for("/openai")
    settings.WAULEAPI_URL = httpserver.url_for("/gateway")


def results() -> dict[str, str]:
    return {service.name: service.status for service in health.last_results()}


def test_what_was_never_looked_at_is_unknown(internal: Any) -> None:
    status, answer = internal.get("/internal/health")
    assert status == 200
    names = ["database", "storage", "workers", "sora", "gemini", "openai", "sandbox"]
    assert [item["name"] for item in answer["services"]] == names
    found = {item["name"]: item for item in answer["services"]}
    assert found.pop("workers")["status"] == "down"  # that none lives is seen without a probe
    assert {(item["status"], item["checkedAt"], item["latencyMs"]) for item in found.values()} == {("unknown", None, None)}


def test_probing_now(internal: Any, sora: SoraService, httpserver: HTTPServer) -> None:
    one = key("one")
    headers = {"x-goog-api-key": one.secret.reveal()}
    httpserver.expect_request("/gemini/models", headers=headers).respond_with_json({"models": []})
    status, answer = internal.post("/internal/health/check")
    assert status == 200
    found = {item["name"]: item["status"] for item in answer["services"]}
    well = dict.fromkeys(("database", "storage", "sora", "gemini", "sandbox"), "ok")
    assert found == well | {"openai": "unknown", "workers": "down"}
    assert all(item["checkedAt"] for item in answer["services"])
    assert HealthCheck.objects.count() == 7
    assert results() == found


def test_down_degraded_and_back(sora: SoraService, httpserver: HTTPServer) -> None:
    key("one")
    httpserver.expect_ordered_request("/gemini/models").respond_with_data("", status=503)
    sora.stop()
    health.check()
    assert results()["gemini"] == results()["sora"] == "down"
    httpserver.expect_ordered_request("/gemini/models").respond_with_json({}, status=429)
    sora.start()
    sora.put("only", is_active=False)
    health.check()
    assert results()["gemini"] == results()["sora"] == "degraded"
    httpserver.expect_ordered_request("/gemini/models").respond_with_json({"models": []})
    sora.tokens[1]["is_active"] = True
    health.check()
    assert results()["gemini"] == results()["sora"] == "ok"


def test_a_refused_key_is_not_the_services_trouble(httpserver: HTTPServer) -> None:
    key("one")
    key("two")
    httpserver.expect_ordered_request("/gemini/models").respond_with_json({}, status=403)
    httpserver.expect_ordered_request("/gemini/models").respond_with_json({"models": []})
    health.check(["gemini"])
    assert results()["gemini"] == "ok"


def test_the_gateway_is_probed_where_it_is_used(settings: Any, httpserver: HTTPServer) -> None:
    settings.AI_SERVICE_MODE = "gateway"
    httpserver.expect_ordered_request("/gateway/health").respond_with_json({"status": "ok", "version": "9"})
    health.check(["gateway"])
    assert results()["gateway"] == "ok"
    httpserver.expect_ordered_request("/gateway/health").respond_with_json({"status": "starting"})
    health.check(["gateway"])
    assert results()["gateway"] == "degraded"


@pytest.mark.parametrize("failed,expected", [(0, "ok"), (2, "ok"), (4, "degraded"), (10, "down")])
def test_what_callers_meet_counts(httpserver: HTTPServer, failed: int, expected: str) -> None:
    key("one")
    httpserver.expect_request("/gemini/models").respond_with_json({"models": []})
    for number in range(10):
        pool.report(pool.lease(provider="gemini").lease_id, "overloaded" if number < failed else "ok")
    health.check(["gemini"])
    assert results()["gemini"] == expected


def test_one_worker_probes_what_is_due(settings: Any, sora: SoraService) -> None:
    now = timezone.now()
    with time_machine.travel(now, tick=False):
        assert sorted(health.probe_due()) == sorted(health.names())
        assert health.probe_due() == []
        Service.objects.filter(name="sora").update(next_probe_at=now)
        assert health.probe_due() == ["sora"]
    with time_machine.travel(now + timedelta(seconds=health.DOWN_AGAIN_SECONDS + 1), tick=False):
        assert sorted(health.probe_due()) == ["storage", "workers"]  # what is down, and what is soon full


def test_the_worker_brings_tokens_into_step_when_the_service_is_back(internal: Any, sora: SoraService) -> None:
    sora.stop()
    internal.post("/internal/sora/tokens", {"token": access_token("anna@example.com")})
    now = timezone.now()
    health.probe_due()
    sora.start()
    with time_machine.travel(now + timedelta(seconds=health.DOWN_AGAIN_SECONDS + 5)):
        assert "sora" in health.probe_due()
    assert len(sora.tokens) == 1
    assert internal.get("/internal/sora/tokens")[1]["tokens"][0]["inStep"] is True


def test_old_results_become_unknown_and_the_history_is_bounded(settings: Any) -> None:
    settings.HEALTH_PROBE_SECONDS = 10
    health.check(["sandbox"])
    assert results()["sandbox"] == "ok"
    HealthCheck.objects.bulk_create(
        [HealthCheck(service="sandbox", status="ok", checked_at=timezone.now()) for _n in range(health.MAX_HISTORY + 50)]
    )
    health.check(["sandbox"])
    assert HealthCheck.objects.filter(service="sandbox").count() == health.MAX_HISTORY
    with time_machine.travel(timezone.now() + timedelta(seconds=60)):
        assert results()["sandbox"] == "unknown"
