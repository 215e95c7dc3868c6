"""The migrated database that tests copy: made once for each state of the migrations, and kept."""

import contextlib
import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.settings import PROJECT

KEPT_SECONDS = 14 * 24 * 3600
DIRECTORY = Path(tempfile.gettempdir()) / f"waule-test-templates-{os.getuid()}"
PREFIX = "waule_template_"


def name() -> str:
    """Differs wherever migrating might: by the migrations, what they import, and the installed packages."""
    files = [*PROJECT.glob("**/migrations/*.py"), *(PROJECT / "waule" / "core").glob("**/*.py"), PROJECT / "requirements.txt"]
    of_the_project = sorted(file for file in files if ".venv" not in file.parts)
    content = hashlib.sha256(b"\0".join(file.read_bytes() for file in of_the_project))
    return PREFIX + content.hexdigest()[:16]


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """One process of this machine at a time."""
    DIRECTORY.mkdir(mode=0o700, exist_ok=True)
    with (DIRECTORY / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def sqlite_file(migrate: Callable[[str], None]) -> Path:
    """`migrate` is given the URL of the file to make."""
    made = DIRECTORY / f"{name()}.sqlite3"
    with locked():
        if not made.exists():
            draft = made.with_suffix(".draft")
            draft.unlink(missing_ok=True)
            migrate(f"sqlite:///{draft}")
            draft.replace(made)
        made.touch()
        for each in DIRECTORY.glob("*.sqlite3"):
            if time.time() - each.stat().st_mtime > KEPT_SECONDS:
                each.unlink()
    return made
