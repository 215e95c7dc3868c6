"""A tenant's bucket with a real server, a real worker and OpenAI's own client in front of a service that checks signatures."""

from pathlib import Path

import openai
import pytest
from django.utils import timezone

from aiservices.monitoring.models import PeriodicTask
from storage.models import OssConfig, StoredObject
from tenants.models import Tenant
from tests.callers import api_of_tenant
from tests.catalog import video_model
from tests.live import LiveWaule
from tests.storage.conftest import columns
from tests.upstreams.s3_service import S3Service
from tests.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:The Sora API is scheduled:DeprecationWarning")]


def test_a_video_waits_for_its_bucket_is_brought_home_and_deleted(
    live_waule: LiveWaule, acme: Tenant, s3: S3Service, tmp_path: Path
) -> None:
    live_waule.environ["OUTBOUND_ALLOW"] = "127.0.0.1"
    OssConfig.objects.create(tenant=acme, mode="custom", **columns(s3.backend) | {"access_key_secret": "not-it"})
    video_model()
    refused = live_waule.manage("check_storage", "--tenant", "Acme")
    assert (refused.returncode, refused.stderr.strip().endswith("(access_key_secret)")) == (1, True)
    key = api_of_tenant(acme).authorization.removeprefix("Bearer ")
    with openai.OpenAI(api_key=key, base_url=f"{live_waule.url}/v1", max_retries=0) as client:
        video = client.videos.create(model="filmer", prompt="a fox", seconds="4", size="128x72")
        live_waule.run("worker")
        eventually(lambda: client.videos.retrieve(video.id).status == "completed")
        here = client.videos.download_content(video.id).content
        assert StoredObject.objects.get().waiting_since is not None
        config = OssConfig.objects.get()
        config.access_key_secret = s3.secret
        config.save()
        PeriodicTask.objects.filter(name="bring_results_home").update(next_at=timezone.now())
        eventually(lambda: StoredObject.objects.get().waiting_since is None)
        assert list((live_waule.directory / "media").rglob("*.mp4")) == []
        assert client.videos.download_content(video.id).content == here
        told = live_waule.manage_json("check_storage", "--tenant", "Acme", "--compare")
        assert (told["ok"], told["comparison"]["objects"], told["comparison"]["bytes"]) == (True, 1, len(here))
        assert live_waule.manage_json("reconcile")["ok"] is True
        assert client.videos.delete(video.id).deleted
    assert live_waule.manage_json("check_storage", "--tenant", "Acme", "--compare")["comparison"]["objects"] == 0
