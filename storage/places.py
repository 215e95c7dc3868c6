"""Whose files lie where: in the tenant's own bucket, else in the platform's, else under MEDIA_ROOT."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import urlsplit

from django.conf import settings

from storage.drivers import LOCAL, Driver, Place, driver_of
from storage.models import OssConfig, StoredObject
from waule.encryption import reveal

HERE = Place(LOCAL)


@dataclass(frozen=True)
class Owner:
    """Whose file it is: exactly one of the two is set."""

    tenant_id: str = ""
    user_id: str = ""

    @classmethod
    def of(cls, stored: StoredObject) -> "Owner":
        return cls(tenant_id=str(stored.tenant_id)) if stored.tenant_id else cls(user_id=str(stored.user_id))

    @property
    def folder(self) -> str:
        return f"tenants/{self.tenant_id}" if self.tenant_id else f"users/{self.user_id}"

    @property
    def columns(self) -> dict[str, str]:
        """The owner's columns of a row."""
        return {"tenant_id": self.tenant_id} if self.tenant_id else {"user_id": self.user_id}


def platform() -> Place:
    """Where the platform keeps what has no other place."""
    return HERE if settings.OSS_DRIVER == LOCAL else platform_bucket(settings.OSS_DRIVER)


def platform_bucket(driver: str) -> Place:
    """The bucket of the settings, also where new files are kept here by now."""
    return Place(
        driver=driver,
        region=settings.OSS_REGION,
        bucket=settings.OSS_BUCKET,
        endpoint=settings.OSS_ENDPOINT,
        access_key_id=settings.OSS_ACCESS_KEY_ID,
        access_key_secret=settings.OSS_ACCESS_KEY_SECRET,
        custom_domain=settings.OSS_CUSTOM_DOMAIN,
        is_public=settings.OSS_PUBLIC,
    )


def of_config(config: OssConfig) -> Place:
    """A tenant's bucket, whatever its mode says now.

    Raises:
        SecretUnreadable.
    """
    return Place(
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


class Shelf:
    """The places of one owner's files; what a tenant has set is read once, when it is needed."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner

    @cached_property
    def config(self) -> OssConfig | None:
        return OssConfig.objects.filter(tenant_id=self.owner.tenant_id).first() if self.owner.tenant_id else None

    @property
    def has_own(self) -> bool:
        """Whether new files go into the tenant's own bucket."""
        return self.config is not None and self.config.mode == OssConfig.Mode.CUSTOM

    @property
    def home(self) -> Place:
        """Where new files go.

        Raises:
            SecretUnreadable.
        """
        return of_config(self.config) if self.config is not None and self.has_own else platform()

    def of(self, stored: StoredObject) -> Place | None:
        """Where an object lies. None: in a bucket that nobody knows any more.

        Raises:
            SecretUnreadable.
        """
        if stored.driver == LOCAL:
            return HERE
        if not stored.driver:  # a caller's word: callers are told the home
            return self.home
        if stored.is_own:
            known = of_config(self.config) if self.config is not None and self.config.bucket == stored.bucket else None
        else:
            known = platform_bucket(stored.driver) if stored.bucket == settings.OSS_BUCKET else None
        return known if known is not None and known.driver == stored.driver else None

    def driver(self, stored: StoredObject) -> Driver | None:
        """What speaks to the place of an object.

        Raises:
            BucketProblem, SecretUnreadable: a setting of it is missing, or cannot be read.
        """
        place = self.of(stored)
        return driver_of(place) if place is not None else None


# --- addresses that lie in one of them -----------------------------------------------------------------------------


def is_ours(url: str, owner: Owner) -> bool:
    """Whether `url` lies here, in the platform's bucket or in the tenant's own already, so that it may stay there."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or parts.username is not None:
        return False
    address = f"{parts.netloc.lower()}{parts.path}"
    return any(address.startswith(known) for known in _addresses(owner))


def _addresses(owner: Owner) -> Iterator[str]:
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
    """An address without its scheme and without a slash at its end."""
    return address.rpartition("://")[2].strip("/").lower()
