"""A full disk and an absent bucket: known before a provider is asked, and nothing that was made meanwhile is lost."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.core.management import call_command
from django.test import Client

from aiservices.generations.models import Generation, PendingResult
from aiservices.generations.recovery import store_pending
from aiservices.monitoring import probes
from billing.ledger.models import Hold
from billing.reconciliation.checks import reconcile
from gateway_client.errors import NotFetched
from storage import media, pending_uploads
from storage.checks import readiness
from storage.drivers import Backend
from storage.errors import BucketProblem
from storage.models import OssConfig, StoredObject
from tenants.models import Tenant, User
from tenants.principal import Principal
from tests.aiservices.jobs import work_off
from tests.books import balance_and_held
from tests.callers import Api, api_of_tenant, api_of_user
from tests.catalog import image_model, video_model
from tests.gateway_client import bad_server as bad
from tests.gateway_client.bad_server import BadServer
from tests.upstreams.oss_service import OssService
from tests.upstreams.s3_service import S3Service
from waule.core.errors import StorageUnavailable

IMAGES, VIDEOS = "/v1/images/generations", "/v1/videos"
DEAD = "http://127.0.0.1:1"
Broken = Callable[[], None]


@pytest.fixture(autouse=True)
def fresh_readiness() -> Iterator[None]:
    readiness._bucket._known.clear()
    yield
    readiness._bucket._known.clear()


@pytest.fixture
def small_disk(settings: Any, tmp_path: Path) -> Iterator[Path]:
    """MEDIA_ROOT on a disk of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("this machine's tests may not mount a disk")
    settings.MEDIA_ROOT = folder / "media"
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(folder: Path) -> Path:
    """Fills the disk; what fills it can be deleted."""
    filler = folder / f"filler-{len(list(folder.iterdir()))}"
    failures = 0
    with filler.open("wb", buffering=0) as file:
        while failures < 50:  # the kernel counts roughly while several processors write
            try:
                file.write(b"x" * 4096)
                failures = 0
            except OSError:
                failures += 1
    return filler


@pytest.fixture
def upstream(settings: Any) -> Iterator[BadServer]:
    """Someone who speaks OpenAI's API, and serves files."""
    server = BadServer()
    settings.OPENAI_API_URL, settings.OPENAI_API_KEY = f"{server.url}/v1", "sk-key"
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    yield server
    server.stop()


def picture(api: Api, key: str | None = None, model: str = "painter") -> tuple[int, Any]:
    return api.post(IMAGES, {"model": model, "prompt": "a fox"}, key=key)


# --- known before --------------------------------------------------------------------------------------------------


@pytest.fixture(params=["no_folder", "full_disk", "absent_bucket", "wrong_secret", "no_bucket", "incomplete"])
def broken(request: pytest.FixtureRequest, settings: Any, tmp_path: Path) -> tuple[str, Broken]:
    """One of the ways in which results cannot be stored: its reason, and what puts it right again."""
    name = request.param
    if name == "no_folder":
        (tmp_path / "file").write_text("not a folder")
        before, settings.MEDIA_ROOT = settings.MEDIA_ROOT, tmp_path / "file" / "media"
        return "disk", lambda: setattr(settings, "MEDIA_ROOT", before)
    if name == "full_disk":
        folder = request.getfixturevalue("small_disk")
        filler = fill(folder)
        return "disk_full", filler.unlink
    request.getfixturevalue("platform_bucket")
    setting, wrong, reason = {
        "absent_bucket": ("OSS_ENDPOINT", DEAD, "not_reached"),
        "wrong_secret": ("OSS_ACCESS_KEY_SECRET", "not-it", "access_key_secret"),
        "no_bucket": ("OSS_BUCKET", "no-such", "bucket"),
        "incomplete": ("OSS_ACCESS_KEY_ID", "", "setting"),
    }[name]
    before = getattr(settings, setting)
    setattr(settings, setting, wrong)
    return reason, lambda: setattr(settings, setting, before)


def test_nothing_is_ordered_that_cannot_be_stored(acme: Tenant, broken: tuple[str, Broken], upstream: BadServer) -> None:
    reason, repair = broken
    image_model(provider="openai")
    video_model(provider="openai")
    upstream.will(bad.answer({"data": [{"b64_json": _base64(bad.PNG)}]}))
    api = api_of_tenant(acme)
    for path, model in ((IMAGES, "painter"), (VIDEOS, "filmer")):
        status, answer = api.post(path, {"model": model, "prompt": "a fox"}, key="k")
        assert (status, answer["error"]["code"]) == (503, "storage_unavailable"), answer
        assert api.last["Retry-After"] == "30"
    assert (upstream.seen, Generation.objects.count(), Hold.objects.count(), balance_and_held(acme)) == ([], 0, 0, (1000, 0))
    ready = Client().get("/readyz")
    assert (ready.status_code, ready.json()["status"], ready.json()["storage"]) == (200, "ok", "down")
    assert ready.json()["reason"] == str(BucketProblem.REASONS[reason])
    health = {service.name: service for service in probes.check(["storage"])}
    assert health["storage"].status == "down"
    repair()
    readiness._bucket._known.clear()
    assert picture(api, key="k")[0] == 200  # the key was not used up
    assert Client().get("/readyz").json()["storage"] == "ok"
    assert {service.name: service.status for service in probes.check(["storage"])}["storage"] == "ok"
    assert reconcile().problems == []


def _base64(data: bytes) -> str:
    import base64

    return base64.b64encode(data).decode()


def test_users_are_told_in_their_words(alice: User, settings: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings.MEDIA_ROOT = tmp_path / "file"
    image_model()
    status, answer = api_of_user(alice).post("/api/ai/image/generate", {"modelId": "painter", "prompt": "x"})
    assert (status, answer["code"], answer["details"]) == (503, "storage_unavailable", {"reason": "disk"})


def test_the_command_says_what_is_wrong(settings: Any, tmp_path: Path, capsys: Any, db: None) -> None:
    (tmp_path / "file").touch()
    settings.MEDIA_ROOT = tmp_path / "file"
    with pytest.raises((Exception, SystemExit)):
        call_command("check_storage")
    assert "Traceback" not in capsys.readouterr().err


def test_a_video_waits_in_the_queue_while_there_is_no_room(acme: Tenant, settings: Any, tmp_path: Path) -> None:
    video_model()
    api = api_of_tenant(acme)
    video = api.post(VIDEOS, {"model": "filmer", "prompt": "a fox", "seconds": "1", "size": "128x72"})[1]["id"]
    before = settings.MEDIA_ROOT
    (tmp_path / "file").touch()
    settings.MEDIA_ROOT = tmp_path / "file"
    work_off()
    row = Generation.objects.get(id=video)
    assert (row.state, row.called_at, balance_and_held(acme)) == ("queued", None, (1000, 10))
    settings.MEDIA_ROOT = before
    Generation.objects.update(run_after=row.created_at)
    work_off()
    assert api.get(f"{VIDEOS}/{video}")[1]["status"] == "completed"
    assert balance_and_held(acme) == (990, 0)


def test_a_tenant_with_its_own_bucket_is_not_kept_waiting_by_the_platform_s(
    acme: Tenant, acmes_bucket: OssConfig, s3: S3Service, platform_bucket: Backend, settings: Any
) -> None:
    settings.OSS_ENDPOINT = DEAD
    image_model()
    assert picture(api_of_tenant(acme))[0] == 200


# --- found after ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", ["url", "b64_json"])
def test_what_was_made_on_a_full_disk_is_delivered_when_there_is_room(
    acme: Tenant, small_disk: Path, upstream: BadServer, spelling: str
) -> None:
    """The disk fills while the provider works."""
    image_model(provider="openai")
    large = bad.PNG + b"\0" * 200_000
    fillers: list[Path] = []

    def answer(stream: Any, seen: Any) -> None:
        if seen.method == "GET":
            return bad.media(large)(stream, seen)
        fillers.append(fill(small_disk))
        result = {"url": f"{upstream.url}/picture.png"} if spelling == "url" else {"b64_json": _base64(large)}
        return bad.answer({"data": [result]})(stream, seen)

    upstream.will(answer)
    api = api_of_tenant(acme)
    status, told = picture(api, key="k")
    assert (status, told.get("error", {}).get("code")) == (503, "storage_unavailable"), told
    row = Generation.objects.get()
    assert (row.state, row.flags, balance_and_held(acme)) == ("unknown", ["waits_for_storage"], (1000, 15))
    assert PendingResult.objects.count() == 1
    assert store_pending() == 0  # there is no room yet
    fillers[0].unlink()
    assert store_pending() == 1
    row.refresh_from_db()
    assert (row.state, row.flags, balance_and_held(acme), PendingResult.objects.count()) == ("succeeded", [], (985, 0), 0)
    status, told = picture(api, key="k")
    assert (status, told["usage"]["credits_charged"]) == (200, 15)
    url = urlsplit(told["data"][0]["url"]).path
    assert b"".join(api.client.get(url).streaming_content) == large
    assert sum(seen.method == "POST" for seen in upstream.seen) == 1  # it was not asked for again
    assert list((small_disk / "media" / ".incoming").iterdir()) == []
    assert reconcile().problems == []


def test_bucket_and_disk_both_away_keep_the_bytes(
    acme: Tenant, platform_bucket: Backend, oss: OssService, settings: Any, small_disk: Path
) -> None:
    content = bad.PNG + b"\0" * 200_000
    right, settings.OSS_ENDPOINT = settings.OSS_ENDPOINT, DEAD
    filler = fill(small_disk)
    owner = Principal("tenant", str(acme.pk))
    with pytest.raises(StorageUnavailable):
        media.store(content, owner=owner, content_type="image/png", seed="1")
    filler.unlink()
    file = media.incoming() / "source.png"
    file.write_bytes(content)
    fill(small_disk)
    stored = media.store(file, owner=owner, content_type="image/png", seed="2")  # to move it takes no room
    assert (media.path_of(stored.object_key).read_bytes(), pending_uploads.pending().count()) == (content, 1)
    settings.OSS_ENDPOINT = right
    assert media.store(content, owner=owner, content_type="image/png", seed="1").object_key in oss.objects
    oss.objects.clear()


def test_what_is_charged_by_hand_is_delivered_first(acme: Tenant, small_disk: Path, upstream: BadServer) -> None:
    from aiservices.generations.services import settle_unknown

    image_model(provider="openai")
    large = bad.PNG + b"\0" * 200_000
    fillers: list[Path] = []

    def answer(stream: Any, seen: Any) -> None:
        fillers.append(fill(small_disk))
        bad.answer({"data": [{"b64_json": _base64(large)}]})(stream, seen)

    upstream.will(answer)
    api = api_of_tenant(acme)
    picture(api)
    row = Generation.objects.get()
    with pytest.raises(StorageUnavailable):
        settle_unknown(generation=row, charge=True, reason="it was made", actor="test")
    fillers[0].unlink()
    settled = settle_unknown(generation=row, charge=True, reason="it was made", actor="test")
    assert (settled.state, len(settled.outputs), balance_and_held(acme)) == ("succeeded", 1, (985, 0))


def test_a_failure_of_the_network_is_not_the_disk_s(acme: Tenant, upstream: BadServer) -> None:
    from gateway_client import fetch

    upstream.will(bad.hang_up)
    with pytest.raises(NotFetched):
        fetch.fetch(f"{upstream.url}/x.png", tries=1)


# --- addresses that were given out ---------------------------------------------------------------------------------


def test_an_address_that_was_given_out_leads_to_where_the_result_is_now(
    acme: Tenant, acmes_bucket: OssConfig, s3: S3Service
) -> None:
    OssConfig.objects.update(endpoint=DEAD)
    image_model()
    api = api_of_tenant(acme)
    url = urlsplit(picture(api)[1]["data"][0]["url"]).path
    content = b"".join(api.client.get(url).streaming_content)
    assert content.startswith(b"\x89PNG")
    acmes_bucket.save()
    assert pending_uploads.retry_pending_uploads() == 1
    answer = api.client.get(url)
    assert (answer.status_code, answer["Cache-Control"]) == (302, "no-store")
    assert "X-Amz-Signature" in answer["Location"]
    assert s3.open(answer["Location"]).content == content
    assert api.client.head(url).status_code == 302
    assert api.client.get(url.replace(".png", ".jpg")).status_code == 404
    media.remove(StoredObject.objects.get().object_key, owner=Principal("tenant", str(acme.pk)))
    assert api.client.get(url).status_code == 404
