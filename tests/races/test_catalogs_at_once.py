"""Catalog files by several processes at once, and by one that is killed: all of a file or nothing of it."""

import json
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from billing.catalog import file as catalog_file
from billing.catalog.models import BillingRule, CatalogVersion
from tests.live import Database, manage

DEMO = Path(catalog_file.__file__).parents[1] / "demo_catalog.yaml"


def test_four_processes_apply_one_file_once(cloned_db: Database) -> None:
    def run(_number: int) -> dict[str, Any]:
        done = manage("apply_catalog", str(DEMO), "--json", DATABASE_URL=cloned_db.url)
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(run, range(4)))
    assert sorted(bool(answer["changes"]) for answer in answers) == [False, False, False, True]
    assert BillingRule.objects.count() == 15
    assert list(CatalogVersion.objects.values_list("number", flat=True)) == [1]


@pytest.mark.parametrize("point", ["catalog.before_commit"])
def test_a_killed_process_leaves_nothing_behind(cloned_db: Database, point: str) -> None:
    version = cloned_db.sql("SELECT version FROM billing_catalogstate")
    killed = manage("apply_catalog", str(DEMO), DATABASE_URL=cloned_db.url, WAULE_TEST_FAIL_POINT=point)
    assert killed.returncode == -signal.SIGKILL
    assert cloned_db.sql("SELECT count(*) FROM billing_billingrule") == [(0,)]
    assert cloned_db.sql("SELECT version FROM billing_catalogstate") == version
    again = manage("apply_catalog", str(DEMO), DATABASE_URL=cloned_db.url)
    assert again.returncode == 0, again.stderr
    assert CatalogVersion.objects.count() == 1


def test_a_failure_is_exit_status_1_and_one_line(cloned_db: Database, tmp_path: Path) -> None:
    file = tmp_path / "catalog.yaml"
    file.write_text(DEMO.read_text().replace("credits: 100", "credits: 0"))
    refused = manage("apply_catalog", str(file), DATABASE_URL=cloned_db.url)
    assert (refused.returncode, refused.stdout) == (1, "")
    (line,) = refused.stderr.splitlines()
    assert re.search(r"rules\[\d+\]\.prices\[\d+\]\.credits: Give a price above 0", line)
    assert cloned_db.sql("SELECT count(*) FROM aiservices_aimodel") == [(0,)]
