"""Room in a tenant's quota: kept before the work, so that many at once cannot pass what is room for one."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from aiservices.generations.models import Generation
from aiservices.generations.services import cancel
from billing.ledger.models import Account, Hold
from storage import media, services
from storage.errors import OverQuota
from storage.models import Reservation, StorageUsage, StoredObject
from tenants.models import Tenant
from tenants.principal import Principal
from tests.aiservices.jobs import work_off
from tests.at_once import at_once
from tests.callers import api_of_tenant
from tests.catalog import image_model, video_model
from tests.live import LiveWaule
from tests.settings import INTERNAL_SECRET
from waule.core.ids import uuid7

BODY = {"model": "painter", "prompt": "a fox", "size": "64x64"}


def quota(tenant: Tenant, size_bytes: int, *, used: int = 0) -> None:
    StorageUsage.objects.create(tenant=tenant, quota_bytes=size_bytes, used_bytes=used)


def test_twenty_at_once_in_a_quota_for_one(cloned_db: Any, acme: Tenant) -> None:
    quota(acme, 1000)
    ready = threading.Barrier(20)

    def upload(number: int) -> bool:
        owner, made = Principal("tenant", str(acme.pk)), uuid7()
        try:
            ready.wait()
            media.reserve(owner, reservation_id=made, images=1)
            media.store(b"x" * 1000, owner=owner, content_type="image/png", seed=str(number))
            services.end_reservation(made)
        except OverQuota:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(20) as threads:
        stored = list(threads.map(upload, range(20)))
    assert sorted(stored) == [False] * 19 + [True]
    assert StorageUsage.objects.get(tenant=acme).used_bytes == 1000
    assert not Reservation.objects.exists()


def test_objects_recorded_at_once_are_each_counted_once(live_waule: LiveWaule, acme: Tenant) -> None:
    """Sixty of twenty objects, half of them with an idempotency key; then one with another size."""
    live_waule.workers = 2
    live_waule.start()

    def tell(number: int) -> tuple[int, Any]:
        told = {"tenantId": str(acme.pk), "bytes": 1000 + number % 20, "objectKey": f"{number % 20}.png"}
        headers = {"X-Internal-Secret": INTERNAL_SECRET} | ({"Idempotency-Key": f"k{number % 20}"} if number % 2 else {})
        answer = live_waule.post("/internal/storage/record", told, headers=headers)
        return answer.status_code, answer.json()

    answers = at_once(60, tell)
    assert {status for status, _body in answers} == {200}, answers
    total = sum(1000 + number for number in range(20))
    assert StorageUsage.objects.get(tenant=acme).used_bytes == total
    assert StoredObject.objects.count() == 20
    assert max(body["storageUsedBytes"] for _status, body in answers) == total
    larger = live_waule.post(
        "/internal/storage/record",
        {"tenantId": str(acme.pk), "bytes": 5000, "objectKey": "0.png"},
        headers={"X-Internal-Secret": INTERNAL_SECRET},
    )
    assert larger.json()["storageUsedBytes"] == total + 4000


def test_twenty_pictures_at_once_in_a_quota_for_one(live_waule: LiveWaule, acme: Tenant) -> None:
    image_model()
    quota(acme, 100)  # any picture is larger
    headers = {"Authorization": api_of_tenant(acme).authorization}
    answers = at_once(20, lambda _number: live_waule.post("/v1/images/generations", BODY, headers=headers))
    assert sorted(answer.status_code for answer in answers) == [200] + [413] * 19
    assert (Account.objects.get(tenant=acme, mode="live").balance, Generation.objects.count()) == (985, 1)
    assert not Reservation.objects.exists()


def test_a_quota_that_is_used_up_takes_nothing(acme: Tenant) -> None:
    image_model()
    quota(acme, 10, used=10)
    status, answer = api_of_tenant(acme).post("/v1/images/generations", BODY, key="k")
    assert (status, answer["error"]["code"]) == (413, "too_large")
    assert not Generation.objects.exists() and not Hold.objects.exists()
    StorageUsage.objects.update(quota_bytes=11)
    assert api_of_tenant(acme).post("/v1/images/generations", BODY, key="k")[0] == 200


@pytest.mark.parametrize("ending", ["delivered", "failed", "canceled", "refused"])
def test_what_was_reserved_is_free_again_however_it_ends(acme: Tenant, birch: Tenant, settings: Any, ending: str) -> None:
    owner = birch if ending == "refused" else acme
    video_model()
    quota(owner, 1 << 30)
    settings.SANDBOX_FAILURE_RATE = int(ending == "failed")
    api = api_of_tenant(owner)
    body = {"model": "filmer", "prompt": "a fox", "seconds": "1", "size": "128x72"}
    status, _answer = api.post("/v1/videos", body)
    if ending == "refused":
        assert status == 402  # Birch has no credits
    else:
        assert status == 200
        assert Reservation.objects.get().size_bytes == media.RESERVED_VIDEO_BYTES
        if ending == "canceled":
            cancel(generation=Generation.objects.get())
        work_off()
    assert not Reservation.objects.exists()


def test_an_expired_reservation_keeps_nothing_and_is_swept(acme: Tenant) -> None:
    owner = Principal("tenant", str(acme.pk))
    quota(acme, 10)
    media.reserve(owner, reservation_id=uuid7(), images=1)
    with pytest.raises(OverQuota) as caught:
        media.reserve(owner, reservation_id=uuid7(), images=1)
    assert caught.value.details == {"usedBytes": 0, "reservedBytes": media.RESERVED_IMAGE_BYTES, "quotaBytes": 10}
    Reservation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    media.reserve(owner, reservation_id=uuid7(), images=1)
    assert (services.sweep_reservations(), services.sweep_reservations(), Reservation.objects.count()) == (1, 0, 1)


def test_without_a_quota_nothing_is_kept(acme: Tenant) -> None:
    media.reserve(Principal("tenant", str(acme.pk)), reservation_id=uuid7(), images=10)
    assert not Reservation.objects.exists()
