"""Each record of a decision has the same form: a number, and Context, Decision and Consequences in this order."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.once

RECORDS = sorted((Path(__file__).parents[2] / "docs" / "adr").glob("*.md"))
PARTS = ["## Context", "## Decision", "## Consequences"]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.stem)
def test_a_record_has_the_form(record: Path) -> None:
    lines = record.read_text().splitlines()
    assert lines[0].startswith(f"# {int(record.name[:4])}. ")
    assert [line for line in lines if line in PARTS] == PARTS


def test_they_are_numbered_without_a_gap() -> None:
    assert [int(record.name[:4]) for record in RECORDS] == list(range(1, len(RECORDS) + 1))
