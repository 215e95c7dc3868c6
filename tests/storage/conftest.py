"""Places to store in: an S3-compatible service with its authentication on, and Alibaba Cloud OSS as it is on the wire."""

from collections.abc import Iterator
from typing import Any

import pytest

from storage.drivers import Backend
from storage.models import OssConfig
from tenants.models import Tenant
from tests.upstreams.oss_service import OssService
from tests.upstreams.s3_service import S3Service


@pytest.fixture
def s3_backend(s3: S3Service) -> Backend:
    return s3.backend


@pytest.fixture(scope="module")
def oss() -> Iterator[OssService]:
    service = OssService()
    yield service
    service.stop()


@pytest.fixture
def oss_backend(oss: OssService) -> Backend:
    oss.rejections.clear()
    oss.clock_offset_seconds = 0
    return Backend("oss", "oss-cn-test", oss.bucket, oss.url, oss.key_id, oss.secret)


@pytest.fixture
def acmes_bucket(acme: Tenant, s3_backend: Backend, settings: Any) -> OssConfig:
    """Acme's own bucket, at an address that the operator allows."""
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    return OssConfig.objects.create(tenant=acme, mode="custom", **columns(s3_backend))


def change(config: OssConfig, values: dict[str, Any]) -> None:
    """Sets columns of a tenant's bucket past every form."""
    for name, value in values.items():
        setattr(config, name, value)
    config.save()


def columns(place: Backend) -> dict[str, Any]:
    """A place as a tenant's bucket is set."""
    names = ("driver", "region", "bucket", "endpoint", "access_key_id", "access_key_secret", "custom_domain")
    return {name: getattr(place, name) for name in names}


@pytest.fixture
def platform_bucket(oss_backend: Backend, settings: Any) -> Backend:
    """The platform's bucket, of Alibaba Cloud."""
    for name, value in columns(oss_backend).items():
        setattr(settings, f"OSS_{name.upper()}", value)
    return oss_backend
