"""Which job is whose, and for how long: claims, leases and fencing, on rows of our own."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.db.models import Q
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from aiservices.errors import LeaseLost
from aiservices.generations import recovery
from aiservices.generations import services as generations
from aiservices.generations.leases import Heartbeat, change, take_over
from aiservices.generations.models import Generation
from aiservices.generations.queue import jobs
from aiservices.generations.requests import GenerationRequest
from aiservices.generations.services import queue_video
from aiservices.generations.unfinished import recover
from billing.catalog.models import AIModel
from billing.catalog.pricing import read_size
from billing.ledger.models import Account, Charge, Hold
from billing.services import release
from tenants.models import Tenant, User
from tenants.principal import Principal
from tests.books import give
from waule.core import fail_points
from waule.core.errors import Unavailable

State = Generation.State


def queue(owner: Tenant | User, *, prompt: str = "x") -> Generation:
    """A video of one second in 128x128."""
    caller = Principal("tenant" if isinstance(owner, Tenant) else "user", str(owner.pk))
    request = GenerationRequest(
        type=Generation.Type.VIDEO, model="filmer", prompt=prompt, resolution=read_size("128x128"), duration=Decimal(1)
    )
    return queue_video(caller=caller, request=request, idempotency_key=None).generation


def expire(job: Generation) -> None:
    Generation.objects.filter(id=job.id).update(lease_until=timezone.now() - timedelta(seconds=1))


def read(job: Generation) -> Generation:
    return Generation.objects.get(id=job.id)


def figures(owner: Tenant) -> tuple[int, int, int]:
    """Balance, held, charges."""
    account = Account.objects.get(tenant=owner, mode="live")
    return account.balance, account.held, Charge.objects.filter(account=account).count()


def test_many_workers_claim_each_job_once(cloned_db: Any, acme: Tenant, alice: User, filmer: AIModel) -> None:
    made = {queue(owner).id for owner in (acme, alice) for _number in range(15)}

    def claim_all(_worker: int) -> list[Any]:
        mine, rows = [], jobs.Queue()
        try:
            while (job := rows.claim()) is not None:
                mine.append(job.id)
        finally:
            connection.close()
        return mine

    with ThreadPoolExecutor(6) as workers:
        claimed = [job for mine in workers.map(claim_all, range(6)) for job in mine]
    assert sorted(claimed) == sorted(made)
    assert set(Generation.objects.values_list("attempt", "state")) == {(1, "running")}


def test_one_dead_worker_s_job_goes_to_one_other(cloned_db: Any, acme: Tenant, filmer: AIModel) -> None:
    queue(acme)
    job = jobs.Queue().claim()
    assert job is not None
    expire(job)
    ready = threading.Barrier(6)

    def claim(_worker: int) -> bool:
        try:
            ready.wait()
            return jobs.Queue().claim() is not None
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as workers:
        assert sum(workers.map(claim, range(6))) == 1
    assert read(job).attempt == 2


def test_turns_are_taken_owner_by_owner(acme: Tenant, birch: Tenant, alice: User, filmer: AIModel) -> None:
    give(birch, 100)
    for owner in (acme, acme, acme, alice, birch, birch):
        queue(owner)
    rows, order = jobs.Queue(), []
    while (job := rows.claim()) is not None:
        order.append(job.tenant_id or job.user_id)
        Generation.objects.filter(id=job.id).update(state="succeeded", lease_until=None)
    assert order == [acme.id, alice.id, birch.id, acme.id, birch.id, acme.id]


def test_a_higher_priority_goes_first_among_one_owner_s(acme: Tenant, filmer: AIModel) -> None:
    queue(acme)
    urgent = queue(acme)
    Generation.objects.filter(id=urgent.id).update(priority=5)
    job = jobs.Queue().claim()
    assert job is not None
    assert job.id == urgent.id


def test_a_job_waits_for_its_moment(acme: Tenant, filmer: AIModel) -> None:
    job = queue(acme)
    Generation.objects.filter(id=job.id).update(run_after=timezone.now() + timedelta(minutes=1))
    assert jobs.Queue().claim() is None


def test_who_lost_the_lease_writes_nothing(acme: Tenant, filmer: AIModel) -> None:
    queue(acme)
    first = jobs.Queue().claim()
    assert first is not None
    expire(first)
    second = jobs.Queue().claim()
    assert second is not None
    with pytest.raises(LeaseLost):
        change(first, progress=99)
    jobs.run(first)
    assert (read(first).state, figures(acme)) == ("running", (1000, 10, 0))
    jobs.run(second)
    assert (read(first).state, figures(acme)) == ("succeeded", (990, 0, 1))
    jobs.run(second)
    assert figures(acme) == (990, 0, 1)


def test_who_wakes_and_calls_is_not_taken_over_by_an_older_look(acme: Tenant, filmer: AIModel) -> None:
    """After another worker's look at the row the first one called the provider: a second call would order twice."""
    queue(acme)
    first = jobs.Queue().claim()
    assert first is not None
    expire(first)
    look = read(first)
    change(first, called_at=timezone.now())
    assert not take_over(look, Q(state=State.RUNNING, lease_until__lt=timezone.now()))
    second = jobs.Queue().claim()
    assert second is not None
    assert second.called_at == first.called_at


def test_a_heartbeat_outlives_a_takeover_in_its_own_process(cloned_db: Any, acme: Tenant, filmer: AIModel, settings: Any) -> None:
    settings.JOB_LEASE_SECONDS = 1
    heartbeat = Heartbeat()
    queue(acme)
    first = jobs.Queue().claim()
    assert first is not None
    with heartbeat.keep(first):
        expire(first)
        second = jobs.Queue().claim()
        assert second is not None
        keeping = heartbeat.keep(second)
        keeping.__enter__()
    time.sleep(2.5)
    assert read(second).lease_until > timezone.now()
    heartbeat.check(second)
    keeping.__exit__(None, None, None)


def test_a_job_that_kills_its_workers_is_given_up(acme: Tenant, filmer: AIModel) -> None:
    job = queue(acme)
    for _death in range(jobs.MAX_CRASHES):
        claimed = jobs.Queue().claim()
        assert claimed is not None
        expire(claimed)
    last = jobs.Queue().claim()
    assert last is not None
    jobs.run(last)
    assert (read(job).state, read(job).error_code, figures(acme)) == ("failed", "unavailable", (1000, 0, 0))


def test_a_video_that_was_ordered_is_not_given_up_as_failed(acme: Tenant, filmer: AIModel) -> None:
    """Its provider may have made it: its credits stay held until somebody has looked."""
    queue(acme)
    job = jobs.Queue().claim()
    assert job is not None
    change(job, route="openai", called_at=timezone.now(), upstream_id="video_1", crash_count=jobs.MAX_CRASHES)
    jobs.run(job)
    assert (read(job).state, figures(acme)) == ("unknown", (1000, 10, 0))


def test_who_was_taken_for_dead_and_was_not_keeps_its_job(acme: Tenant, filmer: AIModel) -> None:
    """An admission took longer than its lease: it ended between the recoverer's look and its grasp."""
    job = queue(acme)
    stale = read(job)
    stale.state, stale.lease_until = State.NEW, timezone.now() - timedelta(seconds=1)
    with pytest.raises(LeaseLost):
        recover(stale)
    assert (read(job).state, figures(acme)) == ("queued", (1000, 10, 0))


def test_an_admission_that_was_dropped_leaves_no_hold(acme: Tenant, filmer: AIModel) -> None:
    """A recoverer dropped it before its hold was made."""
    drop_it = Generation.objects.all().delete
    with fail_points.at("generation.inserted", drop_it), pytest.raises(Unavailable):
        queue(acme)
    assert figures(acme) == (1000, 0, 0)


def test_what_was_made_is_delivered_though_its_hold_was_released(acme: Tenant, filmer: AIModel) -> None:
    queue(acme)
    release(hold_id=str(Hold.objects.get().id), reason="by hand", actor="test")
    job = jobs.Queue().claim()
    assert job is not None
    jobs.run(job)
    assert (read(job).state, read(job).flags, figures(acme)) == ("succeeded", ["not_charged"], (1000, 0, 0))


def test_a_hung_job_is_ended_past_its_deadline(acme: Tenant, filmer: AIModel) -> None:
    queue(acme)
    job = jobs.Queue().claim()
    assert job is not None
    change(job, called_at=timezone.now(), deadline_at=timezone.now() - timedelta(minutes=1))
    recovery.end_overdue()
    assert (read(job).state, read(job).error_code, figures(acme)) == ("failed", "upstream_timeout", (1000, 0, 0))
    with pytest.raises(LeaseLost):
        change(job, progress=50)


def test_a_hung_job_of_a_provider_is_unknown(acme: Tenant, filmer: AIModel) -> None:
    queue(acme)
    job = jobs.Queue().claim()
    assert job is not None
    change(job, route="sora", called_at=timezone.now(), deadline_at=timezone.now() - timedelta(minutes=1))
    recovery.end_overdue()
    assert (read(job).state, read(job).error_code, figures(acme)) == ("unknown", "upstream_timeout", (1000, 10, 0))
    assert Hold.objects.get().is_unknown


def test_a_canceled_job_is_not_claimed_and_its_worker_stops(acme: Tenant, filmer: AIModel) -> None:
    waiting = queue(acme)
    generations.cancel(generation=waiting)
    assert jobs.Queue().claim() is None
    queue(acme)
    job = jobs.Queue().claim()
    assert job is not None
    generations.cancel(generation=job)
    jobs.run(job)
    assert (read(job).state, figures(acme)) == ("canceled", (1000, 0, 0))


def test_looking_costs_the_same_however_long_the_queue_is(acme: Tenant, filmer: AIModel) -> None:
    def statements() -> int:
        with CaptureQueriesContext(
            connection,
        ) as seen:
            assert jobs.Queue().claim() is not None
        return len(seen)

    queue(acme)
    few = statements()
    for _number in range(20):
        queue(acme)
    assert statements() == few
