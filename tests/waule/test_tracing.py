"""Traces: from the caller through request, job and provider, to a collector on loopback that speaks OTLP."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tenants.models import Tenant
from tenants.services import create_api_key
from tests.books import give
from tests.catalog import video_model
from tests.live import LiveWaule, process_environment
from tests.settings import INTERNAL_SECRET, PROJECT
from tests.upstreams.otlp_receiver import OtlpReceiver, Span
from tests.upstreams.video_service import VideoService
from tests.waiting import eventually

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{CALLER}-01"
PROMPT = "an-unmistakable-prompt-of-a-fox"
SECRETS = {"OPENAI_API_KEY": "sk-planted-openai-key-1", "OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Bearer%20planted-collector"}


@pytest.fixture
def collector() -> Iterator[OtlpReceiver]:
    receiver = OtlpReceiver()
    yield receiver
    receiver.stop()


@pytest.fixture
def videos(tmp_path: Path) -> Iterator[VideoService]:
    film = tmp_path / "film.mp4"
    film.write_bytes(b"\0\0\0\x18ftypisom\0\0\0\0isomiso2" + b"\0" * 64)
    service = VideoService(film)
    service.make_seconds = 0
    yield service
    service.stop()


def traced(waule: LiveWaule, collector: OtlpReceiver, **more: str) -> None:
    waule.environ |= {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100", "LOG_FORMAT": "json"}
    waule.environ |= SECRETS | more


def by_name(collector: OtlpReceiver, name: str) -> Span | None:
    return next((span for span in collector.spans if span.trace_id == TRACE and span.name == name), None)


def test_a_trace_goes_from_the_caller_through_the_job_to_the_provider(
    live_waule: LiveWaule, collector: OtlpReceiver, videos: VideoService, acme: Tenant, any_database: None
) -> None:
    traced(live_waule, collector, OPENAI_API_URL=f"{videos.url}/v1", OUTBOUND_ALLOW="127.0.0.1")
    video_model("sora-2", provider="openai")
    give(acme, 1000)
    key = create_api_key(tenant=acme, mode="live", actor="test")[1]
    headers = {"Authorization": f"Bearer {key}", "traceparent": TRACEPARENT, "X-Request-Id": "request-of-a-trace"}
    body = {"model": "sora-2", "prompt": PROMPT, "seconds": "4"}
    made = live_waule.post("/v1/videos", body, headers=headers)
    assert made.status_code == 200, made.text
    worker = live_waule.run("worker")
    job = eventually(lambda: by_name(collector, "job"))
    request = eventually(lambda: by_name(collector, "POST"))
    provider = eventually(lambda: by_name(collector, "provider"))
    call = eventually(lambda: by_name(collector, "POST 127.0.0.1"))

    assert {span.service for span in collector.spans} == {"waule"}
    assert (request.kind, request.parent_id, request.is_error) == (2, CALLER, False)
    assert request.attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/videos",
        "http.response.status_code": 200,
        "waule.request_id": "request-of-a-trace",
    }
    assert (job.kind, job.parent_id) == (5, request.span_id)
    generation = job.attributes["waule.generation_id"]
    assert made.json()["id"].endswith(generation.replace("-", "")) or generation in made.json()["id"]
    assert job.attributes["waule.request_id"] == "request-of-a-trace"
    assert (provider.parent_id, provider.attributes["waule.provider"]) == (job.span_id, "openai")
    assert (call.kind, call.parent_id, call.attributes["http.response.status_code"]) == (3, provider.span_id, 200)
    assert videos.traceparents[0] == f"00-{TRACE}-{call.span_id}-01"

    live_waule.stop()
    lines = [json.loads(line) for line in worker.log.splitlines() if line.startswith("{")]
    ended = next(line for line in lines if line.get("event") == "generation_ended")
    assert (ended["trace_id"], ended["span_id"]) == (TRACE, job.span_id)
    sent = b"".join(collector.bodies)
    for secret in (PROMPT, key, SECRETS["OPENAI_API_KEY"], INTERNAL_SECRET, "planted-collector"):
        assert secret.encode() not in sent
    assert collector.headers[0]["authorization"] == "Bearer planted-collector"


def test_a_refused_request_tells_its_code_and_a_part_of_its_address_is_not_told(
    live_waule: LiveWaule, collector: OtlpReceiver
) -> None:
    traced(live_waule, collector)
    status, _body = live_waule.internal("GET", "/internal/tenants/a-name-in-the-path", headers={"traceparent": TRACEPARENT})
    assert status == 404
    span = eventually(lambda: by_name(collector, "GET"))
    assert (span.attributes["http.response.status_code"], span.attributes["error.type"]) == (404, "not_found")
    assert b"a-name-in-the-path" not in b"".join(collector.bodies)


def test_what_is_not_sent_yet_is_sent_at_the_end(live_waule: LiveWaule, collector: OtlpReceiver) -> None:
    traced(live_waule, collector, OTEL_BSP_SCHEDULE_DELAY="60000")
    live_waule.get("/healthz", headers={"traceparent": TRACEPARENT})
    assert not collector.spans
    live_waule.stop()
    assert by_name(collector, "GET")


def test_a_collector_that_hangs_holds_up_neither_an_answer_nor_the_end(live_waule: LiveWaule) -> None:
    silent = OtlpReceiver(is_silent=True)
    traced(live_waule, silent)
    live_waule.get("/healthz")
    eventually(lambda: silent.bodies)
    began = time.monotonic()
    for _call in range(20):
        assert live_waule.get("/healthz").status_code == 200
    assert time.monotonic() - began < 20  # an answer that waited for the collector would take 10 s
    began = time.monotonic()
    assert live_waule.server is not None
    assert live_waule.server.stop() in (0, -15)
    assert time.monotonic() - began < 8
    silent.stop()


def in_a_process(code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    started = [sys.executable, "-c", f"import waule.wsgi\n{code}"]
    return subprocess.run(started, cwd=PROJECT, env=process_environment(**environ), capture_output=True, text=True)


def test_without_a_collector_nothing_of_it_is_loaded() -> None:
    done = in_a_process(
        "import sys; from django.conf import settings\n"
        "from waule.core import tracing\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
        "assert not [name for name in settings.MIDDLEWARE + settings.MACHINE_MIDDLEWARE if 'tracing' in name]\n"
        "assert not tracing.is_on() and tracing.traceparent() == '' and tracing.span('a') is tracing.span('b')\n"
    )
    assert done.returncode == 0, done.stderr


def test_a_collector_header_that_is_none_is_refused_by_its_name() -> None:
    done = in_a_process("", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1", OTEL_EXPORTER_OTLP_HEADERS="planted-word")
    assert done.returncode != 0
    assert "OTEL_EXPORTER_OTLP_HEADERS must be a list of name=value" in done.stderr
    assert "planted-word" not in done.stderr.rpartition("ImproperlyConfigured")[2]
