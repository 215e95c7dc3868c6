"""Videos are jobs: how tests order them, and do them without a worker."""

import uuid

from aiservices.generations.queue import jobs
from tenants.models import Tenant
from tenants.services import create_api_key
from tests.live import LiveWaule


def work_off() -> None:
    """Does every job that is due, in this thread, as a worker would."""
    queue = jobs.Queue()
    while (job := queue.claim()) is not None:
        jobs.run(job)


def order(waule: LiveWaule, tenant: Tenant, *, key: str = "", **more: str) -> str:
    """The id of a video of 4 seconds at 10 credits each."""
    key = key or create_api_key(tenant=tenant, mode="live", actor="test")[1]
    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": uuid.uuid4().hex}
    for _busy in range(5):
        answer = waule.post("/v1/videos", {"model": "sora-2", "prompt": "x"} | more, headers=headers)
        if answer.status_code != 503:
            break
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])
