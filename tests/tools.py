"""Programs that some tests run. Where CI or TEST_TOOLS is set, one that is missing is an error; elsewhere the test is skipped."""

import os
import shutil
from typing import NoReturn

import pytest

ARE_REQUIRED = bool(os.environ.get("CI") or os.environ.get("TEST_TOOLS"))


def program(name: str, *, package: str) -> str:
    """Where the program is; `package` is what apt-get installs it from."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    return path or missing(f"{name} is not installed: apt-get install {package}")


def missing(what: str) -> NoReturn:
    """End the test, for want of a tool."""
    if ARE_REQUIRED:
        pytest.fail(f"{what} (scripts/test installs it)")
    pytest.skip(what)
