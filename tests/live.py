"""waule as it runs in earnest: databases that really commit, server and worker processes that can be killed.

The ledger refuse DELETE and TRUNCATE, so a test that commits cannot be cleaned up after; it works on a database of its
own instead, cloned from one that was migrated before (docs/adr/0004-cloned-databases.md).
"""

import contextlib
import fcntl
import functools
import itertools
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg2
import requests
from django.db import connections

from tests import template
from tests.answers import check_response
from tests.forked import Forked
from tests.settings import ENVIRONMENT, INTERNAL_SECRET, RUN, RUN_DIR

START_SECONDS = 60
STOP_SECONDS = 8
COMMAND_SECONDS = 300
_count = itertools.count(1)


def manage(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Runs `manage.py` to its end, whatever that is."""
    with tempfile.TemporaryDirectory(dir=RUN_DIR) as directory:
        outputs = Path(directory) / "stdout", Path(directory) / "stderr"
        command = Forked(arguments, environ=process_environment(**environ), stdout=outputs[0], stderr=outputs[1])
        try:
            status = command.wait(COMMAND_SECONDS)
        finally:
            command.kill()
        return subprocess.CompletedProcess(arguments, status, *(output.read_text() for output in outputs))


def process_environment(**environ: str) -> dict[str, str]:
    return os.environ | ENVIRONMENT | {"DJANGO_SETTINGS_MODULE": "waule.settings"} | environ


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, below those that outgoing connections take.

    No other test of this run is given it: servers that start on one port at the same moment would share it.
    """
    with (RUN_DIR / "ports").open("a") as given:  # one character for each
        fcntl.flock(given, fcntl.LOCK_EX)
        for _attempt in range(100):
            given.write(".")
            given.flush()
            port = 20_000 + (int(RUN[-6:], 16) + given.tell()) % 12_000
            with socket.socket() as probe, contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise RuntimeError("no free port on 127.0.0.1")


class Database:
    """One migrated database of its own, on the server (or in the directory) that DATABASE_URL names."""

    def __init__(self, name: str) -> None:
        self.is_postgresql = ENVIRONMENT["DATABASE_URL"].startswith("postgres")
        if self.is_postgresql:
            server, _slash, _name = ENVIRONMENT["DATABASE_URL"].partition("?")[0].rpartition("/")
            self.name, self.url = name, f"{server}/{name}"
        else:
            self.name = str(RUN_DIR / f"{name}.sqlite3")
            self.url = f"sqlite:///{self.name}"

    @classmethod
    def clone(cls) -> "Database":
        """A copy of the migrated database (`tests.template`), which is made when it is first needed."""
        database = cls(f"waule_{RUN}_{os.getpid()}_{next(_count)}")
        if database.is_postgresql:
            on_server(f'CREATE DATABASE "{database.name}" TEMPLATE "{_postgresql_template()}"')
        else:
            shutil.copyfile(_sqlite_template(), database.name)
        return database

    @classmethod
    def empty(cls) -> "Database":
        """One without a single table."""
        database = cls(f"waule_{RUN}_{os.getpid()}_{next(_count)}")
        if database.is_postgresql:
            on_server(f'CREATE DATABASE "{database.name}"')
        return database

    def drop(self) -> None:
        if self.is_postgresql:
            on_server(f'DROP DATABASE IF EXISTS "{self.name}" WITH (FORCE)')
        else:
            for suffix in ("", "-wal", "-shm"):
                Path(self.name + suffix).unlink(missing_ok=True)

    def sql(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """The rows of one statement, run past Django in a transaction of its own. Parameters are written `%s`."""
        if self.is_postgresql:
            with contextlib.closing(connect(self.name)) as connection, connection, connection.cursor() as cursor:
                cursor.execute(statement, parameters or None)
                return cursor.fetchall() if cursor.description else []
        with contextlib.closing(sqlite3.connect(self.name, timeout=20)) as plain, plain:
            return plain.execute(statement.replace("%s", "?"), parameters).fetchall()

    def is_at_rest(self) -> bool:
        """Whether nobody is in the middle of a transaction that others would wait for."""
        if self.is_postgresql:
            busy = "SELECT 1 FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid() AND state <> 'idle'"
            return not self.sql(busy, self.name)
        with contextlib.closing(sqlite3.connect(self.name, timeout=0, isolation_level=None)) as plain:
            try:
                plain.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
            plain.execute("ROLLBACK")
            return True

    @contextlib.contextmanager
    def as_default(self) -> Iterator[None]:
        """Points this process's Django, its new threads too, at this database."""
        settings, connection = connections.settings["default"], connections["default"]
        connections.settings["default"] = settings | {"NAME": self.name}
        connections["default"] = connections.create_connection("default")
        try:
            yield
        finally:
            connections["default"].close()
            connections.settings["default"] = settings
            connections["default"] = connection


def connect(name: str) -> Any:
    settings = connections.settings["default"]
    return psycopg2.connect(
        dbname=name,
        user=settings["USER"],
        password=settings["PASSWORD"],
        host=settings["HOST"],
        port=settings["PORT"] or None,
    )


def on_server(statement: str) -> None:
    """Runs a statement that PostgreSQL takes outside of transactions only."""
    with contextlib.closing(connect("postgres")) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)


@functools.cache
def _sqlite_template() -> Path:
    return template.sqlite_file(_migrate)


@functools.cache
def _postgresql_template() -> str:
    name, draft = template.name(), Database(f"{template.name()}_draft")
    with template.locked(), contextlib.closing(connect("postgres")) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT datname, shobj_description(oid, 'pg_database') FROM pg_database WHERE starts_with(datname, %s)",
            [template.PREFIX],
        )
        made = dict(cursor.fetchall())
        if name not in made:
            draft.drop()
            on_server(f'CREATE DATABASE "{draft.name}"')
            _migrate(draft.url)
            # A pooler may still be connected to it.
            on_server(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{draft.name}'")
            on_server(f'ALTER DATABASE "{draft.name}" RENAME TO "{name}"')
            on_server(f"COMMENT ON DATABASE \"{name}\" IS '{int(time.time())}'")
            for old, made_at in made.items():
                if made_at and time.time() - int(made_at) > template.KEPT_SECONDS:
                    on_server(f'DROP DATABASE IF EXISTS "{old}"')
    return name


def _migrate(url: str) -> None:
    done = manage("migrate", "--verbosity=0", DATABASE_URL=url)
    assert done.returncode == 0, done.stderr


class Process:
    """A `manage.py` command in the background, in a process group of its own; its output goes to a file."""

    def __init__(self, arguments: Sequence[str], *, log: Path, environ: dict[str, str]) -> None:
        self.log_path = log
        log.touch()
        self.popen = Forked(arguments, environ=environ, stdout=log)

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    @property
    def is_running(self) -> bool:
        return self.popen.poll() is None

    def kill(self) -> None:
        """As a power cut would: the process and all its children, at once."""
        self.popen.kill()
        self.popen.wait(STOP_SECONDS)

    def freeze(self, database: Database) -> None:
        """Stops it in its tracks until `thaw`, outside of its transactions: no other process could go on inside of one."""
        for _attempt in range(200):
            os.killpg(self.pid, signal.SIGSTOP)
            time.sleep(0.02)  # a process is not stopped yet when the signal is sent
            if database.is_at_rest():
                return
            self.thaw()
            time.sleep(0.02)
        raise AssertionError("it was never without a transaction")

    def thaw(self) -> None:
        os.killpg(self.pid, signal.SIGCONT)

    def stop(self) -> int:
        """Asks it to end, and sees to it that nothing is left. The exit status."""
        if self.is_running:
            self.popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(STOP_SECONDS)
        self.kill()
        return self.popen.returncode


class LiveWaule:
    """`manage.py serve` on a database of its own. It starts with the first request.

    `environ` holds settings for its processes; change them before the first request, or with `restart`.
    """

    def __init__(self, database: Database, directory: Path, **environ: str) -> None:
        self.workers = 1  # server processes; one starts sooner
        self.database = database
        self.directory = directory
        own = {"DATABASE_URL": database.url, "MEDIA_ROOT": str(directory / "media")}
        self.environ = own | {"PROMETHEUS_MULTIPROC_DIR": str(directory / "metrics")} | environ
        self.server: Process | None = None
        self.processes: list[Process] = []
        self._port = 0
        self._sessions = threading.local()
        self._starting = threading.Lock()

    # --- the server ------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where it answers, without a slash at the end; starts it if it does not run."""
        with self._starting:
            if self.server is None:
                self.start()
        return f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        assert self.server is not None
        return self.server.pid

    @property
    def log(self) -> str:
        return self.server.log if self.server else ""

    def start(self) -> None:
        self._port = self._port or free_port()
        self.environ["PORT"] = str(self._port)
        self.server = self.run("serve", "--port", str(self._port), "--workers", str(self.workers))
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.server.is_running:
            with contextlib.suppress(requests.RequestException):
                if requests.get(f"http://127.0.0.1:{self._port}/healthz", timeout=5).status_code == 200:
                    return
            time.sleep(0.05)
        self.server.kill()
        raise AssertionError(f"the server did not start:\n{self.server.log}")

    def kill(self) -> None:
        """`kill -9` of the server and its workers."""
        if self.server is not None:
            self.server.kill()
            self.server = None

    def restart(self, **environ: str) -> None:
        """Stops the server (if it still runs) and starts it again on the same port, with these settings besides."""
        if self.server is not None:
            self.server.stop()
        self.environ |= environ
        self.start()

    def stop(self) -> None:
        for process in self.processes:
            process.stop()
        self.server = None

    # --- talking to it ---------------------------------------------------------------------------------------------

    @property
    def session(self) -> requests.Session:
        """This thread's connections, kept alive."""
        if not hasattr(self._sessions, "session"):
            self._sessions.session = requests.Session()
            self._sessions.session.trust_env = False
            self._sessions.session.hooks["response"].append(check_response)
        return self._sessions.session

    def request(self, method: str, path: str, **kwargs: Any) -> requests.Response:
        kwargs.setdefault("timeout", 60)
        kwargs.setdefault("allow_redirects", False)
        return self.session.request(method, self.url + path, **kwargs)

    def get(self, path: str, **kwargs: Any) -> requests.Response:
        return self.request("GET", path, **kwargs)

    def post(self, path: str, body: Any = None, **kwargs: Any) -> requests.Response:
        return self.request("POST", path, json=body, **kwargs)

    def post_to_its_death(self, path: str, body: Any, **kwargs: Any) -> None:
        """POSTs what the server dies of (a fail point): there is no answer."""
        try:
            answer = self.post(path, body, **kwargs)
        except requests.RequestException:
            return
        raise AssertionError(f"the server lived and answered {answer.status_code}: {answer.text}")

    def internal(
        self, method: str, path: str, body: Any = None, *, key: str | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """A call of `/internal` with the secret; `key` is its Idempotency-Key. The status and the answer's JSON."""
        sent = {"X-Internal-Secret": self.environ.get("INTERNAL_SECRET", INTERNAL_SECRET)} | (headers or {})
        if key is not None:
            sent["Idempotency-Key"] = key
        answer = self.request(method, path, json=body, headers=sent)
        return answer.status_code, answer.json() if answer.content else None

    # --- beside it -------------------------------------------------------------------------------------------------

    def run(self, *arguments: str, **environ: str) -> Process:
        """Starts another `manage.py` command on the same database in the background, such as `worker`."""
        log = self.directory / f"{arguments[0]}-{len(self.processes)}.log"
        process = Process(arguments, log=log, environ=process_environment(**self.environ | environ))
        self.processes.append(process)
        return process

    def manage(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Runs a `manage.py` command on the same database to its end."""
        return manage(*arguments, **self.environ | environ)

    def manage_json(self, *arguments: str) -> Any:
        """What a command that must succeed prints with `--json`."""
        done = self.manage(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def sql(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self.database.sql(statement, *parameters)
