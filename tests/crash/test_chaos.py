"""A minute of the chaos that `scripts/chaos` makes for as long as one likes, and that a seed makes the same of it."""

import itertools

import pytest
from django.db import connection

from tests.chaos import schedule
from tests.chaos.model import Lease, most_at_once
from tests.chaos.run import run
from tests.upstreams.postgres_cluster import find_pg_ctl

SECONDS = 60
SEEDS = {"sqlite": 20, "postgresql": 21}  # the even one with the embedded engine, the odd one with celery


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_model_provider_ledger_and_database_agree_after_a_minute(db: None) -> None:
    on_sqlite = connection.vendor == "sqlite"
    if not on_sqlite and not find_pg_ctl():
        pytest.skip("PostgreSQL's own programs are not installed here")
    done = run(seed=SEEDS[connection.vendor], seconds=SECONDS, callers=3, on_sqlite=on_sqlite)
    print(done)
    assert done["steps"] > 30
    assert done["faults"] > 5
    assert done["entries"] > 30


def drawn(seed: int) -> list[object]:
    steps = [list(itertools.islice(schedule.steps(seed, caller), 200)) for caller in range(2)]
    faults = [list(itertools.islice(schedule.faults(seed, lane, set(names)), 50)) for lane, names in schedule.LANES.items()]
    return [*steps, *faults]


def test_a_seed_is_a_schedule() -> None:
    assert drawn(5) == drawn(5)
    assert drawn(5) != drawn(6)
    first, second = drawn(5)[:2]
    assert first != second  # each caller has steps of its own


def test_every_step_and_every_fault_is_drawn() -> None:
    steps = itertools.islice(schedule.steps(5, 0), 1000)
    assert {step.verb for step in steps} == set(schedule.STEPS)
    for lane, names in schedule.LANES.items():
        assert {fault.name for fault in itertools.islice(schedule.faults(5, lane, set(names)), 1000)} == set(names)


def test_leases_in_hand_at_the_same_moment_are_counted() -> None:
    spans = [(0.0, 4.0), (1.0, 2.0), (2.0, 3.0), (2.5, 5.0)]
    leases = [Lease(str(number), "key", since, until) for number, (since, until) in enumerate(spans)]
    assert most_at_once(leases) == 3
    assert most_at_once(leases[1:3]) == 1  # one ends when the other begins
