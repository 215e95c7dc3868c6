"""What the answers that are asked for most take: Python calls and SQL statements, which grow by accident and not by load."""

import json
import subprocess
import sys
from typing import Any

import pytest
from django.db import connection  # noqa: F401  (the condition below reads it)

from tests.live import process_environment
from tests.settings import PROJECT

# About a tenth above what was counted when they were written down; lower them when less is needed.
LIMITS = {
    "healthz": (265, 0),
    "by-apikey": (630, 1),
    "balance": (520, 1),
    "charge": (740, 1),
    "hold and capture": (1220, 2),
    "batch of one": (990, 1),
    "storage record": (610, 1),
    "models": (1000, 2),
    "lease and report": (1400, 2),
    "image": (5550, 8),
}


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has the long way alone")
def test_no_answer_takes_more_than_it_did(cloned_db: Any) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.calls"],
        cwd=PROJECT,
        env=process_environment(DATABASE_URL=cloned_db.url, LOG_LEVEL="ERROR"),
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    found = {name: (counts["calls"], counts["statements"]) for name, counts in json.loads(ran.stdout.splitlines()[-1]).items()}
    more = {name: counts for name, counts in found.items() if counts[0] > LIMITS[name][0] or counts[1] > LIMITS[name][1]}
    assert not more, f"more calls or statements than {LIMITS}"
    assert found.keys() == LIMITS.keys()
