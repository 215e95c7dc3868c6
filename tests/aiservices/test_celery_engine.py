"""TASK_ENGINE=celery: what a broker loses. What holds on every engine stands in test_video_jobs."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.utils import timezone

from aiservices.generations.models import Generation
from aiservices.generations.queue.celery_worker import MAX_SWEPT
from billing.catalog.models import AIModel
from tenants.models import Tenant
from tenants.services import create_api_key
from tests.aiservices.engines import engine, forget_messages
from tests.live import LiveWaule
from tests.waiting import eventually


@pytest.fixture(params=["redis", "rabbitmq"])
def broker(request: pytest.FixtureRequest, live_waule: LiveWaule) -> Iterator[dict[str, str]]:
    with engine(request.param) as settings:
        live_waule.environ |= settings
        yield settings


def queue_videos(waule: LiveWaule, tenant: Tenant, count: int) -> None:
    key = create_api_key(tenant=tenant, actor="test")[1]
    for _number in range(count):
        body = {"model": "filmer", "prompt": "x", "seconds": "1", "size": "128x128"}
        assert waule.post("/v1/videos", body, headers={"Authorization": f"Bearer {key}"}).status_code == 200


def test_a_job_whose_message_was_lost_is_swept_up(
    broker: dict[str, str], live_waule: LiveWaule, acme: Tenant, filmer: AIModel
) -> None:
    queue_videos(live_waule, acme, 1)
    forget_messages(broker)
    live_waule.run("worker")
    eventually(lambda: Generation.objects.get().state == "succeeded")


def test_messages_are_not_sent_again_while_others_wait(
    broker: dict[str, str], live_waule: LiveWaule, acme: Tenant, filmer: AIModel
) -> None:
    queue_videos(live_waule, acme, MAX_SWEPT + 5)
    sweep = "from aiservices.generations.queue.celery_worker import sweep, waiting_messages as w; print(w(), sweep() and w())"
    for before, after in ((MAX_SWEPT + 5, MAX_SWEPT + 5), (0, MAX_SWEPT)):
        Generation.objects.update(run_after=timezone.now() - timedelta(seconds=1))
        said = live_waule.manage("shell", "--no-imports", "-c", sweep)
        assert said.stdout.split() == [str(before), str(after)], said.stderr
        forget_messages(broker)


def test_without_a_broker_a_video_is_queued_all_the_same(live_waule: LiveWaule, acme: Tenant, filmer: AIModel) -> None:
    live_waule.environ |= {"TASK_ENGINE": "celery", "CELERY_BROKER_URL": "redis://127.0.0.1:1/0"}
    queue_videos(live_waule, acme, 1)
    assert Generation.objects.get().state == "queued"
