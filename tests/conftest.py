"""What every test may use: a named cast, the internal API, and waule as a real server on a database of its own.

* `db` (pytest-django): the test runs in a transaction that is rolled back. Durable verbs work in it.
* `cloned_db`: a database of its own where everything commits, for threads, processes and SQL. The cast lives there then.
* `live_waule`: a server process on `cloned_db`; `standing_waule` is one for a whole file, for tests that share it.
"""

import json
import shutil
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from aiservices.credentials.pool import unreadable
from billing.catalog.current import forget_catalog
from billing.ledger.models import Kind
from billing.services import grant
from tenants.models import Tenant, User
from tenants.principal import Principal
from tests import answers
from tests.live import Database, LiveWaule
from tests.settings import INTERNAL_SECRET, OWNS_RUN, RUN_DIR

CLONES = {"cloned_db", "live_waule"}
DATABASES = {"db", "transactional_db", "any_database", "standing_waule", "up", *CLONES}
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

    Those that use none run once, not for each kind of database. Files with many live servers begin first: no process is
    left alone with them at the end.
    """
    live = Counter(item.path for item in items if CLONES.intersection(getattr(item, "fixturenames", ())))
    items.sort(key=lambda item: -live[item.path])
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


def give(owner: Tenant | User, credits: int, mode: str = "live") -> None:
    """Grants credits to a tenant or user, through the verb that everyone uses."""
    target = Principal(kind="tenant" if isinstance(owner, Tenant) else "user", id=str(owner.pk), mode=mode)
    grant(
        target=target, credits=credits, kind=Kind.GIFT, reason="opening balance", actor="test", idempotency_key=uuid.uuid4().hex
    )


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
    return User.objects.create_superuser("root", password="root-password")


class Internal:
    """A caller of `/internal` inside the test's process."""

    def __init__(self, secret: str | None = INTERNAL_SECRET) -> None:
        self.client = Client(raise_request_exception=False)
        self.secret = secret

    def __call__(
        self, method: str, path: str, body: Any = None, *, key: str | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        sent = dict(headers or {})
        if self.secret is not None:
            sent.setdefault("X-Internal-Secret", self.secret)
        if key is not None:
            sent["Idempotency-Key"] = key
        data = body if isinstance(body, str | bytes) else json.dumps(body)
        content = {} if body is None else {"data": data, "content_type": "application/json"}
        answer = self.client.generic(method, path, headers=sent, **content)
        self.last = answer
        return answer.status_code, answer.json() if answer.content else None

    def get(self, path: str, **kwargs: Any) -> tuple[int, Any]:
        return self("GET", path, **kwargs)

    def post(self, path: str, body: Any = None, **kwargs: Any) -> tuple[int, Any]:
        return self("POST", path, body, **kwargs)


@pytest.fixture
def internal() -> Internal:
    """Calls `/internal` with the secret: `internal.post(path, body, key=…)` is (status, answer); `internal.last` the response."""
    return Internal()
