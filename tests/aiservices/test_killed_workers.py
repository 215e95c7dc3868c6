"""Workers die by `kill -9` while somebody else makes the video: nothing is ordered twice, and nothing is guessed."""

import random
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import pytest
from django.db import connection
from django.utils import timezone

from aiservices.credentials.models import GeminiKey
from aiservices.generations import services as generations
from aiservices.generations.models import Generation
from aiservices.generations.providers.base import Job
from aiservices.generations.providers.sandbox import Sandbox
from billing.catalog.models import AIModel
from billing.catalog.pricing import SoldSize, read_size
from billing.ledger.models import Charge, Hold
from tenants.models import Tenant
from tenants.services import create_api_key
from tests.aiservices.credential_rows import key
from tests.aiservices.engines import ENGINES, engine
from tests.aiservices.jobs import order
from tests.books import balance_and_held, give
from tests.catalog import video_model
from tests.live import LiveWaule
from tests.upstreams.video_service import VideoService
from tests.waiting import eventually

pytestmark = pytest.mark.slow
VEO = "veo-3.1-fast-generate-preview"

STALLED_SECONDS = 120  # without one more job ended: however slow the machine is, something moves


@pytest.fixture
def video_service(media_root: Path) -> Iterator[VideoService]:
    size = SoldSize(read_size("128x128"), "1:1")
    job = Job(
        generation_id="x",
        request_id="",
        model_id="m",
        prompt="x",
        size=size,
        duration=Decimal(1),
    )
    film = Sandbox().generate_video(job, progress=lambda _percent: None).outputs[0].path
    assert film is not None
    service = VideoService(film)
    yield service
    service.stop()


@pytest.fixture
def waule(live_waule: LiveWaule, video_service: VideoService) -> LiveWaule:
    live_waule.environ |= {"JOB_LEASE_SECONDS": "3", "OPENAI_API_URL": video_service.url, "OPENAI_API_KEY": "sk-upstream"}
    live_waule.environ |= {"GEMINI_API_URL": f"{video_service.url}/v1beta"}
    return live_waule


@pytest.fixture
def sora_2(any_database: None) -> AIModel:
    return video_model("sora-2", provider="openai")


def state(video: str) -> str:
    return Generation.objects.get(id=video).state


def test_another_worker_goes_on_asking(waule: LiveWaule, video_service: VideoService, acme: Tenant, sora_2: AIModel) -> None:
    video = order(waule, acme)
    first = waule.run("worker")
    eventually(lambda: Generation.objects.get(id=video).upstream_id)
    first.kill()
    waule.run("worker")
    asked = video_service.asked
    eventually(lambda: video_service.asked > asked)
    video_service.is_done.set()
    eventually(lambda: state(video) == "succeeded")
    assert (len(video_service.created), video_service.keys) == (1, [video])
    assert (Charge.objects.count(), balance_and_held(acme)) == (1, (960, 0))
    assert waule.manage_json("reconcile")["ok"]


@pytest.fixture
def veo(any_database: None) -> AIModel:
    key("one")
    return video_model(VEO, provider="gemini")


def is_settled_once(waule: LiveWaule, video_service: VideoService, tenant: Tenant, video: str) -> bool:
    """Created once at the provider, asked for by its operation's name alone, charged once, and no key was blamed."""
    assert set(video_service.asked_for) == {f"/v1beta/models/{VEO}/operations/video_1"}
    assert (len(video_service.created), Generation.objects.get(id=video).error_code) == (1, "")
    assert (Charge.objects.count(), Charge.objects.get().credits, balance_and_held(tenant)) == (1, 40, (960, 0))
    assert (Hold.objects.get().state, GeminiKey.objects.get().state) == ("captured", "ready")
    return bool(waule.manage_json("reconcile")["ok"])


def test_a_veo_job_is_asked_for_by_its_name_after_its_worker_died(
    waule: LiveWaule, video_service: VideoService, acme: Tenant, veo: AIModel
) -> None:
    """It died while it waited for the video."""
    video = order(waule, acme, model=VEO)
    first = waule.run("worker")
    eventually(lambda: video_service.asked)
    assert Generation.objects.get(id=video).upstream_id.endswith(f":models/{VEO}/operations/video_1")
    first.kill()
    assert (state(video), balance_and_held(acme)) == ("running", (1000, 40))
    waule.run("worker")
    asked = video_service.asked
    eventually(lambda: video_service.asked > asked)
    video_service.is_done.set()
    eventually(lambda: state(video) == "succeeded")
    assert is_settled_once(waule, video_service, acme, video)


@pytest.mark.parametrize(
    ("place", "asked"),
    [
        ("generation.accepted", 0),  # created, and its name written down: nobody has asked for it yet
        ("generation.answered", 1),  # made and downloaded
        ("generation.stored", 1),
        ("generation.decided", 1),
        ("generation.paid", 1),
    ],
)
def test_a_veo_job_survives_the_death_of_its_worker_anywhere(
    waule: LiveWaule, video_service: VideoService, acme: Tenant, veo: AIModel, place: str, asked: int
) -> None:
    video_service.is_done.set()
    video = order(waule, acme, model=VEO)
    first = waule.run("worker", WAULE_TEST_FAIL_POINT=place)
    eventually(lambda: not first.is_running)
    assert (first.popen.returncode, len(video_service.created), video_service.asked, state(video)) == (-9, 1, asked, "running")
    waule.run("worker")
    eventually(lambda: state(video) == "succeeded")
    assert is_settled_once(waule, video_service, acme, video)


def test_a_veo_job_that_failed_meanwhile_costs_nothing(
    waule: LiveWaule, video_service: VideoService, acme: Tenant, veo: AIModel
) -> None:
    video = order(waule, acme, model=VEO)
    first = waule.run("worker", WAULE_TEST_FAIL_POINT="generation.accepted")
    eventually(lambda: not first.is_running)
    video_service.is_failed = True
    video_service.is_done.set()
    waule.run("worker")
    eventually(lambda: state(video) == "failed")
    assert (len(video_service.created), balance_and_held(acme), Charge.objects.count()) == (1, (1000, 0), 0)
    assert waule.manage_json("reconcile")["ok"]


@pytest.mark.parametrize("name", ["sora-2", VEO])
def test_what_was_ordered_and_never_confirmed_is_unknown(
    waule: LiveWaule, video_service: VideoService, acme: Tenant, sora_2: AIModel, veo: AIModel, name: str
) -> None:
    video_service.silent_seconds = 60
    video = order(waule, acme, model=name)
    first = waule.run("worker")
    eventually(lambda: video_service.created)
    first.kill()
    waule.run("worker")
    eventually(lambda: state(video) == "unknown")
    assert len(video_service.created) == 1
    assert balance_and_held(acme) == (1000, 40)
    assert Hold.objects.get().is_unknown

    generations.settle_unknown(
        generation=Generation.objects.get(id=video), charge=False, reason="the provider has none", actor="test"
    )
    assert (state(video), balance_and_held(acme), Charge.objects.count()) == ("failed", (1000, 0), 0)
    assert waule.manage_json("reconcile")["ok"]


def test_a_worker_that_was_frozen_writes_nothing_afterwards(
    waule: LiveWaule, video_service: VideoService, acme: Tenant, sora_2: AIModel
) -> None:
    """The first worker sleeps past its lease, then wakes up while, or after, another one ended its job."""
    video = order(waule, acme)
    frozen = waule.run("worker")
    eventually(lambda: Generation.objects.get(id=video).upstream_id)
    frozen.freeze(waule.database)
    waule.run("worker")
    eventually(lambda: Generation.objects.get(id=video).attempt >= 2)
    video_service.is_done.set()
    eventually(lambda: state(video) == "succeeded")
    before = Generation.objects.filter(id=video).values().get()
    frozen.thaw()
    time.sleep(3)
    assert Generation.objects.filter(id=video).values().get() == before
    assert (Charge.objects.count(), balance_and_held(acme)) == (1, (960, 0))
    assert frozen.is_running


def test_a_failure_upstream_costs_nothing(waule: LiveWaule, video_service: VideoService, acme: Tenant, sora_2: AIModel) -> None:
    video_service.is_failed = True
    video_service.is_done.set()
    video = order(waule, acme)
    waule.run("worker")
    eventually(lambda: state(video) == "failed")
    assert (balance_and_held(acme), Charge.objects.count(), Hold.objects.get().state) == ((1000, 0), 0, "released")


def test_a_cancellation_that_was_cut_off_is_seen_through(waule: LiveWaule, acme: Tenant, sora_2: AIModel) -> None:
    """Whoever canceled a queued job died between deciding it and giving the credits back."""
    video = order(waule, acme)
    rooms = "from aiservices.generations import models, services"
    dying = f"{rooms}; services.cancel(generation=models.Generation.objects.get())"
    waule.manage("shell", "-c", dying, WAULE_TEST_FAIL_POINT="release.before_commit")
    assert (state(video), balance_and_held(acme)) == ("running", (1000, 40))
    waule.run("worker")
    eventually(lambda: state(video) == "canceled")
    assert balance_and_held(acme) == (1000, 0)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", ENGINES)
def test_workers_killed_at_random(
    name: str, waule: LiveWaule, video_service: VideoService, acme: Tenant, sora_2: AIModel
) -> None:
    """200 jobs, two workers at a time, one of them killed every second or so, wherever it happens to be.

    Every job ends; each is ordered once and paid once at most. What was ordered and never confirmed is unknown: the
    operator, who looks there, settles it.
    """
    video_service.make_seconds, video_service.silent_seconds = 1.0, 0.1
    give(acme, 10_000)
    with engine(name) as settings, ThreadPoolExecutor(8) as callers:
        waule.environ |= settings
        key = create_api_key(tenant=acme, mode="live", actor="test")[1]
        assert waule.url
        orders = callers.map(lambda _number: order(waule, acme, key=key), range(200))
        workers = [waule.run("worker", "--concurrency", "16"), waule.run("worker", "--concurrency", "24")]
        videos = list(orders)
        chance, kills = random.Random(name), 0
        left = Generation.objects.filter(state__in=["new", "queued", "running"])
        fewest, progress_at = 200, time.monotonic()
        while (count := left.count()) and time.monotonic() < progress_at + STALLED_SECONDS:
            if count < fewest:
                fewest, progress_at = count, time.monotonic()
            time.sleep(chance.uniform(0.5, 1.5))
            if kills < 12 and Generation.objects.filter(state="running").exists():
                workers.pop(chance.randrange(2)).kill()
                workers.append(waule.run("worker", "--concurrency", "16"))
                kills += 1
        assert (
            list(
                left.values_list(
                    "state",
                    "attempt",
                    "crash_count",
                    "lease_until",
                    "run_after",
                    "outcome",
                    "upstream_id",
                    "called_at",
                    "idempotency_key",
                    "hold_id",
                )
            ),
            kills >= 3,
        ) == ([], True), timezone.now()
    ordered = Counter(video_service.keys)
    assert set(ordered.values()) == {1}
    unknown = list(Generation.objects.filter(state="unknown"))
    assert set(Generation.objects.exclude(state="unknown").values_list("state", "error_code")) == {("succeeded", "")}
    for each in unknown:
        generations.settle_unknown(generation=each, charge=str(each.id) in ordered, reason="seen there", actor="test")
    paid = {str(generation) for generation in Generation.objects.exclude(charge=None).values_list("id", flat=True)}
    assert (paid, Charge.objects.count(), len(set(videos))) == (set(ordered), len(ordered), 200)
    assert balance_and_held(acme) == (11_000 - 40 * len(ordered), 0)
    assert waule.manage_json("reconcile")["ok"]
    print(f"{kills} workers killed, {len(unknown)} of 200 unknown")


def test_connections_to_the_database_are_cut(waule: LiveWaule, acme: Tenant, any_database: None) -> None:
    """While a worker is at it, and its heart beats: it connects anew, and each job is done and paid once."""
    if not waule.database.is_postgresql:
        pytest.skip("SQLite has no connections that could be cut")
    video_model("filmer", base=1)
    waule.environ["SANDBOX_DELAY_SECONDS"] = "1"
    videos = [order(waule, acme, model="filmer", seconds="1", size="128x128") for _number in range(20)]
    worker = waule.run("worker")
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND query NOT LIKE '%%pg_terminate%%'"
    for _cut in range(40):
        connection.close()
        waule.sql(cut, waule.database.name)
        time.sleep(0.2)
    ended = Generation.objects.filter(id__in=videos).exclude(state__in=["queued", "running"])
    eventually(lambda: ended.count() == 20, seconds=90)
    assert set(ended.values_list("state", "error_code")) == {("succeeded", "")}
    assert (Charge.objects.count(), balance_and_held(acme)) == (20, (980, 0))
    assert waule.manage_json("reconcile")["ok"]
    assert worker.is_running
    assert "Exception in thread" not in worker.log
