"""Waiting is cheap: generations wait for their provider without a database connection, and `/internal` goes on answering."""

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from aiservices.generations.models import Generation
from tenants.models import Tenant
from tenants.services import create_api_key
from tests.aiservices.jobs import order
from tests.books import balance_and_held, give
from tests.catalog import image_model, video_model
from tests.live import LiveWaule
from tests.upstreams.silent_service import SilentService
from tests.waiting import eventually

IMAGES, VIDEOS = 150, 150
OWN_CONNECTIONS = 5  # of a worker besides those that it lends: its periodic tasks, its look at the queue, its heart


def ask_for_image(waule: LiveWaule, key: str) -> socket.socket:
    """A connection on which the answer will come."""
    body = json.dumps({"model": "painter", "prompt": "x"})
    head = f"POST /v1/images/generations HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
    asked = socket.create_connection(("127.0.0.1", int(waule.url.rpartition(":")[2])), timeout=60)
    asked.sendall(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
    return asked


def open_connections(waule: LiveWaule) -> int:
    """How many connections to the database the server and its workers have now."""
    if waule.database.is_postgresql:
        connection.close()
        others = "datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        return int(waule.sql(f"SELECT count(*) FROM pg_stat_activity WHERE {others}")[0][0])
    found = 0
    for pid in pids_of(waule):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed since it was listed
                found += str(link.readlink()) == waule.database.name
    return found


def pids_of(waule: LiveWaule) -> set[str]:
    own = [process.pid for process in waule.processes]
    children = [Path(f"/proc/{pid}/task/{pid}/children").read_text().split() for pid in own]
    return {str(pid) for pid in own} | {child for each in children for child in each}


@pytest.mark.slow
def test_three_hundred_wait_and_hold_no_connection(
    live_waule: LiveWaule, silent_service: SilentService, acme: Tenant, any_database: None
) -> None:
    live_waule.environ |= {"OPENAI_API_URL": silent_service.url, "OPENAI_API_KEY": "sk-upstream"}
    image_model("painter", provider="openai")
    video_model("sora-2", provider="openai")
    charged = image_model("flash", base=1)
    give(acme, 20_000)
    key = create_api_key(tenant=acme, actor="test")[1]
    with ThreadPoolExecutor(8) as callers:
        images = list(callers.map(lambda _number: ask_for_image(live_waule, key), range(IMAGES)))
        list(callers.map(lambda _number: order(live_waule, acme, key=key), range(VIDEOS)))
    live_waule.run("worker", "--concurrency", str(VIDEOS))
    eventually(lambda: silent_service.waiting == IMAGES + VIDEOS)
    assert open_connections(live_waule) <= 2 * settings.DATABASE_CONNECTIONS + OWN_CONNECTIONS
    for _time in range(20):
        body = {"targetType": "tenant", "targetId": str(acme.pk), "modelId": str(charged.pk), "operation": "image"}
        assert live_waule.internal("POST", "/internal/billing/charge", body)[0] == 200
    silent_service.release()
    answers = [asked.recv(64).partition(b"\r\n")[0] for asked in images]
    for asked in images:
        asked.close()
    assert set(answers) == {b"HTTP/1.1 502 Bad Gateway"}
    left = Generation.objects.filter(state__in=["queued", "running"])
    eventually(lambda: not left.exists())
    assert balance_and_held(acme) == (21_000 - 20, 0)
