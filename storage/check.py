"""Whether a place works, told with the reason where it does not; for the command, the API and the admin."""

import time
from dataclasses import dataclass
from typing import Any

from storage.drivers import Place, driver_of
from storage.drivers.self_test import self_test
from storage.errors import BucketProblem
from storage.places import Owner, Shelf, platform
from waule import connection_pool

PROBED_FOLDER = "probes"  # of the platform's place


@dataclass(frozen=True)
class Checked:
    """How a place did. `reason` is one of `BucketProblem.REASONS`, "" where all is well; `message` says it in a sentence.

    `clock_skew_seconds`: how far the service's clock is ahead of ours; None where it has none, or did not answer.
    """

    place: Place
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
            "driver": self.place.driver,
            "region": self.place.region or None,
            "bucket": self.place.bucket or None,
            "endpoint": self.place.endpoint or None,
            "reason": self.reason or None,
            "message": self.message,
            "elapsedMs": self.elapsed_ms,
            "clockSkewSeconds": self.clock_skew_seconds,
        }


def check(place: Place, folder: str = PROBED_FOLDER) -> Checked:
    """Writes, lists, reads and deletes a small file below `folder`."""
    connection_pool.give_back()
    started = time.monotonic()
    reason = message = ""
    skew: int | None = None
    try:
        driver = driver_of(place)
        try:
            self_test(driver, folder)
        finally:
            skew = driver.clock_skew_seconds
    except BucketProblem as problem:
        setting = problem.details.get("setting")
        reason, message = problem.reason, f"{problem} ({setting})" if setting else str(problem)
    return Checked(place, reason, message, round((time.monotonic() - started) * 1000), skew)


def check_owner(owner: Owner | None) -> Checked:
    """Where the owner's new files go; without an owner, the platform's place.

    Raises:
        SecretUnreadable.
    """
    return check(Shelf(owner).home, owner.folder) if owner is not None else check(platform())
