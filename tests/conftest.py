"""What every test may use: a named cast with their callers and models, and waule as a real server on a database of its own.

* `db` (pytest-django): the test runs in a transaction that is rolled back. Durable verbs work in it.
* `cloned_db`: a database of its own where everything commits, for threads, processes and SQL. The cast lives there then.
* `live_waule`: a server process on `cloned_db`; `standing_waule` is one for a whole file, for tests that share it.
"""

import gc
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from django.test import Client
from pytest_httpserver import HTTPServer

from aiservices.credentials.pool import unreadable
from billing.catalog.current import forget_catalog
from billing.catalog.models import AIModel
from tenants.models import Tenant, User
from tenants.services import add_member
from tests import answers
from tests.books import give
from tests.callers import Api, Internal, api_of_tenant, api_of_user, at_console, confirm_password
from tests.catalog import image_model, priced_model, video_model
from tests.live import Database, LiveWaule
from tests.settings import OWNS_RUN, RUN_DIR
from tests.upstreams.gateway import Gateway
from tests.upstreams.sora_service import PASSWORD, USERNAME, SoraService

if TYPE_CHECKING:
    from tests.upstreams.s3_service import S3Service

# No test fails because the machine is slow.
hypothesis.settings.register_profile("any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("any machine")
# Thousands of tests and the libraries stay to the end: looking through them for garbage as often as Python would took a
# quarter of the time. (They are not frozen: some tests look for what there is by `gc.get_objects`.)
gc.set_threshold(20_000, 20, 50)
CLONES = {"cloned_db", "live_waule"}
DATABASES = {"db", "transactional_db", "any_database", "standing_waule", "up", *CLONES}
SLOW_WEIGHT = 20  # tests with a live server that take as long as one that is marked slow
LOG_SHOWN = 8000  # characters of each process


def pytest_sessionstart() -> None:
    answers.watch_test_client()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Shows with a test that failed what the processes of waule that it used had to say."""
    report: Any = yield
    if report.failed:
        for name, value in getattr(item, "funcargs", {}).items():
            if isinstance(value, LiveWaule):
                report.sections.extend((f"{name}: {each.log_path.name}", each.log[-LOG_SHOWN:]) for each in value.processes)
    return report


def pytest_unconfigure() -> None:
    if OWNS_RUN:
        shutil.rmtree(RUN_DIR, ignore_errors=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Says which tests need the database: pytest-django makes none for those that come to it by `any_database` alone.

    Those that use none run once, not for each kind of database. Files with slow tests and with many live servers begin
    first: no process is left alone with them at the end.
    """
    weights = Counter(item.path for item in items if CLONES.intersection(getattr(item, "fixturenames", ())))
    for item in items:
        weights[item.path] += SLOW_WEIGHT if item.get_closest_marker("slow") else 0
    items.sort(key=lambda item: -weights[item.path])
    for item in items:
        names = set(getattr(item, "fixturenames", ()))
        if "any_database" in names and not names & CLONES:
            item.add_marker(pytest.mark.django_db)
        if not names & DATABASES and not any(item.iter_markers("django_db")) and not any(item.iter_markers("skipif")):
            item.add_marker(pytest.mark.once)


@pytest.fixture(scope="session")
def django_db_setup() -> Iterator[None]:
    """What `db` works on, in place of pytest-django's own, which each process would migrate anew."""
    database = Database.clone()
    with database.as_default():
        yield
    database.drop()


@pytest.fixture
def cloned_db(django_db_blocker: Any) -> Iterator[Database]:
    """A migrated database of the test's own. Django works on it in this process, threads included, and commits."""
    database = Database.clone()
    with django_db_blocker.unblock(), database.as_default():
        yield database
    database.drop()


@pytest.fixture
def live_waule(cloned_db: Database, tmp_path: Path) -> Iterator[LiveWaule]:
    """waule as a real server; the ORM in the test sees the same database."""
    waule = LiveWaule(cloned_db, tmp_path)
    yield waule
    waule.stop()


@pytest.fixture(scope="module")
def standing_waule(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveWaule]:
    """One server for all tests of a file. What they leave in its database stays."""
    database = Database.clone()
    waule = LiveWaule(database, tmp_path_factory.mktemp("waule"))
    yield waule
    waule.stop()
    database.drop()


@pytest.fixture
def any_database(request: pytest.FixtureRequest) -> None:
    """The database that the test works on: `cloned_db` where it asked for one, else `db`."""
    cloned = CLONES & set(request.fixturenames)
    request.getfixturevalue("cloned_db" if cloned else "db")


@pytest.fixture(autouse=True)
def fresh_catalog() -> None:
    """What is kept in memory of the catalog was another test's."""
    forget_catalog()
    unreadable.forget()


@pytest.fixture
def acme(any_database: None) -> Tenant:
    """A tenant with 1,000 credits that may use every model."""
    tenant = Tenant.objects.create(name="Acme", enabled_models=["*"])
    give(tenant, 1000)
    return tenant


@pytest.fixture
def birch(any_database: None) -> Tenant:
    """A tenant without a credit that may use every model."""
    return Tenant.objects.create(name="Birch", enabled_models=["*"])


@pytest.fixture
def alice(any_database: None) -> User:
    """A user of level USER with 1,000 credits; her password is `alice-password`."""
    user = User.objects.create_user("alice", password="alice-password", level="USER")
    give(user, 1000)
    return user


@pytest.fixture
def vera(any_database: None) -> User:
    """A VIP with 1,000 credits whose membership never runs out."""
    user = User.objects.create_user("vera", password="vera-password", level="VIP")
    give(user, 1000)
    return user


@pytest.fixture
def root(any_database: None) -> User:
    """The operator: a superuser with the password `root-password`. The level is USER: it has nothing to do with staff."""
    return User.objects.create_superuser("root", "root@example.com", "root-password")


@pytest.fixture
def internal() -> Internal:
    """Calls `/internal` with the secret: `internal.post(path, body, key=…)` is (status, answer); `internal.last` the response."""
    return Internal()


@pytest.fixture
def flash(any_database: None) -> AIModel:
    """A model at 7 credits a request."""
    return priced_model()


@pytest.fixture
def film(any_database: None) -> AIModel:
    """A model at 10 credits a second."""
    return priced_model("film", base=10, billing_type="PER_DURATION")


@pytest.fixture
def painter(any_database: None) -> AIModel:
    """Images at 15 credits, 30 in 2K."""
    return image_model(prices={"2K": 30})


@pytest.fixture
def filmer(any_database: None) -> AIModel:
    """Videos at 10 credits a second."""
    return video_model()


@pytest.fixture
def as_alice(alice: User) -> Api:
    """Alice, by a token."""
    return api_of_user(alice)


@pytest.fixture
def as_acme(acme: Tenant) -> Api:
    """Acme, by a live key."""
    return api_of_tenant(acme)


@pytest.fixture(autouse=True)
def media_root(settings: Any, tmp_path: Path) -> Path:
    """Where this process keeps media: a place of the test's own."""
    settings.MEDIA_ROOT = tmp_path / "media"
    return tmp_path / "media"


@pytest.fixture
def sora(settings: Any) -> Iterator[SoraService]:
    """A Sora token service of the test's own; the settings know it."""
    service = SoraService()
    settings.SORA_API_URL = service.url
    settings.SORA_API_USERNAME, settings.SORA_API_PASSWORD = USERNAME, PASSWORD
    yield service
    service.stop()


@pytest.fixture(scope="module")
def s3() -> Iterator["S3Service"]:
    """An S3-compatible service with a bucket. What stands for it is slow to load, and few need it."""
    from tests.upstreams.s3_service import S3Service

    service = S3Service()
    yield service
    service.stop()


@pytest.fixture
def banana(any_database: None) -> AIModel:
    """Images of Gemini's at 15 credits."""
    return image_model("banana", provider="gemini")


@pytest.fixture
def live_gateway(live_waule: LiveWaule) -> Iterator[Gateway]:
    """A gateway of the test's own, to which `live_waule` sends; it charges by calling back."""
    made = Gateway()
    live_waule.environ |= {
        "AI_SERVICE_MODE": "gateway",
        "GATEWAY_BILLING": "callback",
        "WAULEAPI_URL": made.url,
        "OUTBOUND_ALLOW": "127.0.0.1",
        "UPSTREAM_READ_SECONDS": "2",
        "UPSTREAM_TOTAL_SECONDS": "2",
    }
    yield made
    made.stop()


@pytest.fixture
def owner(acme: Tenant, alice: User) -> Client:
    """Alice at the console of Acme, as its owner."""
    add_member(tenant=acme, user=alice, actor="test")
    return at_console("alice", "alice-password")


@pytest.fixture
def staff(root: User) -> Client:
    """Root, who has just given the password again."""
    client = Client()
    client.force_login(root)
    confirm_password(client)
    return client


@pytest.fixture
def receiver(settings: Any, httpserver: HTTPServer) -> HTTPServer:
    """Somebody who receives webhooks on loopback, where we may call."""
    settings.OUTBOUND_ALLOW = [f"127.0.0.1:{httpserver.port}"]
    return httpserver
