"""Whose files lie where: in the tenant's own bucket, else in the platform's, else under MEDIA_ROOT."""

from collections.abc import Iterator
from functools import cached_property
from urllib.parse import unquote, urlsplit
from uuid import UUID

from django.conf import settings

from storage.drivers import LOCAL, Backend, Driver, driver_of
from storage.models import OssConfig, StoredObject
from tenants.principal import Principal
from waule.core.crypto.encryption import reveal
from waule.core.db.prepared import PreparedQuery
from waule.core.ids import parse_uuid

LOCAL_BACKEND = Backend(LOCAL)


def folder_of(owner: Principal) -> str:
    return f"{owner.kind}s/{owner.id}"


def platform_backend() -> Backend:
    """Where the platform keeps what no tenant has a bucket for."""
    return LOCAL_BACKEND if settings.OSS_DRIVER == LOCAL else platform_bucket(settings.OSS_DRIVER)


def platform_bucket(driver: str) -> Backend:
    """Return the bucket of the settings, also where new files are kept on this machine by now."""
    return Backend(
        driver=driver,
        region=settings.OSS_REGION,
        bucket=settings.OSS_BUCKET,
        endpoint=settings.OSS_ENDPOINT,
        access_key_id=settings.OSS_ACCESS_KEY_ID,
        access_key_secret=settings.OSS_ACCESS_KEY_SECRET,
        custom_domain=settings.OSS_CUSTOM_DOMAIN,
        is_public=settings.OSS_PUBLIC,
    )


def backend_of_config(config: OssConfig) -> Backend:
    """Return a tenant's bucket, whatever its mode says now.

    Raises:
        SecretUnreadable.
    """
    return Backend(
        driver=config.driver,
        region=config.region,
        bucket=config.bucket,
        endpoint=config.endpoint,
        access_key_id=config.access_key_id,
        access_key_secret=reveal(config.access_key_secret),
        custom_domain=config.custom_domain,
        is_operators=False,
        is_public=config.is_public,
    )


_CONFIG_OF = PreparedQuery(lambda tenant: OssConfig.objects.filter(tenant_id=tenant).values_list("id"), [UUID(int=0)], ["uuid"])


class OwnerStorage:
    """The storage backends of one owner's files; what a tenant has set is read once, when it is needed."""

    def __init__(self, owner: Principal) -> None:
        self.owner = owner

    @cached_property
    def config(self) -> OssConfig | None:
        pk = parse_uuid(self.owner.tenant_id) if self.owner.tenant_id else None
        if pk is None or _CONFIG_OF.first(pk) is None:  # as with most
            return None
        return OssConfig.objects.filter(tenant_id=pk).first()

    @property
    def has_own(self) -> bool:
        """Whether new files go into the tenant's own bucket."""
        return self.config is not None and self.config.mode == OssConfig.Mode.CUSTOM

    @property
    def current(self) -> Backend:
        """Where new files go.

        Raises:
            SecretUnreadable.
        """
        return backend_of_config(self.config) if self.config is not None and self.has_own else platform_backend()

    def of(self, stored: StoredObject) -> Backend | None:
        """Where an object lies. None: in a bucket that nobody knows any more.

        Raises:
            SecretUnreadable.
        """
        if stored.driver == LOCAL:
            return LOCAL_BACKEND
        if not stored.driver:  # recorded by a caller, who was given the current backend
            return self.current
        if stored.is_own:
            known = backend_of_config(self.config) if self.config is not None and self.config.bucket == stored.bucket else None
        else:
            known = platform_bucket(stored.driver) if stored.bucket == settings.OSS_BUCKET else None
        return known if known is not None and known.driver == stored.driver else None

    def driver(self, stored: StoredObject) -> Driver | None:
        """Return the driver of the backend that an object lies in.

        Raises:
            BucketProblem, SecretUnreadable: a setting of it is missing, or cannot be read.
        """
        backend = self.of(stored)
        return driver_of(backend) if backend is not None else None


# --- addresses that lie in one of them -----------------------------------------------------------------------------


def is_ours(url: str, owner: Principal) -> bool:
    """Return whether `url` lies here, in the platform's bucket or in the tenant's own already, so that it may stay there."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or parts.username is not None or "\\" in url:
        return False
    if {".", ".."} & set(unquote(parts.path).split("/")):
        return False  # `…/media/../` is another place
    address = f"{parts.netloc.lower()}{parts.path}"
    return any(address.startswith(known) for known in _addresses(owner))


def _addresses(owner: Principal) -> Iterator[str]:
    """Hosts, with the paths below them, where the platform's files and this tenant's lie."""
    yield _bare(settings.PUBLIC_URL) + settings.MEDIA_URL
    buckets = [(settings.OSS_CUSTOM_DOMAIN, settings.OSS_BUCKET, settings.OSS_ENDPOINT, settings.OSS_REGION)]
    if owner.tenant_id:
        own = OssConfig.objects.filter(tenant_id=owner.tenant_id, mode=OssConfig.Mode.CUSTOM)
        buckets += own.values_list("custom_domain", "bucket", "endpoint", "region")
    for domain, bucket, endpoint, region in buckets:
        if domain:
            yield f"{_bare(domain)}/"
        if bucket and (endpoint or region):
            host = _bare(endpoint) if endpoint else f"{region}.aliyuncs.com"
            yield f"{bucket}.{host}/".lower()
            yield f"{host}/{bucket}/".lower()


def _bare(address: str) -> str:
    """Return an address without its scheme and without a slash at its end."""
    return address.rpartition("://")[2].strip("/").lower()
