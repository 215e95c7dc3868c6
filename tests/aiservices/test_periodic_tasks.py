"""Periodic tasks: each when it is due, by one worker of many."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from aiservices import periodic_tasks
from aiservices.monitoring.models import PeriodicTask
from aiservices.periodic_tasks import Task, do_due
from billing.catalog.usage import UsageRequest
from billing.ledger.models import Account, Hold
from billing.services import hold
from tenants.models import Tenant
from tenants.principal import Principal
from tests.catalog import priced_model
from tests.live import LiveWaule
from tests.waiting import eventually
from waule.core.errors import Unavailable


def task(name: str, do: Callable[[], object], seconds: float = 60) -> Task:
    return Task(name, lambda: seconds, do)


def test_a_chore_rests_between_two_times(db: None) -> None:
    done: list[int] = []
    tasks = [task("count", lambda: done.append(1))]
    assert [do_due(tasks) for _time in range(3)] == [["count"], [], []]
    PeriodicTask.objects.update(next_at=timezone.now() - timedelta(seconds=1))
    assert do_due(tasks) == ["count"]
    assert len(done) == 2


def test_many_workers_do_it_once(cloned_db: Any) -> None:
    done: list[int] = []
    tasks = [task(f"chore-{number}", lambda number=number: done.append(number)) for number in range(10)]  # type: ignore[misc]
    ready = threading.Barrier(6)

    def look(_worker: int) -> None:
        try:
            ready.wait()
            for _time in range(3):
                do_due(tasks)
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as workers:
        list(workers.map(look, range(6)))
    assert sorted(done) == list(range(10))


@pytest.mark.parametrize("error", [Unavailable(), ValueError("what nobody foresaw")], ids=["foreseen", "not foreseen"])
def test_one_that_fails_stops_no_other_and_is_tried_again(db: None, error: Exception) -> None:
    def fail() -> None:
        raise error

    tasks = [task("fails", fail), task("works", list)]
    assert do_due(tasks) == ["fails", "works"]
    PeriodicTask.objects.update(next_at=timezone.now() - timedelta(seconds=1))
    assert do_due(tasks) == ["fails", "works"]


def test_a_clock_that_was_put_back_stops_nothing(db: None) -> None:
    tasks = [task("count", list)]
    do_due(tasks)
    PeriodicTask.objects.update(next_at=timezone.now() + timedelta(days=30))
    assert do_due(tasks) == ["count"]


def test_holds_past_their_time_are_ended(acme: Tenant) -> None:
    priced_model("flash", base=7)
    made = hold(target=Principal("tenant", str(acme.id)), use=UsageRequest(model="flash"), actor="test").hold
    Hold.objects.filter(id=made.id).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert "expire_holds" in do_due(periodic_tasks.IN_DATABASE)
    assert (Hold.objects.get().state, Account.objects.get(tenant=acme, mode="live").held) == ("expired", 0)


def test_every_periodic_task_works(db: None) -> None:
    for tasks in (periodic_tasks.IN_DATABASE, periodic_tasks.DAILY_STATS):
        assert set(do_due(tasks)) == {task.name for task in tasks}


def test_a_worker_runs_them_and_ends_when_it_is_told(live_waule: LiveWaule) -> None:
    worker = live_waule.run("worker")
    names = {task.name for task in (*periodic_tasks.IN_DATABASE, *periodic_tasks.DAILY_STATS, *periodic_tasks.AT_SERVICES)}
    eventually(lambda: set(PeriodicTask.objects.values_list("name", flat=True)) >= names)
    assert worker.stop() == 0
    assert "worker_stopped" in worker.log
