"""What every place can do, and how it says what is wrong: S3 against moto with its authentication on, OSS, local files."""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from storage.drivers import Backend, Driver, driver_of, local
from storage.drivers.self_test import self_test
from storage.errors import BucketProblem
from tests.upstreams.oss_service import OssService
from tests.upstreams.s3_service import S3Service


@pytest.fixture(params=["s3", "oss", "local"])
def driver(request: pytest.FixtureRequest, settings: Any, tmp_path: Path) -> Driver:
    settings.MEDIA_ROOT = tmp_path
    if request.param == "local":
        return driver_of(Backend("local"))
    return driver_of(request.getfixturevalue(f"{request.param}_backend"))


def test_what_is_put_is_there_until_it_is_deleted(driver: Driver, tmp_path: Path) -> None:
    key, copy = f"tenants/t/ü {time.monotonic_ns()}.png", tmp_path / "copy"
    assert not driver.exists(key)
    driver.put(key, b"picture", content_type="image/png")
    driver.put(key, b"better picture", content_type="image/png")
    driver.get(key, copy)
    assert (copy.read_bytes(), driver.exists(key), driver.keys(key)) == (b"better picture", True, [key])
    driver.delete(key)
    driver.delete(key)
    assert (driver.exists(key), driver.keys(key)) == (False, [])
    with pytest.raises(BucketProblem) as caught:
        driver.get(key, copy)
    assert caught.value.reason == "key"


def test_a_file_is_put_whole(driver: Driver, tmp_path: Path) -> None:
    source, copy = tmp_path / "film.mp4", tmp_path / "copy.mp4"
    source.write_bytes(b"0123456789" * 300_000)
    driver.put("users/u/film.mp4", source, content_type="video/mp4")
    driver.get("users/u/film.mp4", copy)
    assert copy.read_bytes() == b"0123456789" * 300_000


def test_keys_are_listed_in_order_up_to_a_limit(driver: Driver) -> None:
    folder = f"tenants/{time.monotonic_ns()}"
    for name in ("c", "a", "b"):
        driver.put(f"{folder}/{name}", name.encode(), content_type="text/plain")
    assert driver.keys(f"{folder}/") == [f"{folder}/a", f"{folder}/b", f"{folder}/c"]
    assert driver.keys(f"{folder}/", limit=2) == [f"{folder}/a", f"{folder}/b"]


def test_everything_is_listed_page_by_page_in_the_order_of_bytes(driver: Driver) -> None:
    folder = f"tenants/{time.monotonic_ns()}"
    names = ["a", "a-b", "a.png", "a/b/c", "a/b.png", "a0", "ü", "Z", "\U0001f98a", "中"]
    for size, name in enumerate(names):
        if name not in ("a", "a/b"):  # no file beside a folder of its name
            driver.put(f"{folder}/{name}", b"x" * size, content_type="text/plain")
    expected = sorted(((f"{folder}/{name}", size) for size, name in enumerate(names) if name != "a"), key=lambda e: e[0].encode())
    assert list(driver.listing(f"{folder}/", page=3)) == expected


def test_a_part_is_read(driver: Driver, tmp_path: Path) -> None:
    driver.put("users/u/digits", b"0123456789", content_type="text/plain")
    driver.get("users/u/digits", tmp_path / "part", part=(3, 5))
    assert (tmp_path / "part").read_bytes() == b"345"


def test_a_url_opens_without_a_key_and_only_for_a_while(oss_backend: Backend) -> None:
    driver = driver_of(oss_backend)
    driver.put("tenants/t/picture.png", b"picture", content_type="image/png")
    url = driver.url("tenants/t/picture.png", seconds=3)  # the SDK may round down
    answer = requests.get(url, timeout=10)
    assert (answer.status_code, answer.content, answer.headers["Content-Type"]) == (200, b"picture", "image/png")
    assert requests.get(url.replace("picture.png", "other.png"), timeout=10).status_code == 403
    assert requests.get(url.partition("?")[0], timeout=10).status_code == 403
    time.sleep(3)
    assert requests.get(url, timeout=10).status_code == 403


def test_an_s3_url_opens_without_a_key(s3: S3Service, s3_backend: Backend) -> None:
    driver = driver_of(s3_backend)
    driver.put("tenants/t/picture.png", b"picture", content_type="image/png")
    answer = s3.open(driver.url("tenants/t/picture.png", seconds=60))
    assert (answer.status_code, answer.content, answer.headers["Content-Type"]) == (200, b"picture", "image/png")
    assert "X-Amz-Expires=60" in answer.url


def test_a_custom_domain_stands_in_the_url(s3_backend: Backend, oss_backend: Backend) -> None:
    plain = driver_of(replace(s3_backend, custom_domain="cdn.example.com")).url("a/b.png", seconds=60)
    assert plain == "https://cdn.example.com/a/b.png"
    signed = driver_of(replace(oss_backend, custom_domain="http://cdn.example.com/")).url("a/b.png", seconds=60)
    assert signed.startswith("http://cdn.example.com/a/b.png?x-oss-")


def test_urls_of_a_public_place_are_plain(s3_backend: Backend, oss_backend: Backend) -> None:
    for place in (s3_backend, oss_backend):
        driver = driver_of(replace(place, is_public=True))
        assert driver.url("a/b.png", seconds=60) == driver.address("a/b.png") == driver_of(place).address("a/b.png")
        assert driver.address("a/b.png").endswith("/b.png") and place.bucket in driver.address("a/b.png")
    assert (
        driver_of(replace(oss_backend, custom_domain="cdn.x", is_public=True)).url("a.png", seconds=60) == "https://cdn.x/a.png"
    )


def test_the_usual_addresses_need_no_endpoint() -> None:
    given = {"bucket": "shelf", "access_key_id": "id", "access_key_secret": "secret"}
    s3 = driver_of(Backend("s3", "eu-west-1", **given)).url("k", seconds=60)
    assert s3.startswith("https://shelf.s3.eu-west-1.amazonaws.com/k?")
    oss = driver_of(Backend("oss", "oss-cn-beijing", **given)).url("k", seconds=60)
    assert oss.startswith("https://shelf.oss-cn-beijing.aliyuncs.com/k?")


def test_a_place_that_works_passes_its_test_and_is_left_clean(driver: Driver) -> None:
    self_test(driver, "tenants/t")
    assert driver.keys("tenants/t/self-test") == []


def reason(place: Backend) -> str:
    with pytest.raises(BucketProblem) as caught:
        self_test(driver_of(place), "tenants/t")
    assert place.access_key_secret not in f"{caught.value!r} {caught.value} {caught.value.details}" or not place.access_key_secret
    return caught.value.reason


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"access_key_id": "LTAI-unknown"}, "access_key_id"),
        ({"access_key_secret": "not-the-secret"}, "access_key_secret"),
        ({"bucket": "no-such-bucket"}, "bucket"),
        ({"endpoint": "http://127.0.0.1:1"}, "not_reached"),
        ({"bucket": ""}, "setting"),
        ({"access_key_secret": ""}, "setting"),
        ({"is_operators": False}, "not_reached"),
    ],
)
def test_the_reason_is_told(s3_backend: Backend, oss_backend: Backend, change: dict[str, Any], expected: str) -> None:
    assert reason(replace(s3_backend, **change)) == expected
    assert reason(replace(oss_backend, **change)) == expected


def test_another_region_is_told(oss_backend: Backend) -> None:
    assert reason(replace(oss_backend, region="oss-cn-beijing")) == "region"


def test_a_wrong_clock_is_told(oss_backend: Backend, oss: OssService) -> None:
    oss.clock_offset_seconds = -3600
    assert reason(oss_backend) == "clock"


def test_a_broken_service_is_asked_again(oss_backend: Backend, oss: OssService) -> None:
    oss.rejections = [503, 500]
    self_test(driver_of(oss_backend), "tenants/t")
    oss.rejections = [503] * 20
    assert reason(oss_backend) == "busy"


def test_a_tenants_address_can_be_allowed(oss_backend: Backend, settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    self_test(driver_of(replace(oss_backend, is_operators=False)), "tenants/t")


def test_a_place_shows_no_secret(oss_backend: Backend) -> None:
    assert "oss-secret" not in repr(oss_backend)


def test_what_a_crash_left_unfinished_is_swept_after_a_day(settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = str(tmp_path)
    old, young = local.incoming() / "old.mp4", local.incoming() / "young.mp4"
    folder = local.incoming() / "old-folder"
    folder.mkdir()
    for path in (old, young, folder / "inside"):
        path.write_bytes(b"x")
    kept = tmp_path / "tenant" / "picture.png"
    kept.parent.mkdir()
    kept.write_bytes(b"x")
    long_ago = time.time() - local.UNFINISHED_SECONDS - 60
    for path in (old, folder, kept):
        os.utime(path, (long_ago, long_ago))
    assert local.sweep_incoming() == 2
    assert [path.name for path in local.incoming().iterdir()] == ["young.mp4"]
    assert kept.exists()
