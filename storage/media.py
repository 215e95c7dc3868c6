"""Results as files: put where the owner's files go, counted, read again, and addressed by a URL that nobody can guess."""

import itertools
import tempfile
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS
from django.utils import timezone

from storage import services
from storage.backends import LOCAL_BACKEND, OwnerStorage, folder_of, is_ours, platform_backend
from storage.checks import readiness
from storage.drivers import Backend, Driver, driver_of
from storage.drivers.local import disk_problem, incoming, path_of
from storage.errors import BucketProblem
from storage.models import StoredObject
from tenants.principal import Principal
from waule.core.crypto.encryption import SecretUnreadable, keyed_hash
from waule.core.db import connection_pool
from waule.core.db.prepared import PreparedQuery
from waule.core.errors import NotFound, StorageUnavailable
from waule.core.fail_points import failpoint
from waule.core.ids import parse_uuid

NAME_LENGTH = 40  # hex digits of a keyed hash: 160 bits
PIECE_BYTES = 8 << 20  # of an object in a bucket, read at a time
EXTENSIONS = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/gif": "gif",
    "video/mp4": "mp4",
    "video/webm": "webm",
}
# What one result is reckoned to take until its size is known.
RESERVED_IMAGE_BYTES = 8 << 20
RESERVED_VIDEO_BYTES = 64 << 20
__all__ = ["incoming", "is_ours", "path_of"]
logger = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Stored:
    """A file in its backend. `address` has no signature: `urls` gives what opens a private object."""

    object_key: str
    address: str
    content_type: str
    size_bytes: int


def check_ready(owner: Principal, *, images: int = 0, videos: int = 0) -> None:
    """Whether so many results of this owner could be stored now.

    Raises:
        StorageUnavailable.
    """
    needs_platform = platform_backend() != LOCAL_BACKEND and not OwnerStorage(owner).has_own
    readiness.check_ready(images=images, videos=videos, needs_platform=needs_platform)


def reserve(owner: Principal, *, reservation_id: UUID, images: int = 0, videos: int = 0) -> None:
    """Keep room in the tenant's quota for results that are about to be made, until `services.end_reservation`.

    What turns out larger is stored all the same: it was made, and is never thrown away.

    Raises:
        OverQuota: it is used up, or reserved for others.
    """
    if owner.tenant_id:
        size_bytes = images * RESERVED_IMAGE_BYTES + videos * RESERVED_VIDEO_BYTES
        services.reserve(tenant_id=owner.tenant_id, reservation_id=reservation_id, size_bytes=size_bytes)


def store(source: bytes | Path, *, owner: Principal, content_type: str, seed: str) -> Stored:
    """Put bytes, or a file that is taken, in the owner's storage backend and count it.

    `seed` names the result (a generation and its number). The same seed has the same name, which only this server can
    tell from it: storing a result again, after a crash, replaces it and counts it once. A result that its bucket does not
    take waits under MEDIA_ROOT, from where it is served, until the bucket does (`storage/pending_uploads.py`); one that lies
    in its bucket already stays there.

    Raises:
        TenantNotFound. KeyError: a content type that is not stored here (EXTENSIONS). StorageUnavailable: neither its backend
            nor this disk takes it; the source is where it was.
    """
    name = keyed_hash(f"media:{folder_of(owner)}:{seed}")[:NAME_LENGTH]
    key = f"{folder_of(owner)}/{name[:2]}/{name[2:]}.{EXTENSIONS[content_type]}"
    owner_storage = OwnerStorage(owner)
    _known = owner_storage.config  # read before the connection is given back
    connection_pool.release_connection()
    taken_before = isinstance(source, Path) and not source.exists()  # this is a repeat
    try:
        size_bytes = len(source) if isinstance(source, bytes) else (path_of(key) if taken_before else source).stat().st_size
    except FileNotFoundError:
        if (moved := _in_bucket(key, owner)) is None:
            raise
        return moved
    backend = LOCAL_BACKEND if taken_before else _put(source, key, owner_storage, content_type)
    failpoint("media.put")
    stored = Stored(key, driver_of(backend).address(key), content_type, size_bytes)
    is_final = is_current(backend, owner_storage)
    about = {"content_type": content_type, "url": stored.address} | backend_columns(backend, is_final=is_final)
    if owner.tenant_id:
        services.record(tenant_id=owner.tenant_id, size_bytes=size_bytes, object_key=key, **about)
    else:
        services.record_of_user(user_id=owner.user_id, size_bytes=size_bytes, object_key=key, **about)
    moved = None if is_final else _in_bucket(key, owner)  # by a worker that stored the same result meanwhile
    if backend != LOCAL_BACKEND or moved is not None:
        path_of(key).unlink(missing_ok=True)
        if isinstance(source, Path):
            source.unlink(missing_ok=True)
    return moved or stored


def _in_bucket(key: str, owner: Principal) -> Stored | None:
    row = rows(owner).filter(object_key=key, released_at=None).exclude(driver__in=("", LOCAL_BACKEND.driver)).first()
    return row and Stored(key, row.url, row.content_type, row.size_bytes)


def _put(source: bytes | Path, key: str, owner_storage: OwnerStorage, content_type: str) -> Backend:
    """Write it to the current backend, or to the local one where that does not take it; returns which it was."""
    try:
        current = owner_storage.current
        driver_of(current).put(key, source, content_type=content_type)
        return current
    except (BucketProblem, SecretUnreadable) as error:
        logger.error("bucket_refused", folder=folder_of(owner_storage.owner), reason=error.details.get("reason", error.code))
    readiness.note_failure(platform_backend())
    try:
        driver_of(LOCAL_BACKEND).put(key, source, content_type=content_type)
    except BucketProblem as problem:
        raise StorageUnavailable(reason=problem.reason) from problem
    return LOCAL_BACKEND


def is_current(backend: Backend, owner_storage: OwnerStorage) -> bool:
    """Return whether `backend` is where the owner's new files go, so that what lies there may stay."""
    try:
        return backend == owner_storage.current
    except SecretUnreadable:
        return False


def backend_columns(backend: Backend, *, is_final: bool = True) -> dict[str, Any]:
    """Return the columns of a stored object that say where it lies."""
    return {
        "driver": backend.driver,
        "bucket": backend.bucket,
        "is_own": not backend.is_operators,
        "waiting_since": None if is_final else timezone.now(),
    }


def remove(object_key: str, *, owner: Principal) -> None:
    """Delete a file and stop counting it. A second time nothing changes.

    Raises:
        BucketProblem, SecretUnreadable: its bucket did not delete it; it is still counted.
    """
    stored = find(object_key, owner)
    if stored is not None and stored.released_at is None:
        driver = OwnerStorage(owner).driver(stored)
        connection_pool.release_connection()
        if driver is not None:
            driver.delete(object_key)
        else:
            logger.warning("bucket_forgotten", folder=folder_of(owner), bucket=stored.bucket)
    path_of(object_key).unlink(missing_ok=True)
    if owner.tenant_id:
        services.release(tenant_id=owner.tenant_id, object_key=object_key)
    else:
        rows(owner).filter(object_key=object_key, released_at=None).update(released_at=timezone.now(), waiting_since=None)


# --- reading -------------------------------------------------------------------------------------------------------


def rows(owner: Principal) -> Any:
    return StoredObject.objects.filter(**owner.columns)


_FIELDS = [field.attname for field in StoredObject._meta.concrete_fields]
_OF_TENANT = PreparedQuery(
    lambda key, tenant: StoredObject.objects.filter(object_key=key, tenant_id=tenant).values_list(*_FIELDS),
    ["object key", UUID(int=0)],
    ["text", "uuid"],
)


def find(object_key: str, owner: Principal) -> StoredObject | None:
    """Return the row of one object, which may be released."""
    tenant = parse_uuid(owner.tenant_id) if owner.tenant_id else None
    if tenant is None:
        found: StoredObject | None = rows(owner).filter(object_key=object_key).first()
        return found
    row = _OF_TENANT.first(object_key, tenant)
    return None if row is None else StoredObject.from_db(DEFAULT_DB_ALIAS, _FIELDS, row)


def urls(object_keys: Collection[str], *, owner: Principal) -> dict[str, str]:
    """Addresses that open these objects without a key: signed anew where they are private, so never to be kept."""
    owner_storage = OwnerStorage(owner)
    if len(object_keys) == 1:
        known = [find(key, owner) for key in object_keys]
    else:
        known = list(rows(owner).filter(object_key__in=object_keys)) if object_keys else []
    found = {stored.object_key: stored for stored in known if stored is not None}
    return {key: _url(key, found.get(key), owner_storage) for key in object_keys}


def moved_to(object_key: str) -> str | None:
    """Return a fresh address of an object that lay here once and lies in a bucket now; None for any other."""
    if "\0" in object_key:  # PostgreSQL takes no such text
        return None
    stored = StoredObject.objects.filter(object_key=object_key, released_at=None).first()
    if stored is None:
        return None
    try:
        driver = OwnerStorage(Principal.of(stored)).driver(stored)
        is_here = driver is None or driver.name == LOCAL_BACKEND.driver
        return None if is_here else driver.url(object_key, seconds=settings.OSS_URL_SECONDS)  # type: ignore[union-attr]
    except (BucketProblem, SecretUnreadable):
        return None


def url_of(stored: StoredObject) -> str:
    """Return the same for one row."""
    return _url(str(stored.object_key), stored, OwnerStorage(Principal.of(stored)))


def _url(key: str, stored: StoredObject | None, owner_storage: OwnerStorage) -> str:
    if stored is None:
        return driver_of(LOCAL_BACKEND).address(key)
    try:
        driver = owner_storage.driver(stored)
        return driver.url(key, seconds=settings.OSS_URL_SECONDS) if driver is not None else stored.url
    except (BucketProblem, SecretUnreadable):
        return stored.url


@dataclass(frozen=True)
class Remote:
    """An object in a bucket, read in parts."""

    stored: StoredObject
    driver: Driver

    def part(self, first: int, length: int) -> Iterable[bytes]:
        """`length` bytes from position `first`, piece by piece. The first piece is read at once.

        Raises:
            BucketProblem.
        """
        pieces = self._pieces(first, first + length - 1)
        return itertools.chain([next(pieces, b"")], pieces)

    def _pieces(self, first: int, last: int) -> Iterator[bytes]:
        connection_pool.release_connection()
        try:
            with tempfile.TemporaryDirectory(dir=incoming()) as directory:
                piece = Path(directory) / "piece"
                for start in range(first, last + 1, PIECE_BYTES):
                    self.driver.get(str(self.stored.object_key), piece, part=(start, min(last, start + PIECE_BYTES - 1)))
                    yield piece.read_bytes()
        except OSError as error:
            raise disk_problem(error) from error


def open_object(object_key: str, *, owner: Principal) -> Path | Remote:
    """Return the file, where it lies here; else what reads it from its bucket.

    Raises:
        NotFound: it is nowhere. BucketProblem, SecretUnreadable: its bucket cannot be used.
    """
    for _look in range(2):  # a worker may bring the file to its bucket after the first look at the row
        stored = find(object_key, owner)
        failpoint("media.looked_up")
        driver = OwnerStorage(owner).driver(stored) if stored is not None and stored.released_at is None else None
        if stored is not None and driver is not None and driver.name != LOCAL_BACKEND.driver:
            return Remote(stored, driver)
        path = path_of(object_key)
        if path.is_file():
            return path
    raise NotFound


def read(object_key: str, *, owner: Principal) -> bytes:
    """Return all of it.

    Raises:
        as `open_object`.
    """
    found = open_object(object_key, owner=owner)
    return found.read_bytes() if isinstance(found, Path) else b"".join(found.part(0, found.stored.size_bytes))
