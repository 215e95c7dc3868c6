"""From a fresh clone to a running waule: `manage.py up`, what it makes once, and how it ends."""

import contextlib
import os
import re
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.live import Database, LiveWaule, Process, free_port, process_environment
from tests.waiting import eventually
from waule.bootstrap import REQUIRED, write_env_file_once

SECRETS = (*REQUIRED, "INTERNAL_SECRET", "LOOKUP_KEY", "DEBUG")
END_SECONDS = 60.0


class Up:
    """`manage.py up` on a machine where nothing has been set up."""

    def __init__(self, directory: Path, database: Database) -> None:
        self.directory, self.database = directory, database
        self.env_file = directory / ".env"
        self.port = free_port()
        self.runs: list[Process] = []

    def environ(self) -> dict[str, str]:
        given = process_environment(
            WAULE_ENV_FILE=str(self.env_file), DATABASE_URL=self.database.url, MEDIA_ROOT=str(self.directory / "media")
        )
        return {name: value for name, value in given.items() if name not in SECRETS}

    def start(self, *arguments: str) -> Process:
        log = self.directory / f"up-{len(self.runs)}.log"
        self.runs.append(Process(["up", "--port", str(self.port), *arguments], log=log, environ=self.environ()))
        return self.runs[-1]

    def wait(self, run: Process) -> None:
        def answers() -> bool:
            assert run.is_running, run.log
            with contextlib.suppress(requests.RequestException):
                return requests.get(f"http://127.0.0.1:{self.port}/readyz", timeout=5).status_code == 200
            return False

        eventually(answers, seconds=90, about=lambda: run.log)

    def start_and_wait(self, *arguments: str) -> Process:
        run = self.start(*arguments)
        self.wait(run)
        return run


def descendants(pid: int) -> list[int]:
    """The processes below `pid`, by what the kernel says."""
    below: list[int] = []
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            below += [int(child), *descendants(int(child))]
    return below


def is_alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def command_line(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return ""


@pytest.fixture
def has_tables() -> bool:
    """Whether the database was migrated before: most tests are not about that."""
    return True


@pytest.fixture
def up(tmp_path: Path, has_tables: bool) -> Iterator[Up]:
    up = Up(tmp_path, Database.clone() if has_tables else Database.empty())
    yield up
    for run in up.runs:
        below = descendants(run.pid)
        run.stop()
        for pid in below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        print(run.log[-4000:])
    up.database.drop()


@pytest.mark.parametrize("has_tables", [False], ids=["empty"])
def test_from_nothing_to_a_running_server_and_again_without_a_change(up: Up) -> None:
    first = up.start_and_wait()
    assert stat.S_IMODE(up.env_file.stat().st_mode) == 0o600
    written = up.env_file.read_text()
    values = dict(line.split("=", 1) for line in written.splitlines() if not line.startswith("#"))
    assert set(values) == set(SECRETS)
    assert values["DEBUG"] == "false"

    output = first.log
    (key,) = set(re.findall(r"wk_live_\w+", output))
    (administrator,) = re.findall(r"is admin with the password (\S+)", output)
    for name in ("SECRET_KEY", "JWT_SECRET", "INTERNAL_SECRET", "LOOKUP_KEY", "ENCRYPTION_KEYS"):
        assert values[name] not in output, name
    curls = re.findall(r"(?m)^    (curl [^\\\n]*(?:\\\n.*)?)$", output)
    assert len(curls) == 2
    balance = subprocess.run(["bash", "-c", curls[1]], cwd="/", capture_output=True, text=True, timeout=30)
    assert balance.stdout == '{"balance":10000,"held":0}'

    told = time.monotonic()
    os.kill(first.pid, signal.SIGINT)
    assert first.popen.wait(END_SECONDS) == 0
    assert time.monotonic() - told < END_SECONDS

    counts = (
        "SELECT (SELECT count(*) FROM tenants_tenant), (SELECT count(*) FROM tenants_user), (SELECT count(*) FROM tenants_apikey)"
    )
    before = up.database.sql(counts)
    assert before == [(1, 2, 1)]
    second = up.start_and_wait()
    assert up.env_file.read_text() == written
    assert up.database.sql(counts) == before
    assert key not in second.log
    assert administrator not in second.log
    assert "password" not in second.log
    assert not re.search(r"wk_(live|test)_", second.log)


@pytest.mark.once
def test_the_first_administrator_can_log_in(up: Up) -> None:
    run = up.start_and_wait("--no-demo")
    (password,) = re.findall(r"is admin with the password (\S+)", run.log)
    assert "wk_live_" not in run.log
    assert up.database.sql("SELECT count(*) FROM tenants_tenant") == [(0,)]
    with requests.Session() as session:
        page = f"http://127.0.0.1:{up.port}/admin/login/"
        session.get(page, timeout=30)
        form = {"username": "admin", "password": password, "csrfmiddlewaretoken": session.cookies["csrftoken"]}
        answer = session.post(page, form, headers={"Referer": page}, timeout=30, allow_redirects=False)
    assert answer.status_code == 302


@pytest.mark.once
def test_what_an_operator_deletes_does_not_come_back(up: Up) -> None:
    up.start_and_wait("--no-demo").stop()
    up.start_and_wait().stop()
    assert up.database.sql("SELECT count(*) FROM tenants_tenant") == [(0,)]


@pytest.mark.once
def test_a_taken_port_is_told_in_one_line(up: Up) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", up.port))
        other.listen()
        run = up.start()
        assert run.popen.wait(60) == 1
    assert run.log.splitlines() == [
        f"CommandError: Cannot serve on 127.0.0.1:{up.port}: Address already in use. Choose another port with --port."
    ]


@pytest.mark.once
def test_a_server_takes_another_port_than_the_settings(live_waule: LiveWaule) -> None:
    """Its processes then start from scratch instead of being forked."""
    port = free_port()
    server = live_waule.run("serve", "--port", str(port), "--workers", "2", PORT=str(free_port()))

    def answers() -> bool:
        assert server.is_running, server.log
        with contextlib.suppress(requests.ConnectionError):
            assert requests.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == 200
            return True
        return False

    eventually(answers, about=lambda: server.log)


@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, *(pytest.param(each, marks=pytest.mark.once) for each in (signal.SIGINT, signal.SIGHUP))],
    ids=lambda number: number.name,
)
def test_told_to_end_it_takes_everything_along(up: Up, number: signal.Signals) -> None:
    run = up.start_and_wait("--no-demo")
    below = descendants(run.pid)
    assert len(below) >= 2
    run.popen.send_signal(number)
    assert run.popen.wait(END_SECONDS) == 0
    assert [pid for pid in below if is_alive(pid)] == []


@pytest.mark.once
def test_killed_outright_it_leaves_nobody_behind(up: Up) -> None:
    run = up.start_and_wait("--no-demo")
    below = descendants(run.pid)
    os.kill(run.pid, signal.SIGKILL)
    run.popen.wait(END_SECONDS)
    eventually(lambda: not any(is_alive(pid) for pid in below), seconds=10)
    up.start_and_wait()  # and its port is free again


@pytest.mark.once
def test_a_dead_worker_is_replaced_and_a_dead_server_ends_it(up: Up) -> None:
    run = up.start_and_wait("--no-demo")

    def process(name: str) -> int:
        return next((pid for pid in descendants(run.pid) if f"manage.py {name}" in command_line(pid)), 0)

    eventually(lambda: process("worker"), seconds=10)
    worker = process("worker")
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: process("worker") not in (0, worker), seconds=10)
    os.kill(process("serve"), signal.SIGKILL)
    assert run.popen.wait(END_SECONDS * 2) == 1
    assert "The server ended with status -9." in run.log


# --- the settings file alone ---------------------------------------------------------------------------------------


@pytest.fixture
def env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in SECRETS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WAULE_ENV_FILE", str(tmp_path / ".env"))
    return tmp_path / ".env"


def test_a_settings_file_is_written_once(env_file: Path) -> None:
    assert write_env_file_once() is True
    written = env_file.read_bytes()
    assert stat.S_IMODE(env_file.stat().st_mode) == 0o600
    assert write_env_file_once() is False
    assert env_file.read_bytes() == written
    assert list(env_file.parent.iterdir()) == [env_file]


def test_a_settings_file_that_is_there_stays_as_it_is(env_file: Path) -> None:
    env_file.write_text("SECRET_KEY=mine\n")
    assert write_env_file_once() is False
    assert env_file.read_text() == "SECRET_KEY=mine\n"


def test_settings_of_the_environment_need_no_file(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in REQUIRED:
        monkeypatch.setenv(name, "given")
    assert write_env_file_once() is False
    assert not env_file.exists()


def test_what_the_environment_gives_is_not_written_beside_it(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "given")
    monkeypatch.setenv("ALLOWED_HOSTS", "example.com")
    assert write_env_file_once() is True
    names = set(re.findall(r"(?m)^([A-Z_]+)=", env_file.read_text()))
    assert names == {"JWT_SECRET", "INTERNAL_SECRET", "ENCRYPTION_KEYS", "DEBUG"}


def test_no_two_installations_share_a_secret(env_file: Path) -> None:
    write_env_file_once()
    first = env_file.read_text().splitlines()[1:6]
    env_file.unlink()
    write_env_file_once()
    assert not set(first) & set(env_file.read_text().splitlines())
