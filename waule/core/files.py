"""Files and folders that their owner alone may read."""

import contextlib
import os
import stat
from pathlib import Path
from typing import Any

PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def make_private_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing, each for its owner alone. Raises OSError."""
    if folder.is_dir():
        return
    missing = [folder, *folder.parents]
    for each in reversed([path for path in missing if not path.exists()]):
        with contextlib.suppress(FileExistsError):  # another process was quicker
            each.mkdir(mode=PRIVATE_FOLDER)
    if not folder.is_dir():
        raise NotADirectoryError(folder)


def open_private(path: str, flags: int) -> int:
    """Be `open`'s opener for a new file that is its owner's alone from the start."""
    return os.open(path, flags, PRIVATE_FILE)


def make_private(path: Path) -> None:
    """Take from others what they may do with a file of ours; one that is not there, or not ours, stays as it is."""
    with contextlib.suppress(FileNotFoundError, PermissionError):
        found = path.stat()
        if found.st_mode & _OTHERS and found.st_uid == os.geteuid():
            path.chmod(stat.S_IMODE(found.st_mode) & ~_OTHERS)


def make_database_private(sender: Any, connection: Any, **kwargs: Any) -> None:
    """For each new connection: the files of an SQLite database hold everything there is to know."""
    name = str(connection.settings_dict["NAME"])
    if connection.vendor == "sqlite" and not name.startswith(("file:", ":memory:")):
        for end in ("", "-wal", "-shm", "-journal"):
            make_private(Path(name + end))
