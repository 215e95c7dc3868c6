"""No folder holds more modules side by side than one can see at a glance: what grows further gets rooms by noun."""

from collections import Counter
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
PACKAGES = ("aiservices", "benchmarks", "billing", "gateway_client", "storage", "tenants", "waule")
MAX_MODULES = 14  # beside `__init__.py`
DJANGOS_OWN = ("migrations", "management/commands")  # one file each, by Django's rule


def test_no_folder_holds_too_many_modules() -> None:
    folders = Counter(
        path.parent.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__init__.py"
    )
    assert set(PACKAGES) <= {folder.partition("/")[0] for folder in folders}
    crowded = {name: count for name, count in folders.items() if count > MAX_MODULES and not name.endswith(DJANGOS_OWN)}
    assert not crowded
