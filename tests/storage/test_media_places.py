"""Which results may stay where they are, and what becomes of the others."""

from pathlib import Path
from typing import Any

import pytest

from storage import media
from storage.models import OssConfig, StorageUsage, StoredObject
from tenants.models import Tenant, User
from tenants.principal import Principal


@pytest.fixture(autouse=True)
def public_media(settings: Any, media_root: Path, tmp_path: Path) -> None:
    """Media at the directory of the test itself, under a public address."""
    settings.MEDIA_ROOT = tmp_path
    settings.PUBLIC_URL = "https://waule.example.com"


@pytest.mark.parametrize(
    ("url", "is_ours"),
    [
        ("https://waule.example.com/media/a.png", True),
        ("https://waule.example.com/other/a.png", False),
        ("https://cdn.acme.example/a.png", True),
        ("https://CDN.acme.example/a.png", True),
        ("https://cdn.acme.example.evil.com/a.png", False),
        ("https://evil.com/cdn.acme.example/a.png", False),
        ("https://cdn.acme.example@evil.com/a.png", False),
        ("https://acme-files.oss-cn-beijing.aliyuncs.com/a.png", True),
        ("https://oss-cn-beijing.aliyuncs.com/acme-files/a.png", True),
        ("https://oss-cn-beijing.aliyuncs.com/another/a.png", False),
        ("file:///waule.example.com/media/a.png", False),
        ("https://[", False),
    ],
)
def test_what_lies_in_the_tenants_bucket_stays(acme: Tenant, birch: Tenant, url: str, is_ours: bool) -> None:
    OssConfig.objects.create(
        tenant=acme, mode="custom", region="oss-cn-beijing", bucket="acme-files", custom_domain="https://cdn.acme.example/"
    )
    assert media.is_ours(url, Principal("tenant", str(acme.pk))) is is_ours
    assert media.is_ours(url, Principal("tenant", str(birch.pk))) is (is_ours and "/media/" in url)


def test_the_same_result_stored_again_replaces_and_counts_once(acme: Tenant, tmp_path: Path) -> None:
    owner = Principal("tenant", str(acme.pk))
    first = media.store(b"one", owner=owner, content_type="image/png", seed="g:0")
    second = media.store(b"three", owner=owner, content_type="image/png", seed="g:0")
    assert first.object_key == second.object_key
    assert (tmp_path / second.object_key).read_bytes() == b"three"
    assert StorageUsage.objects.get(tenant=acme).used_bytes == 5
    media.remove(second.object_key, owner=owner)
    media.remove(second.object_key, owner=owner)
    assert StorageUsage.objects.get(tenant=acme).used_bytes == 0
    assert not (tmp_path / second.object_key).exists()


def test_a_file_is_taken_and_a_users_is_known_without_a_count(alice: User, tmp_path: Path) -> None:
    made = tmp_path / "made.mp4"
    made.write_bytes(b"film")
    stored = media.store(made, owner=Principal("user", str(alice.pk)), content_type="video/mp4", seed="g:0")
    assert not made.exists()
    row = StoredObject.objects.get(user=alice)
    assert (row.object_key, row.size_bytes, row.url) == (stored.object_key, 4, stored.address)
    assert stored.address.startswith(f"https://waule.example.com/media/users/{alice.pk}/")
    assert list((tmp_path / ".incoming").iterdir()) == []
