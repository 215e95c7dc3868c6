"""Where the processes of a machine count together for Prometheus. Standard library only: it comes before everything else.

Servers and workers of one installation on one machine share a directory, so that whichever is asked answers the sums of all.
prometheus_client reads the variable when it is loaded, so `share` is called first.
"""

import contextlib
import hashlib
import os
import re
import tempfile
from pathlib import Path

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
MAX_FILES_OF_THE_DEAD = 200  # their sums count on; beyond this they are forgotten, which Prometheus takes for a restart
_FILE = re.compile(r"[a-z_]+_(\d+)\.db")


def share() -> None:
    """Let this process and its children count together with the others. What is left of an earlier run is deleted."""
    path = Path(os.environ.get(VARIABLE) or _default())
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.environ[VARIABLE] = str(path)
    files = [(file, int(found[1])) for file in path.glob("*.db") if (found := _FILE.fullmatch(file.name))]
    dead = [file for file, pid in files if not _lives(pid)]
    if len(dead) == len(files) or len(dead) > MAX_FILES_OF_THE_DEAD:
        for file in dead:
            with contextlib.suppress(FileNotFoundError):
                file.unlink()


def _default() -> Path:
    of = "|".join((str(Path(__file__).resolve()), os.environ.get("WAULE_ENV_FILE", ""), os.environ.get("DATABASE_URL", "")))
    return Path(tempfile.gettempdir()) / f"waule-metrics-{os.getuid()}-{hashlib.sha256(of.encode()).hexdigest()[:12]}"


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
