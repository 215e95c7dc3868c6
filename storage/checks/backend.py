"""Whether a storage backend works, with the reason where it does not; for the command, the API and the admin."""

import time
from dataclasses import dataclass
from typing import Any

from storage.backends import OwnerStorage, folder_of, platform_backend
from storage.drivers import Backend, driver_of
from storage.drivers.local import disk_problem
from storage.drivers.self_test import self_test
from storage.errors import BucketProblem
from tenants.principal import Principal
from waule.core.db import connection_pool

PROBED_FOLDER = "probes"  # of the platform's place


@dataclass(frozen=True)
class Checked:
    """How a place did. `reason` is one of `BucketProblem.REASONS`, "" where all is well; `message` says it in a sentence.

    `clock_skew_seconds`: how far the service's clock is ahead of ours; None where it has none, or did not answer.
    """

    backend: Backend
    reason: str
    message: str
    elapsed_ms: int
    clock_skew_seconds: int | None

    @property
    def ok(self) -> bool:
        return not self.reason

    def as_json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "driver": self.backend.driver,
            "region": self.backend.region or None,
            "bucket": self.backend.bucket or None,
            "endpoint": self.backend.endpoint or None,
            "reason": self.reason or None,
            "message": self.message,
            "elapsedMs": self.elapsed_ms,
            "clockSkewSeconds": self.clock_skew_seconds,
        }


def check(backend: Backend, folder: str = PROBED_FOLDER) -> Checked:
    """Write, list, read and delete a small file below `folder`."""
    connection_pool.release_connection()
    started = time.monotonic()
    reason = message = ""
    skew: int | None = None
    try:
        driver = driver_of(backend)
        try:
            self_test(driver, folder)
        finally:
            skew = driver.clock_skew_seconds
    except OSError as error:  # of this machine's own disk
        problem = disk_problem(error)
        reason, message = problem.reason, str(problem)
    except BucketProblem as problem:
        setting = problem.details.get("setting")
        reason, message = problem.reason, f"{problem} ({setting})" if setting else str(problem)
    return Checked(backend, reason, message, round((time.monotonic() - started) * 1000), skew)


def check_owner(owner: Principal | None) -> Checked:
    """Where the owner's new files go; without an owner, the platform's backend.

    Raises:
        SecretUnreadable.
    """
    return check(OwnerStorage(owner).current, folder_of(owner)) if owner is not None else check(platform_backend())
