"""A stop cuts nobody off: what a provider is making when SIGTERM comes is waited for, and charged or released by its answer.

A cancellation does, and says so.
"""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from aiservices.generations.models import Generation
from tenants.models import Tenant
from tenants.services import create_api_key
from tests.aiservices.jobs import order
from tests.books import balance_and_held
from tests.catalog import image_model, video_model
from tests.live import LiveWaule
from tests.upstreams.silent_service import SilentService
from tests.waiting import eventually

WORK_SECONDS = 5  # longer than any stop takes where nothing is waited for


def test_a_stopping_server_answers_the_picture_that_is_being_made(
    live_waule: LiveWaule, acme: Tenant, any_database: None
) -> None:
    live_waule.environ["SANDBOX_DELAY_SECONDS"] = str(WORK_SECONDS)
    image_model("painter", base=7)
    headers = {"Authorization": f"Bearer {create_api_key(tenant=acme, actor='test')[1]}"}
    url, body = f"{live_waule.url}/v1/images/generations", {"model": "painter", "prompt": "x"}
    with ThreadPoolExecutor(1) as callers:
        asked = callers.submit(requests.post, url, json=body, headers=headers, timeout=60)
        eventually(lambda: Generation.objects.filter(state="running", called_at__isnull=False).exists())
        server = live_waule.server
        assert server is not None
        server.popen.terminate()
        time.sleep(1)
        with pytest.raises(requests.ConnectionError):  # who comes now goes elsewhere
            requests.post(url, json=body, headers=headers, timeout=60)
        answer = asked.result(60)
    assert answer.status_code == 200, answer.text
    assert server.popen.wait(10) == 0
    assert balance_and_held(acme) == (993, 0)
    assert [each.state for each in Generation.objects.all()] == ["succeeded"]


def test_a_stopping_worker_waits_for_an_order_to_be_confirmed(
    live_waule: LiveWaule, silent_service: SilentService, acme: Tenant, any_database: None
) -> None:
    live_waule.environ |= {"OPENAI_API_URL": silent_service.url, "OPENAI_API_KEY": "sk-upstream"}
    video_model("sora-2", provider="openai")
    order(live_waule, acme, key=create_api_key(tenant=acme, actor="test")[1])
    worker = live_waule.run("worker")
    eventually(lambda: silent_service.waiting == 1)
    worker.popen.terminate()
    time.sleep(WORK_SECONDS)
    assert worker.is_running
    assert balance_and_held(acme)[1] > 0
    silent_service.release()  # it was not accepted
    assert worker.popen.wait(20) == 0
    assert [each.state for each in Generation.objects.all()] == ["failed"]
    assert balance_and_held(acme) == (1000, 0)


def test_a_cancellation_while_a_provider_is_at_work_is_told_to_operators(
    live_waule: LiveWaule, silent_service: SilentService, acme: Tenant, any_database: None
) -> None:
    live_waule.environ |= {"OPENAI_API_URL": silent_service.url, "OPENAI_API_KEY": "sk-upstream"}
    video_model("sora-2", provider="openai")
    key = create_api_key(tenant=acme, actor="test")[1]
    queued, ordered = (order(live_waule, acme, key=key) for _number in range(2))

    def cancel(video: str) -> list[str]:
        answer = live_waule.post(f"/v1/videos/{video}/cancel", headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == 200, answer.text
        return list(Generation.objects.get(id=video).flags)

    assert cancel(queued) == []
    live_waule.run("worker")
    eventually(lambda: silent_service.waiting == 1)
    assert cancel(ordered) == ["canceled_while_made"]
    assert balance_and_held(acme) == (1000, 0)
