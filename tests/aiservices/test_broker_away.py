"""TASK_ENGINE=celery with a broker that is away, or accepts and then says nothing: orders go through, and are done."""

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from aiservices.generations.models import Generation, WorkerProcess
from billing.catalog.models import AIModel
from billing.monitoring.models import Alert
from tenants.models import Tenant
from tenants.services import create_api_key
from tests.live import LiveWaule, free_port
from tests.waiting import eventually

pytestmark = pytest.mark.once  # the database makes no difference

ORDERS = 3
DOCUMENTED_STOP_SECONDS = 10  # docs/operations.md: where no provider is waited for


class SilentServer:
    """Accepts connections and never says a word."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.kept: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                self.kept.append(self.listener.accept()[0])
            except OSError:
                return

    def close(self) -> None:
        self.listener.close()
        for connection in self.kept:
            connection.close()


@pytest.fixture(params=["redis silent", "amqp silent", "redis refused", "amqp refused"])
def away(request: Any, live_waule: LiveWaule) -> Iterator[LiveWaule]:
    scheme, how = request.param.split()
    server = SilentServer() if how == "silent" else None
    port = server.port if server else free_port()
    path = "/0" if scheme == "redis" else "//"
    live_waule.environ |= {"TASK_ENGINE": "celery", "CELERY_BROKER_URL": f"{scheme}://127.0.0.1:{port}{path}"}
    live_waule.environ |= {"HEALTH_PROBE_SECONDS": "5", "ALERT_WEBHOOK_URL": "http://127.0.0.1:1/"}
    yield live_waule
    live_waule.stop()
    if server:
        server.close()


def health(waule: LiveWaule) -> dict[str, str]:
    return {service["name"]: service["status"] for service in waule.internal("GET", "/internal/health")[1]["services"]}


def test_orders_are_taken_and_done_from_the_rows(away: LiveWaule, acme: Tenant, filmer: AIModel) -> None:
    key = create_api_key(tenant=acme, actor="test")[1]
    assert away.get("/readyz").json().get("workers") == 0
    assert health(away)["workers"] == "down"
    for _number in range(ORDERS):
        began_at = time.monotonic()
        body = {"model": "filmer", "prompt": "x", "seconds": "1", "size": "128x128"}
        assert away.post("/v1/videos", body, headers={"Authorization": f"Bearer {key}"}).status_code == 200
        assert time.monotonic() - began_at < 10  # an order does not wait for the broker at all; the machine may be slow
    worker = away.run("worker")
    eventually(lambda: Generation.objects.filter(state="succeeded").count() == ORDERS)
    eventually(lambda: health(away)["broker"] == "down" and health(away)["workers"] == "ok")
    ready = away.get("/readyz")
    assert (ready.status_code, ready.json()["broker"], ready.json()["workers"]) == (200, "down", 1)
    eventually(lambda: Alert.objects.filter(kind="broker.down", is_raised=True).exists())
    began_at = time.monotonic()
    worker.popen.terminate()
    worker.popen.wait(60)
    assert time.monotonic() - began_at < DOCUMENTED_STOP_SECONDS
    assert worker.popen.returncode == 0
    assert not WorkerProcess.objects.exists()


def test_that_no_worker_lives_is_told_by_the_server(live_waule: LiveWaule, acme: Tenant) -> None:
    live_waule.environ["ALERT_WEBHOOK_URL"] = "http://127.0.0.1:1/"
    assert live_waule.get("/readyz").json().get("workers") == 0
    eventually(lambda: Alert.objects.filter(kind="workers.none", is_raised=True).exists())
    worker = live_waule.run("worker")
    eventually(lambda: live_waule.get("/readyz").json().get("workers") == 1)
    eventually(lambda: not Alert.objects.get(kind="workers.none").is_raised)
    worker.kill()  # as a power cut would: its row stays, and falls silent
    eventually(lambda: live_waule.get("/readyz").json().get("workers") == 0)
