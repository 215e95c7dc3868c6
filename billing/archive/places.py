"""Where an archived month's file lies: in LEDGER_ARCHIVE_DIR, in the platform's bucket, or where only its operator knows."""

import importlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import structlog
from django.conf import settings

from billing.archive.files import Line, Reader, sha256_of, sync_folder
from billing.ledger.closings import LedgerArchive, LedgerArchiveCopy, signature_problem
from billing.ledger.models import LedgerEntry
from billing.ledger.posting import database_now
from tenants import audit
from waule.core.db.transactions import durable
from waule.core.errors import InvalidState, WauleError
from waule.core.files import make_private_folder

MAX_FETCHED_BYTES = 256 << 20  # of one file that a reader of a statement waits for
URL_SECONDS = 60
logger = structlog.get_logger(__name__)


def bucket() -> Any:
    """Return the platform's bucket, which belongs to a room beside this one."""
    return importlib.import_module(settings.LEDGER_ARCHIVE_BUCKET)


# --- on this machine -----------------------------------------------------------------------------------------------


def here(archive: LedgerArchive) -> Path | None:
    """Return the file in LEDGER_ARCHIVE_DIR, where it lies there and is the one that was signed."""
    if not settings.LEDGER_ARCHIVE_DIR:
        return None
    path = Path(settings.LEDGER_ARCHIVE_DIR) / archive.file
    try:
        found = path.stat()
        is_it = found.st_size == archive.size_bytes and _hash_of(str(path), found.st_mtime_ns, found.st_ino) == archive.sha256
    except OSError:
        return None
    return path if is_it else None


@lru_cache(maxsize=256)
def _hash_of(path: str, _changed_ns: int, _inode: int) -> str:
    """Computed once for each file that lies there, until it is written to."""
    return sha256_of(Path(path))


def at_hand(archive: LedgerArchive) -> Path | None:
    """Return the file, for reading its entries now; fetched from the bucket into LEDGER_ARCHIVE_DIR where it lies there alone.

    None: it is not here, too large to wait for, or not what was signed.
    """
    if signature_problem(archive):
        return None
    if (path := here(archive)) is not None:
        return path
    copy = copy_of(archive)
    if copy is None or not settings.LEDGER_ARCHIVE_DIR or archive.size_bytes > MAX_FETCHED_BYTES:
        return None
    try:
        return _fetch(archive, copy)
    except (WauleError, OSError) as error:
        logger.warning("archive_not_fetched", month=archive.month, error=str(error))
        return None


def _fetch(archive: LedgerArchive, copy: LedgerArchiveCopy) -> Path | None:
    folder = Path(settings.LEDGER_ARCHIVE_DIR)
    make_private_folder(folder)
    descriptor, name = tempfile.mkstemp(dir=folder, prefix=f"{archive.file}.", suffix=".part")
    os.close(descriptor)
    part = Path(name)
    try:
        bucket().get(copy.object_key, part)
        if sha256_of(part) != archive.sha256:
            logger.error("archive_changed_in_bucket", month=archive.month)
            return None
        part.replace(folder / archive.file)
        sync_folder(folder)
    finally:
        part.unlink(missing_ok=True)
    return folder / archive.file


def entries_of(path: Path, account_id: int, stored: Iterable[LedgerEntry]) -> Iterator[LedgerEntry]:
    """Yield the month's entries of one account in order: those that stayed as the ledger has them (`stored`), the others by the
    file.

    Raises:
        BrokenArchive.
    """
    waiting = iter(stored)
    kept = next(waiting, None)
    for line in Reader(path).lines_of(account_id):
        if kept is not None and kept.seq == line.seq:
            yield kept
            kept = next(waiting, None)
        elif line.texts is not None:
            yield _entry(account_id, line, *line.texts)


def _entry(account_id: int, line: Line, description: str, actor: str) -> LedgerEntry:
    return LedgerEntry(
        id=line.id,
        account_id=account_id,
        seq=line.seq,
        kind=line.kind,
        amount=line.amount,
        balance=line.balance,
        charge_id=line.charge_id,
        created_at=line.at,
        hash=line.hash,
        description=description,
        actor=actor,
    )


# --- in the bucket -------------------------------------------------------------------------------------------------


def copy_of(archive: LedgerArchive) -> LedgerArchiveCopy | None:
    """Return its copy in the bucket of the settings."""
    name = bucket().name()
    return next((copy for copy in archive.copies.all() if copy.bucket == name), None) if name else None


def copy_to_bucket(*, directory: Path, actor: str) -> list[str]:
    """Copy every archived month that is not there yet into the platform's bucket, and reads each back. Their names.

    Raises:
        InvalidState: there is no bucket for it; a file is not in the directory, or changed on its way. BucketProblem.
    """
    copied = []
    for archive in LedgerArchive.objects.prefetch_related("copies").order_by("month"):
        if copy_of(archive) is None:
            _copy(archive, directory / archive.file, actor)
            copied.append(archive.file)
    return copied


def _copy(archive: LedgerArchive, path: Path, actor: str) -> None:
    if not path.is_file() or sha256_of(path) != archive.sha256:
        raise InvalidState(f"{path} is not there, or is not the file that was written.", state="file_missing")
    key = f"ledger/{archive.file}"
    bucket().put(key, path)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        back = Path(folder) / archive.file
        bucket().get(key, back)
        if sha256_of(back) != archive.sha256:
            raise InvalidState(f"The bucket does not give back {archive.file} as it was put there.", state="file_changed")
    _note(archive, key, actor)


@durable
def _note(archive: LedgerArchive, key: str, actor: str) -> None:
    name = bucket().name()
    LedgerArchiveCopy.objects.get_or_create(
        archive=archive, bucket=name, defaults={"object_key": key, "created_at": database_now()}
    )
    audit.record(actor=actor, action="ledger.copy", target=archive, after={"bucket": name, "file": archive.file})
