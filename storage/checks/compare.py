"""Our rows against what really lies in a backend: both are read in the order of the keys, so memory stays flat."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from django.db import connection
from django.db.models import Q, QuerySet
from django.db.models.functions import Collate

from storage.backends import OwnerStorage, folder_of, platform_backend
from storage.drivers import Backend, driver_of
from storage.drivers.base import Listed
from storage.models import OssConfig, StoredObject
from tenants.principal import Principal
from waule.core.ids import parse_uuid

MAX_TOLD = 1000  # differences named; the count of all is given
CHUNK_ROWS = 2000
FOLDERS = ("tenants/", "users/")  # in the order of their bytes
Progress = Callable[[int, int], None]


@dataclass
class Comparison:
    """What was found. `missing` are rows without an object, `orphans` objects without a row.

    `unchecked` are rows that callers recorded under keys outside of our folders, which are not listed.
    """

    objects: int = 0
    size_bytes: int = 0
    missing: int = 0
    orphans: int = 0
    different: int = 0
    unchecked: int = 0
    problems: list[dict[str, Any]] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not (self.missing or self.orphans or self.different)

    def as_json(self) -> dict[str, Any]:
        return {"ok": self.ok, "bytes": self.size_bytes} | {
            name: getattr(self, name) for name in ("objects", "missing", "orphans", "different", "unchecked", "problems")
        }


def compare(owner: Principal | None, *, progress: Progress = lambda done, total: None) -> Comparison:
    """Return the owner's rows and objects in its current backend; without an owner, everybody's in the platform's.

    Raises:
        BucketProblem, SecretUnreadable: the backend cannot be listed.
    """
    backend = OwnerStorage(owner).current if owner is not None else platform_backend()
    folders = (f"{folder_of(owner)}/",) if owner is not None else FOLDERS
    rows = rows_in(backend, owner)
    inside = Q()
    for folder in folders:
        inside |= Q(object_key__startswith=folder)
    found = Comparison(unchecked=rows.exclude(inside).count())
    total = rows.filter(inside).count()
    driver = driver_of(backend)

    def note(what: str, key: str, row_bytes: int | None, object_bytes: int | None) -> None:
        if len(found.problems) < MAX_TOLD:
            if (what == "missing" and (driver.exists(key) or not _row_exists(key))) or (what == "orphan" and _row_exists(key)):
                return  # stored or deleted while we looked
            found.problems.append({"key": key, "what": what, "rowBytes": row_bytes, "objectBytes": object_bytes})
        counted = {"missing": "missing", "orphan": "orphans", "size": "different"}[what]
        setattr(found, counted, getattr(found, counted) + 1)

    ours, theirs = _in_order(rows.filter(inside)), (each for folder in folders for each in driver.listing(folder))
    row, there, done = next(ours, None), next(theirs, None), 0
    while row is not None or there is not None:
        if there is None or (row is not None and row.key.encode() < there.key.encode()):
            assert row is not None
            note("missing", row.key, row.size_bytes, None)
            row, done = next(ours, None), done + 1
        elif row is None or there.key.encode() < row.key.encode():
            note("orphan", there.key, None, there.size_bytes)
            found.objects, found.size_bytes = found.objects + 1, found.size_bytes + there.size_bytes
            there = next(theirs, None)
        else:
            if row.size_bytes != there.size_bytes:
                note("size", row.key, row.size_bytes, there.size_bytes)
            row, done = next(ours, None), done + 1
            if row is None or row.key != there.key:  # two tenants may have recorded one object
                found.objects, found.size_bytes = found.objects + 1, found.size_bytes + there.size_bytes
                there = next(theirs, None)
        if done % CHUNK_ROWS == 0:
            progress(done, total)
    progress(total, total)
    return found


def rows_in(backend: Backend, owner: Principal | None) -> "QuerySet[StoredObject]":
    """Return the rows that say they lie in `backend`, and those of callers, who were told to put things there."""
    rows = StoredObject.objects.filter(released_at=None, object_key__isnull=False)
    lies = Q(driver=backend.driver, bucket=backend.bucket, is_own=not backend.is_operators)
    if owner is not None:
        return rows.filter(lies | Q(driver=""), **owner.columns)
    has_own = OssConfig.objects.filter(mode=OssConfig.Mode.CUSTOM).values("tenant_id")
    return rows.filter(lies | (Q(driver="") & ~Q(tenant_id__in=has_own)))


def _in_order(rows: "QuerySet[StoredObject]") -> Iterator[Listed]:
    """Keys and sizes, in the order in which buckets list: that of bytes."""
    by_bytes = Collate("object_key", "C" if connection.vendor == "postgresql" else "BINARY")
    ordered = rows.annotate(by_bytes=by_bytes).order_by("by_bytes", "id").values_list("object_key", "size_bytes", "id")
    left = ordered
    while chunk := list(left[:CHUNK_ROWS]):  # a query of its own each: a cursor of the server's would need a session
        yield from (Listed(str(key), size_bytes) for key, size_bytes, _id in chunk)
        key, _size, pk = chunk[-1]
        left = ordered.filter(Q(by_bytes__gt=key) | Q(by_bytes=key, id__gt=pk))


def _row_exists(key: str) -> bool:
    kind, _slash, rest = key.partition("/")
    owner_id = parse_uuid(rest.partition("/")[0])
    column = {"tenants": "tenant_id", "users": "user_id"}[kind]
    return owner_id is not None and StoredObject.objects.filter(**{column: owner_id}, object_key=key, released_at=None).exists()
