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
from django.utils import timezone

from storage import services
from storage.drivers import Driver, Place, driver_of
from storage.drivers.local import incoming, path_of
from storage.errors import BucketProblem
from storage.models import StoredObject
from storage.places import HERE, Owner, Shelf, is_ours
from waule import connection_pool
from waule.encryption import SecretUnreadable, keyed_hash
from waule.errors import NotFound

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
__all__ = ["Owner", "incoming", "is_ours", "path_of"]
logger = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Stored:
    """A file in its place. `address` has no signature: `urls` gives what opens a private object."""

    object_key: str
    address: str
    content_type: str
    size_bytes: int


def reserve(owner: Owner, *, reservation_id: UUID, images: int = 0, videos: int = 0) -> None:
    """Keeps room in the tenant's quota for results that are about to be made, until `services.end_reservation`.

    What turns out larger is stored all the same: it was made, and is never thrown away.

    Raises:
        OverQuota: it is used up, or reserved for others.
    """
    if owner.tenant_id:
        size_bytes = images * RESERVED_IMAGE_BYTES + videos * RESERVED_VIDEO_BYTES
        services.reserve(tenant_id=owner.tenant_id, reservation_id=reservation_id, size_bytes=size_bytes)


def store(source: bytes | Path, *, owner: Owner, content_type: str, seed: str) -> Stored:
    """Puts bytes, or a file that is taken, in the owner's place and counts it.

    `seed` names the result (a generation and its number). The same seed has the same name, which only this server can
    tell from it: storing a result again, after a crash, replaces it and counts it once. A result that its bucket does not
    take waits under MEDIA_ROOT, from where it is served, until the bucket does (`waiting.bring_home`).

    Raises:
        TenantNotFound. KeyError: a content type that is not stored here (EXTENSIONS).
    """
    name = keyed_hash(f"media:{owner.folder}:{seed}")[:NAME_LENGTH]
    key = f"{owner.folder}/{name[:2]}/{name[2:]}.{EXTENSIONS[content_type]}"
    shelf = Shelf(owner)
    _known = shelf.config  # read before the connection is given back
    connection_pool.give_back()
    taken_before = isinstance(source, Path) and not source.exists()  # this is a repeat, and it lies here
    size_bytes = len(source) if isinstance(source, bytes) else (path_of(key) if taken_before else source).stat().st_size
    place = HERE if taken_before else _put(source, key, shelf, content_type)
    stored = Stored(key, driver_of(place).address(key), content_type, size_bytes)
    about = {"content_type": content_type, "url": stored.address} | place_columns(place, is_at_home=is_home(place, shelf))
    if owner.tenant_id:
        services.record(tenant_id=owner.tenant_id, size_bytes=size_bytes, object_key=key, **about)
    else:
        StoredObject.objects.update_or_create(
            user_id=owner.user_id, object_key=key, defaults=about | {"size_bytes": size_bytes, "released_at": None}
        )
    if place != HERE:
        path_of(key).unlink(missing_ok=True)
        if isinstance(source, Path):
            source.unlink(missing_ok=True)
    return stored


def _put(source: bytes | Path, key: str, shelf: Shelf, content_type: str) -> Place:
    """Where it lies now: at home, or here, where home does not take it."""
    try:
        home = shelf.home
        driver_of(home).put(key, source, content_type=content_type)
        return home
    except (BucketProblem, SecretUnreadable) as error:
        logger.error("bucket_refused", folder=shelf.owner.folder, reason=error.details.get("reason", error.code))
    driver_of(HERE).put(key, source, content_type=content_type)
    return HERE


def is_home(place: Place, shelf: Shelf) -> bool:
    """Whether what lies in `place` may stay there."""
    try:
        return place == shelf.home
    except SecretUnreadable:
        return False


def place_columns(place: Place, *, is_at_home: bool = True) -> dict[str, Any]:
    """The columns of a stored object that say where it lies."""
    return {
        "driver": place.driver,
        "bucket": place.bucket,
        "is_own": not place.is_operators,
        "waiting_since": None if is_at_home else timezone.now(),
    }


def remove(object_key: str, *, owner: Owner) -> None:
    """Deletes a file and stops counting it. A second time nothing changes.

    Raises:
        BucketProblem, SecretUnreadable: its bucket did not delete it; it is still counted.
    """
    stored = find(object_key, owner)
    if stored is not None and stored.released_at is None:
        driver = Shelf(owner).driver(stored)
        connection_pool.give_back()
        if driver is not None:
            driver.delete(object_key)
        else:
            logger.warning("bucket_forgotten", folder=owner.folder, bucket=stored.bucket)
    path_of(object_key).unlink(missing_ok=True)
    if owner.tenant_id:
        services.release(tenant_id=owner.tenant_id, object_key=object_key)
    else:
        rows(owner).filter(object_key=object_key, released_at=None).update(released_at=timezone.now(), waiting_since=None)


# --- reading -------------------------------------------------------------------------------------------------------


def rows(owner: Owner) -> Any:
    return StoredObject.objects.filter(**owner.columns)


def find(object_key: str, owner: Owner) -> StoredObject | None:
    found: StoredObject | None = rows(owner).filter(object_key=object_key).first()
    return found


def urls(object_keys: Collection[str], *, owner: Owner) -> dict[str, str]:
    """Addresses that open these objects without a key: signed anew where they are private, so never to be kept."""
    shelf = Shelf(owner)
    found = {stored.object_key: stored for stored in rows(owner).filter(object_key__in=object_keys)} if object_keys else {}
    return {key: _url(key, found.get(key), shelf) for key in object_keys}


def url_of(stored: StoredObject) -> str:
    """The same for one row."""
    return _url(str(stored.object_key), stored, Shelf(Owner.of(stored)))


def _url(key: str, stored: StoredObject | None, shelf: Shelf) -> str:
    if stored is None:
        return driver_of(HERE).address(key)
    try:
        driver = shelf.driver(stored)
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
        connection_pool.give_back()
        with tempfile.TemporaryDirectory(dir=incoming()) as directory:
            piece = Path(directory) / "piece"
            for start in range(first, last + 1, PIECE_BYTES):
                self.driver.get(str(self.stored.object_key), piece, part=(start, min(last, start + PIECE_BYTES - 1)))
                yield piece.read_bytes()


def open_object(object_key: str, *, owner: Owner) -> Path | Remote:
    """The file, where it lies here; else what reads it from its bucket.

    Raises:
        NotFound: it is nowhere. BucketProblem, SecretUnreadable: its bucket cannot be used.
    """
    stored = find(object_key, owner)
    driver = Shelf(owner).driver(stored) if stored is not None and stored.released_at is None else None
    if stored is not None and driver is not None and driver.name != HERE.driver:
        return Remote(stored, driver)
    path = path_of(object_key)
    if not path.is_file():
        raise NotFound
    return path


def read(object_key: str, *, owner: Owner) -> bytes:
    """All of it.

    Raises:
        as `open_object`.
    """
    found = open_object(object_key, owner=owner)
    return found.read_bytes() if isinstance(found, Path) else b"".join(found.part(0, found.stored.size_bytes))
