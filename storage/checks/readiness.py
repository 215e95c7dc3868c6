"""Whether results could be stored now: asked before a provider is, so that nothing is made that cannot be kept.

The disk under MEDIA_ROOT is asked each time: results come through it wherever they go. The platform's bucket is asked at
most every few seconds. A tenant's own bucket is not: what that does not take waits here (docs/adr/0008).
"""

import secrets
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TimedOut

import structlog

from storage.backends import LOCAL_BACKEND, platform_backend
from storage.drivers import Backend, driver_of
from storage.drivers.local import disk_problem, incoming
from storage.errors import BucketProblem
from waule.core.db import connection_pool
from waule.core.errors import StorageUnavailable

IMAGE_BYTES = 8 << 20  # what one result is reckoned to take
VIDEO_BYTES = 64 << 20
MAX_SHARE = 20  # but never more than this part of the whole disk: small disks are for small results
READY_SECONDS, AWAY_SECONDS = 15.0, 3.0  # for so long an answer of the bucket is believed
PROBE_FOLDER = "probes"
PROBE = b"waule was here"
logger = structlog.get_logger(__name__)


def check_ready(*, images: int = 0, videos: int = 0, needs_platform: bool = True) -> None:
    """Whether so many results could be stored. `needs_platform`: they go to the platform's backend.

    Raises:
        StorageUnavailable: `details.reason` says why.
    """
    problem = disk_state(images * IMAGE_BYTES + videos * VIDEO_BYTES)
    if problem is None and needs_platform and (backend := platform_backend()) != LOCAL_BACKEND:
        problem = _bucket.state(backend)
    if problem is not None:
        logger.error("storage_unavailable", reason=problem.reason)
        raise StorageUnavailable(reason=problem.reason)


def disk_state(needed_bytes: int = 0) -> BucketProblem | None:
    """Return what is wrong with the disk under MEDIA_ROOT, where there should be room for `needed_bytes`."""
    try:
        folder = incoming()
        disk = shutil.disk_usage(folder)
        if disk.free < min(max(needed_bytes, IMAGE_BYTES), disk.total // MAX_SHARE):
            return BucketProblem("disk_full")
        probe = folder / f"probe-{secrets.token_hex(8)}"
        try:
            probe.write_bytes(PROBE)
        finally:
            probe.unlink(missing_ok=True)
    except BucketProblem as problem:
        return problem
    except OSError as error:
        return disk_problem(error)
    return None


def platform_state(seconds: float) -> BucketProblem | None:
    """Return what is wrong with where the platform's results go; what was last known where the bucket takes longer to say."""
    if (problem := disk_state()) is not None or (backend := platform_backend()) == LOCAL_BACKEND:
        return problem
    asking = ThreadPoolExecutor(1, thread_name_prefix="storage-state")
    try:
        return asking.submit(_bucket.state, backend).result(seconds)
    except TimedOut:
        return _bucket.last_known(backend)
    finally:
        asking.shutdown(wait=False)


def note_failure(backend: Backend) -> None:
    """A bucket has just failed: the next order asks it again."""
    _bucket.forget(backend)


class _Bucket:
    """What this process knows of the platform's bucket; one thread asks, the others wait for its answer."""

    def __init__(self) -> None:
        self._asking = threading.Lock()
        self._known: dict[Backend, tuple[float, BucketProblem | None]] = {}

    def state(self, backend: Backend) -> BucketProblem | None:
        if not self._is_fresh(backend):
            connection_pool.release_connection()
            with self._asking:
                if not self._is_fresh(backend):
                    problem = _ask(backend)
                    self._known = {backend: (time.monotonic(), problem)}
        return self.last_known(backend)

    def last_known(self, backend: Backend) -> BucketProblem | None:
        return self._known.get(backend, (0.0, None))[1]

    def forget(self, backend: Backend) -> None:
        self._known.pop(backend, None)

    def _is_fresh(self, backend: Backend) -> bool:
        at, problem = self._known.get(backend, (float("-inf"), None))
        return time.monotonic() - at < (AWAY_SECONDS if problem else READY_SECONDS)


_bucket = _Bucket()


def _ask(backend: Backend) -> BucketProblem | None:
    """Write and delete a few bytes: a bucket that is full or may not be written still lists."""
    key = f"{PROBE_FOLDER}/ready-{secrets.token_hex(8)}.txt"
    try:
        driver = driver_of(backend)
        driver.put(key, PROBE, content_type="text/plain")
        driver.delete(key)
    except BucketProblem as problem:
        return problem
    return None
