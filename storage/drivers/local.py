"""Files under MEDIA_ROOT, which waule (or a web server in front of it) serves."""

import contextlib
import errno
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

from storage.drivers.base import MAX_LISTED, Driver, Listed
from storage.errors import BucketProblem
from waule.core.files import PRIVATE_FILE, make_private_folder, open_private

INCOMING = ".incoming"  # unfinished files; never served
UNFINISHED_SECONDS = 24 * 3600  # no job takes so long: who was writing has died


class LocalDriver(Driver):
    name = "local"

    def put(self, key: str, source: bytes | Path, *, content_type: str) -> None:
        """Write the file whole or not at all, and leave the source where it was then. Its name tells its type."""
        target = path_of(key)
        draft: Path | None = None
        try:
            make_private_folder(target.parent)
            draft = incoming() / secrets.token_hex(16)
            if isinstance(source, Path):
                shutil.move(source, draft)
                draft.chmod(PRIVATE_FILE)
            with open(draft, "ab", opener=open_private) as file:
                if isinstance(source, bytes):
                    file.write(source)
                    file.flush()
                os.fsync(file.fileno())
            draft.replace(target)
        except BaseException as error:
            if draft is not None:
                _undo(draft, source)
            if isinstance(error, OSError):
                raise disk_problem(error) from error
            raise

    def get(self, key: str, target: Path, *, part: tuple[int, int] | None = None) -> None:
        try:
            if part is None:
                shutil.copyfile(path_of(key), target)
                return
            with path_of(key).open("rb") as file:
                file.seek(part[0])
                target.write_bytes(file.read(part[1] - part[0] + 1))
        except FileNotFoundError:
            raise BucketProblem("key") from None
        except OSError as error:
            raise disk_problem(error) from error

    def delete(self, key: str) -> None:
        try:
            path_of(key).unlink(missing_ok=True)
        except OSError as error:
            raise disk_problem(error) from error

    def exists(self, key: str) -> bool:
        return path_of(key).is_file()

    def listing(self, prefix: str, *, page: int = MAX_LISTED) -> Iterator[Listed]:
        yield from _walk(Path(settings.MEDIA_ROOT), "", prefix)

    def url(self, key: str, *, seconds: int) -> str:
        return f"{settings.PUBLIC_URL}{settings.MEDIA_URL}{key}"


def disk_problem(error: OSError) -> BucketProblem:
    """Return what a failure of the disk means."""
    return BucketProblem("disk_full" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else "disk")


def _undo(draft: Path, source: bytes | Path) -> None:
    """What was moved goes back, what was written goes."""
    with contextlib.suppress(OSError):
        if isinstance(source, Path) and draft.exists() and not source.exists():
            shutil.move(draft, source)
        else:
            draft.unlink(missing_ok=True)


def path_of(key: str) -> Path:
    """Where a key lies. Keys are ours: a hash below the owner's folder."""
    return Path(settings.MEDIA_ROOT) / key


def incoming() -> Path:
    """Where files lie before they are whole: on the same disk, and served to nobody.

    Raises:
        BucketProblem: the folder cannot be made.
    """
    folder = Path(settings.MEDIA_ROOT) / INCOMING
    try:
        make_private_folder(folder)
    except OSError as error:
        raise disk_problem(error) from error
    return folder


def sweep_incoming() -> int:
    """Delete what was never finished because its process died; how many there were."""
    oldest, count = time.time() - UNFINISHED_SECONDS, 0
    for path in incoming().iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was finished meanwhile
            if path.stat().st_mtime < oldest:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
                count += 1
    return count


def _walk(folder: Path, above: str, prefix: str) -> Iterator[Listed]:
    """Yield what lies in `folder`, whose keys begin with `above`. Folders are sorted by their key with its slash, as whole
    keys are.
    """
    try:
        with os.scandir(folder) as found:
            entries = sorted(((above + each.name + "/" * each.is_dir(follow_symlinks=False), each) for each in found), key=_bytes)
    except (FileNotFoundError, NotADirectoryError):
        return
    for key, entry in entries:
        if key.endswith("/"):
            if not key.startswith(INCOMING) and (key.startswith(prefix) or prefix.startswith(key)):
                yield from _walk(Path(entry.path), key, prefix)
        elif key.startswith(prefix):
            yield Listed(key, entry.stat().st_size)


def _bytes(entry: tuple[str, os.DirEntry[str]]) -> bytes:
    return os.fsencode(entry[0])
