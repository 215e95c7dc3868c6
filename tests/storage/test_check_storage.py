"""Does a bucket work, and has it what our rows say: from the command, the API, the admin and the health probe."""

import io
import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from aiservices.monitoring import probes as health
from storage import media
from storage.backends import OwnerStorage
from storage.drivers import Backend, Driver, driver_of
from storage.models import OssConfig, StorageUsage, StoredObject
from tenants.models import AuditEntry, Tenant, User
from tenants.principal import Principal
from tests.storage.conftest import change
from tests.upstreams.oss_service import OssService
from tests.upstreams.s3_service import S3Service


def run(*arguments: str, fails: str = "") -> Any:
    """What the command prints with --json; `fails`: a part of what it says on stderr then."""
    out = io.StringIO()
    if fails:
        with pytest.raises(CommandError, match=fails):
            call_command("check_storage", *arguments, "--json", stdout=out)
    else:
        call_command("check_storage", *arguments, "--json", stdout=out)
    return json.loads(out.getvalue())


def test_a_tenants_bucket_by_id_and_by_name(acme: Tenant, acmes_bucket: OssConfig, s3: S3Service) -> None:
    told = run("--tenant", "Acme")
    assert told == run("--tenant", str(acme.pk)) | {"elapsedMs": told["elapsedMs"], "clockSkewSeconds": told["clockSkewSeconds"]}
    assert (told["ok"], told["driver"], told["bucket"], told["reason"]) == (True, "s3", "shelf", None)
    assert abs(told["clockSkewSeconds"]) <= 2
    assert driver_of(s3.backend).keys(f"tenants/{acme.pk}/self-test") == []
    with pytest.raises(CommandError, match="There is no tenant Nobody"):
        call_command("check_storage", "--tenant", "Nobody")


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"access_key_id": "LTAI-unknown"}, "access_key_id"),
        ({"access_key_secret": "not-the-secret"}, "access_key_secret"),
        ({"bucket": "no-such-bucket"}, "bucket"),
        ({"endpoint": "http://127.0.0.1:1"}, "not_reached"),
    ],
)
def test_the_api_and_the_button_tell_the_reason(
    internal: Any, acme: Tenant, root: User, client: Client, acmes_bucket: OssConfig, wrong: dict[str, str], reason: str
) -> None:
    url = f"/internal/tenants/{acme.pk}/oss-config/test"
    assert internal.post(url)[1]["ok"] is True
    change(acmes_bucket, wrong)
    status, told = internal.post(url)
    assert (status, told["ok"], told["reason"]) == (200, False, reason)
    assert "not-the-secret" not in json.dumps(told)
    assert list(AuditEntry.objects.filter(action="oss_config.test").order_by("id").values_list("after__ok", flat=True)) == [
        True,
        False,
    ]
    client.force_login(root)
    page = f"/admin/storage/ossconfig/{acmes_bucket.pk}/"
    assert f"{page}check/" in client.get(f"{page}change/").content.decode()
    assert client.get(f"{page}check/").status_code == 200
    shown = client.post(f"{page}check/", follow=True).content.decode()
    assert told["message"] in shown and "The bucket does not work" in shown
    run("--tenant", "Acme", fails=rf"\({reason}\)")


def test_the_region_and_the_clock_of_the_platforms_bucket(platform_bucket: Backend, oss: OssService, settings: Any) -> None:
    assert run()["ok"] is True
    oss.clock_offset_seconds = -3600
    assert run(fails="clock")["reason"] == "clock"
    oss.clock_offset_seconds = 0
    settings.OSS_REGION = "oss-cn-beijing"
    assert run(fails="region")["reason"] == "region"
    settings.OSS_BUCKET = ""
    assert run(fails="setting of the bucket is missing. .bucket")["reason"] == "setting"


def test_only_who_may_change_buckets_may_test_them(acmes_bucket: OssConfig, client: Client) -> None:
    client.force_login(User.objects.create_user("clerk", password="x", is_staff=True))
    assert client.post(f"/admin/storage/ossconfig/{acmes_bucket.pk}/check/").status_code == 403


def test_an_incomplete_bucket_is_not_saved(acme: Tenant, root: User, client: Client) -> None:
    client.force_login(root)
    form = {"tenant": acme.pk, "mode": "custom", "driver": "oss", "bucket": "shelf"}
    answer = client.post("/admin/storage/ossconfig/add/", form)
    assert set(answer.context["adminform"].form.errors) == {"region", "access_key_id", "access_key_secret"}
    assert client.post("/admin/storage/ossconfig/add/", form | {"mode": "platform"}).status_code == 302
    assert OssConfig.objects.get().mode == "platform"


def test_the_button_says_that_all_is_well(root: User, client: Client, acmes_bucket: OssConfig) -> None:
    client.force_login(root)
    page = client.post(f"/admin/storage/ossconfig/{acmes_bucket.pk}/check/", follow=True)
    assert "The bucket works" in page.content.decode()


@pytest.mark.django_db
def test_the_health_probe_writes_and_reads(platform_bucket: Backend, oss: OssService, settings: Any) -> None:
    def status() -> tuple[str, str]:
        health.check(["storage"])
        (found,) = [service for service in health.last_results() if service.name == "storage"]
        return found.status, found.message

    assert status() == ("ok", "")
    settings.OSS_ACCESS_KEY_SECRET = "not-it"
    assert status()[0] == "down" and "access_key_secret" in status()[1]
    settings.OSS_ACCESS_KEY_SECRET = platform_bucket.access_key_secret
    user = User.objects.create_user("w", password="x")
    StoredObject.objects.create(user=user, object_key="k", size_bytes=1, driver="local", waiting_since=user.date_joined)
    assert status()[0] == "degraded" and "Results wait" in status()[1] and "(1)" in status()[1]


@pytest.mark.parametrize("kind", ["own", "platform", "local"])
def test_rows_and_objects_are_compared(request: pytest.FixtureRequest, acme: Tenant, kind: str) -> None:
    if kind == "own":
        request.getfixturevalue("acmes_bucket")
    elif kind == "platform":
        request.getfixturevalue("platform_bucket")
    arguments = ["--tenant", "Acme", "--compare"]
    owner = Principal("tenant", str(acme.pk))
    for number in range(5):
        media.store(b"x" * (number + 1), owner=owner, content_type="image/png", seed=str(number))
    nothing = {"missing": 0, "orphans": 0, "different": 0, "unchecked": 0, "problems": []}
    assert run(*arguments)["comparison"] == {"ok": True, "bytes": 15, "objects": 5} | nothing
    first, second, *_others = StoredObject.objects.order_by("size_bytes")
    driver = place_of(first)
    driver.delete(first.object_key or "")
    driver.put(second.object_key or "", b"other", content_type="image/png")
    driver.put(f"tenants/{acme.pk}/zz/orphan.png", b"1234567", content_type="image/png")
    told = run(*arguments, fails="1 are missing, 1 orphans, 1 differ in size")
    found = told["comparison"]
    assert (told["ok"], found["missing"], found["orphans"], found["different"]) == (False, 1, 1, 1)
    assert sorted((each["what"], each["key"], each["rowBytes"], each["objectBytes"]) for each in found["problems"]) == [
        ("missing", first.object_key, 1, None),
        ("orphan", f"tenants/{acme.pk}/zz/orphan.png", None, 7),
        ("size", second.object_key, 2, 5),
    ]
    media.remove(first.object_key or "", owner=owner)
    assert run(*arguments, fails="0 are missing")["comparison"]["missing"] == 0
    assert StorageUsage.objects.get(tenant=acme).used_bytes == 14


def place_of(stored: StoredObject) -> Driver:
    driver = OwnerStorage(Principal.of(stored)).driver(stored)
    assert driver is not None
    return driver


def test_what_callers_told_us_of_is_looked_for_too(
    internal: Any, acme: Tenant, birch: Tenant, platform_bucket: Backend, oss: OssService
) -> None:
    oss.objects.clear()
    oss.objects[f"tenants/{acme.pk}/there.png"] = (b"12345", "image/png")
    told = [(acme, "there.png", 5), (birch, "gone.png", 7)]
    for tenant, name, size in told:
        body = {"tenantId": str(tenant.pk), "bytes": size, "objectKey": f"tenants/{tenant.pk}/{name}"}
        assert internal.post("/internal/storage/record", body)[0] == 200
    internal.post("/internal/storage/record", {"tenantId": str(acme.pk), "bytes": 1, "objectKey": "elsewhere.png"})
    internal.post("/internal/storage/record", {"tenantId": str(acme.pk), "bytes": 1})
    found = run("--compare", fails="1 are missing")["comparison"]
    assert (found["objects"], found["missing"], found["orphans"], found["unchecked"]) == (1, 1, 0, 1)
