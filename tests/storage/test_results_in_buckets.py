"""Generations whose results end in a bucket: the tenant's own, or the platform's. The services are real and check signatures."""

import base64
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from cryptography.fernet import Fernet
from django.test import Client

from aiservices.generations.models import Generation
from aiservices.monitoring.models import PeriodicTask
from aiservices.periodic_tasks import AT_SERVICES, do_due
from billing.ledger.models import Charge
from storage import media, pending_uploads, services
from storage.backends import OwnerStorage
from storage.checks.reconcile import differences
from storage.drivers import Backend, driver_of
from storage.models import OssConfig, StorageUsage, StoredObject
from tenants.models import Tenant, User
from tenants.principal import Principal
from tests.aiservices.jobs import work_off
from tests.callers import Api, api_of_tenant, api_of_user
from tests.catalog import image_model, video_model
from tests.storage.conftest import change
from tests.upstreams.oss_service import OssService
from tests.upstreams.s3_service import S3Service
from waule.core import fail_points

IMAGES, VIDEOS = "/v1/images/generations", "/v1/videos"
PNG = b"\x89PNG\r\n"


def used(tenant: Tenant) -> int:
    return StorageUsage.objects.get(tenant=tenant).used_bytes


def picture(api: Api, **more: Any) -> Any:
    status, answer = api.post(IMAGES, {"model": "painter", "prompt": "a fox", "size": "64x64"} | more)
    assert status == 200, answer
    return answer["data"][0]


def test_a_tenants_picture_ends_in_its_own_bucket(acme: Tenant, acmes_bucket: OssConfig, s3: S3Service, media_root: Any) -> None:
    image_model()
    url = picture(api_of_tenant(acme))["url"]
    assert url.startswith(f"{s3.url}/shelf/tenants/{acme.pk}/") and "X-Amz-Expires=86400" in url
    assert s3.open(url).content.startswith(PNG)
    row = StoredObject.objects.get(tenant=acme)
    assert (row.driver, row.bucket, row.is_own, row.waiting_since) == ("s3", "shelf", True, None)
    assert driver_of(s3.backend).keys(f"tenants/{acme.pk}/") == [row.object_key]
    assert used(acme) == row.size_bytes == len(s3.open(url).content)
    assert "X-Amz" not in f"{row.url} {Generation.objects.get().outputs}"  # what expires is not kept
    assert list(media_root.rglob("*.png")) == []
    assert list(differences()) == []


def test_a_picture_as_base64_is_read_back_from_the_bucket(acme: Tenant, acmes_bucket: OssConfig) -> None:
    image_model()
    found = base64.b64decode(picture(api_of_tenant(acme), response_format="b64_json")["b64_json"])
    assert found.startswith(PNG) and len(found) == used(acme)


def test_a_custom_domain_stands_in_the_url(acme: Tenant, acmes_bucket: OssConfig) -> None:
    acmes_bucket.custom_domain = "cdn.acme.example"
    acmes_bucket.save()
    image_model()
    url = picture(api_of_tenant(acme))["url"]
    assert url == f"https://cdn.acme.example/{StoredObject.objects.get().object_key}"


def test_others_end_in_the_platforms_bucket(acme: Tenant, alice: User, platform_bucket: Backend, oss: OssService) -> None:
    image_model()
    url = picture(api_of_tenant(acme))["url"]
    assert requests.get(url, timeout=10).content.startswith(PNG)
    assert requests.get(url.partition("?")[0], timeout=10).status_code == 403
    api = api_of_user(alice)
    made = api.post("/api/ai/image/generate", {"modelId": "painter", "prompt": "a fox"})[1]
    task = api.get(f"/api/ai/tasks/{made['taskId']}")[1]
    listed = api.get("/api/ai/tasks")[1]["tasks"][0]
    for each in (made["url"], task["url"], listed["url"]):
        assert urlsplit(each).path.startswith(f"/shelf/users/{alice.pk}/")
        assert requests.get(each, timeout=10).content.startswith(PNG)
    assert sorted(key.split("/")[0] for key in oss.objects) == ["tenants", "users"]
    oss.objects.clear()


def test_a_video_is_read_in_parts_and_deleted_with_its_bytes(acme: Tenant, acmes_bucket: OssConfig, s3: S3Service) -> None:
    video_model()
    api = api_of_tenant(acme)
    video = api.post(VIDEOS, {"model": "filmer", "prompt": "a fox", "seconds": "1", "size": "128x72"})[1]["id"]
    work_off()
    content = f"{VIDEOS}/{video}/content"
    whole = read(api, content)
    assert (whole[0], len(whole[1]), whole[1][4:8]) == (200, used(acme), b"ftyp")
    assert read(api, content, Range="bytes=4-7") == (206, b"ftyp")
    assert api.last["Content-Range"] == f"bytes 4-7/{used(acme)}"
    assert read(api, content, Range=f"bytes={used(acme)}-")[0] == 416
    assert api("DELETE", f"{VIDEOS}/{video}")[0] == 200
    assert (used(acme), driver_of(s3.backend).keys(f"tenants/{acme.pk}/")) == (0, [])
    assert read(api, content)[0] == 404


def read(api: Api, path: str, **headers: str) -> tuple[int, bytes]:
    response = api.client.get(path, headers={"Authorization": api.authorization} | headers)
    api.last = response
    return response.status_code, b"".join(response.streaming_content) if response.streaming else response.content


@pytest.mark.parametrize("wrong", [{"endpoint": "http://127.0.0.1:1"}, {"access_key_secret": "not-it"}, {"bucket": "no-such"}])
def test_what_a_bucket_does_not_take_is_delivered_from_here_and_brought_later(
    acme: Tenant, acmes_bucket: OssConfig, s3: S3Service, media_root: Any, wrong: dict[str, str]
) -> None:
    right = {name: getattr(acmes_bucket, name) for name in wrong}
    change(acmes_bucket, wrong)
    image_model()
    api = api_of_tenant(acme)
    url = picture(api)["url"]
    here = b"".join(api.client.get(urlsplit(url).path).streaming_content)
    assert url.startswith("http://127.0.0.1:3000/media/") and here.startswith(PNG)
    assert (Charge.objects.count(), used(acme)) == (1, len(here))
    assert StoredObject.objects.get().waiting_since is not None
    bring()
    assert StoredObject.objects.get().waiting_since is not None  # it still refuses
    for name, value in right.items():
        setattr(acmes_bucket, name, value)
    acmes_bucket.save()
    bring()
    row = StoredObject.objects.get()
    assert (row.waiting_since, row.driver, row.bucket, row.is_own) == (None, "s3", "shelf", True)
    assert list(media_root.rglob("*.png")) == []
    assert (Charge.objects.count(), used(acme)) == (1, len(here))


def bring() -> None:
    PeriodicTask.objects.all().delete()
    (task,) = [task for task in AT_SERVICES if task.name == "bring_results_home"]
    assert do_due([task]) == ["bring_results_home"]


def test_what_is_moved_while_it_is_read_is_read_where_it_went(acme: Tenant, acmes_bucket: OssConfig, media_root: Any) -> None:
    """A reader has looked the row up, and a worker brings the file to its bucket before the reader opens it."""
    right = acmes_bucket.endpoint
    change(acmes_bucket, {"endpoint": "http://127.0.0.1:1"})
    video_model()
    api = api_of_tenant(acme)
    video = api.post(VIDEOS, {"model": "filmer", "prompt": "a fox", "seconds": "1", "size": "128x72"})[1]["id"]
    work_off()
    (here,) = media_root.rglob("*.mp4")
    film = here.read_bytes()
    acmes_bucket.endpoint = right
    acmes_bucket.save()

    with fail_points.at("media.looked_up", lambda: bring() if here.exists() else None):
        assert read(api, f"{VIDEOS}/{video}/content") == (200, film)
    assert not here.exists()


@pytest.mark.parametrize("is_tenants", [True, False])
def test_a_result_that_two_workers_store_is_where_its_row_says(
    is_tenants: bool, acme: Tenant, alice: User, acmes_bucket: OssConfig, platform_bucket: Backend, media_root: Any, settings: Any
) -> None:
    """The bucket did not take it from one, who kept it here; before that is written down, the other brings it to the bucket."""
    owner = Principal("tenant", str(acme.pk)) if is_tenants else Principal("user", str(alice.pk))
    film = {"owner": owner, "content_type": "video/mp4", "seed": "film:1"}

    def bucket_is(there: bool) -> None:
        settings.OSS_ENDPOINT = platform_bucket.endpoint if there else "http://127.0.0.1:1"
        acmes_bucket.endpoint = right if there else "http://127.0.0.1:1"
        acmes_bucket.save()

    def other_worker() -> None:
        if next(others, None):
            bucket_is(True)
            media.store(b"a film", **film)
            bucket_is(False)

    right, others = acmes_bucket.endpoint, iter([1])
    bucket_is(False)
    with fail_points.at("media.put", other_worker):
        stored = media.store(b"a film", **film)
    bucket_is(True)
    assert media.read(stored.object_key, owner=owner) == b"a film"
    row = StoredObject.objects.get()
    assert (row.driver == "local", row.waiting_since, stored.address) == (False, None, row.url)
    assert list(media_root.rglob("*.mp4")) == []
    assert list(differences()) == []


def test_a_result_stored_again_after_it_was_brought_to_its_bucket_is_there(acme: Tenant, acmes_bucket: OssConfig) -> None:
    """Its worker died after the file was taken; before the next one comes, it is brought to its bucket."""
    right = acmes_bucket.endpoint
    change(acmes_bucket, {"endpoint": "http://127.0.0.1:1"})
    owner = Principal("tenant", str(acme.pk))
    film = {"owner": owner, "content_type": "video/mp4", "seed": "film:1"}
    source = media.incoming() / "film"
    source.write_bytes(b"a film")
    media.store(source, **film)
    acmes_bucket.endpoint = right
    acmes_bucket.save()
    bring()
    stored = media.store(source, **film)
    assert media.read(stored.object_key, owner=owner) == b"a film"
    assert (stored.size_bytes, used(acme)) == (6, 6)


def test_a_file_that_its_bucket_does_not_delete_is_still_counted(acme: Tenant, acmes_bucket: OssConfig) -> None:
    video_model()
    api = api_of_tenant(acme)
    video = api.post(VIDEOS, {"model": "filmer", "prompt": "a fox", "seconds": "1", "size": "128x72"})[1]["id"]
    work_off()
    OssConfig.objects.update(endpoint="http://127.0.0.1:1")
    status, answer = api("DELETE", f"{VIDEOS}/{video}")
    assert (status, answer["error"]["code"]) == (502, "upstream_error")
    assert used(acme) > 0


def test_files_stay_where_they_were_when_the_place_changes(
    acme: Tenant, acmes_bucket: OssConfig, platform_bucket: Backend, s3: S3Service
) -> None:
    image_model()
    api = api_of_tenant(acme)
    body = {"model": "painter", "prompt": "a fox", "size": "64x64"}
    own = api.post(IMAGES, body, key="one")[1]["data"][0]["url"]
    OssConfig.objects.update(mode="platform")
    assert urlsplit(api.post(IMAGES, body, key="two")[1]["data"][0]["url"]).netloc == urlsplit(platform_bucket.endpoint).netloc
    again = api.post(IMAGES, body, key="one")[1]["data"][0]["url"]
    assert again.partition("?")[0] == own.partition("?")[0]
    assert s3.open(again).content.startswith(PNG)


def test_what_lies_in_the_platforms_bucket_is_read_when_new_files_are_kept_here(
    alice: User, platform_bucket: Backend, oss: OssService, settings: Any
) -> None:
    image_model()
    api = api_of_user(alice)
    task = api.post("/api/ai/image/generate", {"modelId": "painter", "prompt": "a fox"})[1]["taskId"]
    settings.OSS_DRIVER = "local"
    assert requests.get(api.get(f"/api/ai/tasks/{task}")[1]["url"], timeout=10).content.startswith(PNG)
    oss.objects.clear()


def test_staff_see_what_lies_in_a_private_bucket(
    acme: Tenant, acmes_bucket: OssConfig, root: User, client: Client, s3: S3Service
) -> None:
    image_model()
    picture(api_of_tenant(acme))
    generation = Generation.objects.get()
    page = f"/admin/aiservices/generation/{generation.pk}/result/0/"
    client.force_login(root)
    assert page in client.get("/admin/aiservices/generation/").content.decode()
    assert page in client.get(f"/admin/aiservices/generation/{generation.pk}/change/").content.decode()
    answer = client.get(page)
    assert answer.status_code == 302 and "no-store" in answer["Cache-Control"]
    assert s3.open(answer["Location"]).content.startswith(PNG)
    assert client.get(page.replace("/0/", "/1/")).status_code == 404
    shown = client.get(f"/admin/storage/storedobject/{StoredObject.objects.get().pk}/change/").content.decode()
    assert StoredObject.objects.get().url in shown
    client.force_login(User.objects.create_user("clerk", password="x", is_staff=True))
    assert client.get(page).status_code == 403


def test_a_secret_that_cannot_be_read_loses_nothing(acme: Tenant, acmes_bucket: OssConfig, settings: Any) -> None:
    image_model()
    api = api_of_tenant(acme)
    settings.ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    assert picture(api)["url"].startswith("http://127.0.0.1:3000/media/")
    assert StoredObject.objects.get().waiting_since is not None


def test_what_was_deleted_while_it_was_brought_home_is_deleted_there_too(
    acme: Tenant, acmes_bucket: OssConfig, s3: S3Service
) -> None:
    OssConfig.objects.update(endpoint="http://127.0.0.1:1")
    media.store(b"x", owner=Principal("tenant", str(acme.pk)), content_type="image/png", seed="s")
    OssConfig.objects.update(endpoint=s3.url)
    stored = StoredObject.objects.get()
    services.release(tenant_id=str(acme.pk), object_key=stored.object_key or "")  # between reading the row and writing it
    assert pending_uploads._upload(stored, OwnerStorage(Principal.of(stored))) is False
    assert driver_of(s3.backend).keys(f"tenants/{acme.pk}/") == []
