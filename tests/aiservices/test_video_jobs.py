"""Videos as jobs: a real server, real workers that can be killed, and the official OpenAI client."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import imageio_ffmpeg
import openai
import pytest

from aiservices.generations.models import Generation
from billing.budgets.models import Budget
from billing.catalog.models import AIModel
from billing.ledger.models import Charge, Hold
from tenants.models import Mode, Tenant
from tenants.services import create_api_key
from tests.aiservices.conftest import PIXEL, usage
from tests.aiservices.engines import ENGINES, engine
from tests.books import balance_and_held, give
from tests.catalog import video_model
from tests.live import LiveWaule
from tests.waiting import eventually

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API is scheduled:DeprecationWarning")

LEASE = "3"  # seconds: long enough for a busy machine to renew it, three times in it, and short enough to wait for its end


@pytest.fixture
def live_waule(request: pytest.FixtureRequest, live_waule: LiveWaule) -> Iterator[LiveWaule]:
    """On the engine that the test is parametrized with (`on_engines`), else the embedded one."""
    with engine(getattr(request, "param", "embedded")) as settings:
        live_waule.environ |= settings
        yield live_waule


def on_engines(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("live_waule", names, indirect=True)


@pytest.fixture
def key(acme: Tenant) -> str:
    return create_api_key(tenant=acme, mode=Mode.LIVE, actor="test")[1]


@pytest.fixture
def client(live_waule: LiveWaule, key: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key=key, base_url=f"{live_waule.url}/v1", max_retries=0) as made:
        yield made


@on_engines(*ENGINES)
def test_openai_client_makes_a_video(
    live_waule: LiveWaule, client: openai.OpenAI, acme: Tenant, filmer: AIModel, tmp_path: Path
) -> None:
    video = client.videos.create(model="filmer", prompt="狐狸")
    assert (video.status, video.progress, video.seconds, video.size) == ("queued", 0, "4", "720x1280")
    assert balance_and_held(acme) == (1000, 40)
    with pytest.raises(openai.ConflictError):
        client.videos.delete(video.id)
    live_waule.run("worker")
    done = eventually(lambda: (found := client.videos.retrieve(video.id)).status == "completed" and found)
    assert (done.progress, done.error) == (100, None)
    assert balance_and_held(acme) == (960, 0)
    path = tmp_path / "film.mp4"
    client.videos.download_content(video.id).write_to_file(path)
    played = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path), "-f", "null", "-"], capture_output=True, text=True, check=True
    )
    assert "720x1280" in played.stderr
    assert "Duration: 00:00:04" in played.stderr
    part = live_waule.get(
        f"/v1/videos/{video.id}/content", headers={"Authorization": f"Bearer {client.api_key}", "Range": "bytes=0-9"}
    )
    assert (part.status_code, part.content) == (206, path.read_bytes()[:10])
    assert client.videos.delete(video.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.videos.retrieve(video.id)


def test_openai_client_sends_a_reference_picture(client: openai.OpenAI, filmer: AIModel) -> None:
    import base64

    picture = base64.b64decode(PIXEL.partition(",")[2])
    video = client.videos.create(
        model="filmer", prompt="x", seconds="8", size="1280x720", input_reference=("a.png", picture, "image/png")
    )
    row = Generation.objects.get(id=video.id)
    assert (video.seconds, video.size) == ("8", "1280x720")
    assert row.input.reference_images == [PIXEL]
    with pytest.raises(openai.BadRequestError):
        client.videos.create(model="filmer", prompt="x", input_reference=("a.txt", b"no picture", "text/plain"))


def test_openai_client_lists_videos(client: openai.OpenAI, filmer: AIModel) -> None:
    ids = [client.videos.create(model="filmer", prompt=str(number)).id for number in range(5)]
    page = client.videos.list(limit=2)
    assert ([video.id for video in page.data], page.has_more) == (ids[:-3:-1], True)
    assert [video.id for video in client.videos.list(limit=2)] == ids[::-1]  # page after page
    assert [video.id for video in client.videos.list(limit=3, order="asc")] == ids


def test_openai_client_makes_pictures_and_lists_models(client: openai.OpenAI, painter: AIModel, filmer: AIModel) -> None:
    made = client.images.generate(model="painter", prompt="x", n=2)
    assert made.data is not None
    assert [item.url for item in made.data if item.url] == [item.url for item in made.data]
    as_data = client.images.generate(model="painter", prompt="x", response_format="b64_json")
    assert as_data.data is not None
    assert as_data.data[0].b64_json
    assert {model.id for model in client.models.list()} == {"painter", "filmer"}
    assert client.models.retrieve("painter").owned_by == "sandbox"


def test_openai_client_is_told_what_is_wrong(
    live_waule: LiveWaule, client: openai.OpenAI, birch: Tenant, painter: AIModel
) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.images.generate(model="nobody", prompt="x")
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as malformed:
        client.images.generate(model="painter", prompt="x", n=11)
    assert malformed.value.param == "n"
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wk_live_nonsense").models.list()
    poor = client.with_options(api_key=create_api_key(tenant=birch, mode=Mode.LIVE, actor="test")[1])
    with pytest.raises(openai.APIStatusError) as broke:
        poor.images.generate(model="painter", prompt="x")
    assert (broke.value.status_code, broke.value.code) == (402, "insufficient_credits")


@on_engines("embedded", "rabbitmq")
def test_a_video_that_is_waited_for(live_waule: LiveWaule, key: str, filmer: AIModel) -> None:
    live_waule.run("worker")
    answer = live_waule.post(
        "/v1/videos/generations",
        {"model": "filmer", "prompt": "x", "duration": 5, "aspect_ratio": "16:9"},
        headers={"Authorization": f"Bearer {key}"},
    )
    assert answer.status_code == 200
    body = answer.json()
    assert (body["data"][0]["duration"], body["usage"]) == (5, {"credits_charged": 50})
    assert live_waule.session.get(body["data"][0]["url"]).headers["Content-Type"] == "video/mp4"


@on_engines(*ENGINES)
def test_a_killed_worker_s_job_is_done_by_another(
    live_waule: LiveWaule, client: openai.OpenAI, acme: Tenant, filmer: AIModel
) -> None:
    live_waule.environ |= {"JOB_LEASE_SECONDS": LEASE, "SANDBOX_DELAY_SECONDS": "3"}
    video = client.videos.create(model="filmer", prompt="x")
    first = live_waule.run("worker")
    eventually(lambda: client.videos.retrieve(video.id).status == "in_progress")
    first.kill()
    live_waule.run("worker")
    eventually(lambda: client.videos.retrieve(video.id).status == "completed")
    assert (Charge.objects.count(), balance_and_held(acme)) == (1, (960, 0))
    assert Generation.objects.get(id=video.id).attempt >= 2  # more where a stalled machine let a lease run out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "live_waule"),
    [
        ("generation.before_call", "embedded"),
        ("generation.answered", "embedded"),
        ("generation.stored", "redis"),
        ("generation.decided", "rabbitmq"),
        ("capture.before_commit", "embedded"),
        ("capture.after_commit", "redis"),
        ("generation.paid", "embedded"),
    ],
    indirect=["live_waule"],
)
def test_a_worker_that_dies_at(place: str, live_waule: LiveWaule, client: openai.OpenAI, acme: Tenant, filmer: AIModel) -> None:
    if place == "capture.before_commit" and live_waule.database.is_postgresql:
        pytest.skip("a capture is one statement on PostgreSQL: there is nothing between it and its commit")
    live_waule.environ["JOB_LEASE_SECONDS"] = LEASE
    video = client.videos.create(model="filmer", prompt="x")
    dying = live_waule.run("worker", WAULE_TEST_FAIL_POINT=place)
    eventually(lambda: not dying.is_running)
    live_waule.run("worker")
    eventually(lambda: client.videos.retrieve(video.id).status == "completed")
    assert (Charge.objects.count(), balance_and_held(acme)) == (1, (960, 0))
    assert Generation.objects.get(id=video.id).attempt >= 2  # more where a stalled machine let a lease run out
    assert live_waule.manage("reconcile").returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("place", ["generation.inserted", "hold.before_commit", "hold.after_commit", "generation.held"])
def test_a_server_that_dies_while_it_admits_a_video(
    place: str, live_waule: LiveWaule, acme: Tenant, key: str, filmer: AIModel
) -> None:
    # With a budget a hold is several statements, so that there is a moment before the commit.
    Budget.objects.create(tenant=acme, period="day", limit_credits=1000)
    live_waule.environ |= {"JOB_LEASE_SECONDS": LEASE, "WAULE_TEST_FAIL_POINT": place}
    body, headers = {"model": "filmer", "prompt": "x"}, {"Authorization": f"Bearer {key}", "Idempotency-Key": "once"}
    live_waule.post_to_its_death("/v1/videos", body, headers=headers)
    live_waule.kill()
    live_waule.restart(WAULE_TEST_FAIL_POINT="")
    live_waule.run("worker")
    answer = live_waule.post("/v1/videos", body, headers=headers)
    assert answer.status_code == 200, answer.text
    eventually(lambda: Generation.objects.get(id=answer.json()["id"]).state == "succeeded")
    eventually(lambda: balance_and_held(acme) == (960, 0))
    assert Generation.objects.count() == 1
    assert Charge.objects.count() == 1


@pytest.mark.slow
@pytest.mark.parametrize("place", ["generation.before_call", "generation.stored", "generation.decided", "capture.after_commit"])
def test_a_server_that_dies_while_it_makes_a_picture(
    place: str, live_waule: LiveWaule, acme: Tenant, key: str, painter: AIModel
) -> None:
    live_waule.environ |= {"JOB_LEASE_SECONDS": LEASE, "WAULE_TEST_FAIL_POINT": place}
    body, headers = {"model": "painter", "prompt": "x"}, {"Authorization": f"Bearer {key}", "Idempotency-Key": "once"}
    live_waule.post_to_its_death("/v1/images/generations", body, headers=headers)
    live_waule.kill()
    live_waule.restart(WAULE_TEST_FAIL_POINT="")
    answer = live_waule.post("/v1/images/generations", body, headers=headers)
    assert (answer.status_code, answer.json()["usage"]) == (200, usage(15))
    assert (Charge.objects.count(), balance_and_held(acme)) == (1, (985, 0))
    assert live_waule.manage("reconcile").returncode == 0


def test_duplicates_at_once_wait_for_the_first_and_pay_once(
    live_waule: LiveWaule, acme: Tenant, key: str, painter: AIModel
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    live_waule.environ["SANDBOX_DELAY_SECONDS"] = "1"
    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": "same"}
    assert live_waule.url

    def ask(_number: int) -> tuple[int, str, str]:
        answer = live_waule.post("/v1/images/generations", {"model": "painter", "prompt": "x"}, headers=headers)
        return answer.status_code, answer.text, answer.headers.get("Idempotent-Replayed", "")

    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(ask, range(12)))
    assert {answer[:2] for answer in answers} == {answers[0][:2]}
    assert sorted(answer[2] for answer in answers) == [""] + ["true"] * 11
    assert (Generation.objects.count(), balance_and_held(acme)) == (1, (985, 0))


@on_engines(*ENGINES)
def test_a_thousand_jobs_of_one_tenant_do_not_keep_another_waiting(live_waule: LiveWaule, acme: Tenant, birch: Tenant) -> None:
    model = video_model(base=1)
    give(birch, 100)
    give(acme, 10_000)
    keys = {tenant: create_api_key(tenant=tenant, mode=Mode.LIVE, actor="test")[1] for tenant in (acme, birch)}

    def post(tenant: Tenant) -> str:
        answer = live_waule.post(
            "/v1/videos",
            {"model": "filmer", "prompt": "x", "size": "128x128"},
            headers={"Authorization": f"Bearer {keys[tenant]}"},
        )
        return str(answer.json()["id"])

    first = [post(acme) for _ in range(60)]
    only = post(birch)
    live_waule.run("worker", "--concurrency", "1")
    eventually(lambda: Generation.objects.get(id=only).state == "succeeded")
    assert Generation.objects.filter(id__in=first, state="succeeded").count() <= 3
    assert model.generations.count() == 61


@on_engines(*ENGINES)
def test_a_stopping_worker_hands_its_job_over(live_waule: LiveWaule, client: openai.OpenAI, filmer: AIModel) -> None:
    live_waule.environ |= {"SANDBOX_DELAY_SECONDS": "30", "JOB_LEASE_SECONDS": "60"}
    video = client.videos.create(model="filmer", prompt="x")
    for _worker in range(2):
        worker = live_waule.run("worker")
        eventually(lambda: client.videos.retrieve(video.id).status == "in_progress")
        assert worker.stop() == 0
        assert "worker_stopped" in worker.log
        assert client.videos.retrieve(video.id).status == "queued"
    live_waule.run("worker", SANDBOX_DELAY_SECONDS="0")
    eventually(lambda: client.videos.retrieve(video.id).status == "completed")
    assert Generation.objects.get(id=video.id).crash_count == 0


@on_engines("embedded", "rabbitmq")
def test_a_job_past_its_deadline_ends(live_waule: LiveWaule, client: openai.OpenAI, acme: Tenant, filmer: AIModel) -> None:
    live_waule.environ |= {"SANDBOX_DELAY_SECONDS": "60", "VIDEO_JOB_SECONDS": "1"}
    video = client.videos.create(model="filmer", prompt="x")
    live_waule.run("worker")
    done = eventually(lambda: (found := client.videos.retrieve(video.id)).status == "failed" and found)
    assert done.error.code == "upstream_timeout"
    assert balance_and_held(acme) == (1000, 0)


@on_engines("embedded", "redis")
def test_a_canceled_job_stops_and_costs_nothing(
    live_waule: LiveWaule, client: openai.OpenAI, acme: Tenant, filmer: AIModel
) -> None:
    live_waule.environ["SANDBOX_DELAY_SECONDS"] = "5"
    running, queued = (client.videos.create(model="filmer", prompt=str(number)) for number in range(2))
    live_waule.run("worker", "--concurrency", "1")
    eventually(lambda: client.videos.retrieve(running.id).status == "in_progress")
    for video in (running, queued):
        canceled = live_waule.post(f"/v1/videos/{video.id}/cancel", headers={"Authorization": f"Bearer {client.api_key}"})
        assert (canceled.status_code, canceled.json()["error"]["code"]) == (200, "canceled")
    assert balance_and_held(acme) == (1000, 0)
    assert client.videos.retrieve(running.id).error.code == "canceled"
    after = client.videos.create(model="filmer", prompt="next")
    eventually(lambda: client.videos.retrieve(after.id).status == "completed")
    assert set(Hold.objects.values_list("state", flat=True)) == {"released", "captured"}
    assert balance_and_held(acme) == (960, 0)
