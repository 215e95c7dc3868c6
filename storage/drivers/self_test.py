"""Does a place work? Everything that waule does there, done once with a small file."""

import secrets
import tempfile
from pathlib import Path

from storage.drivers.base import Driver
from storage.errors import BucketProblem

CONTENT = b"waule was here"


def self_test(driver: Driver, folder: str) -> None:
    """Write, find, read and delete a small file below `folder` of the backend.

    Raises:
        BucketProblem: the first thing that does not work, and why.
    """
    key = f"{folder}/self-test-{secrets.token_hex(8)}.txt"
    driver.put(key, CONTENT, content_type="text/plain")
    try:
        if driver.keys(key) != [key] or not driver.exists(key):
            raise BucketProblem("not_kept")
        with tempfile.TemporaryDirectory() as directory:
            copy = Path(directory) / "copy"
            driver.get(key, copy)
            if copy.read_bytes() != CONTENT:
                raise BucketProblem("not_kept")
    finally:
        driver.delete(key)
    if driver.exists(key):
        raise BucketProblem("denied")
