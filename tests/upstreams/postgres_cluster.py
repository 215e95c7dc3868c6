"""A PostgreSQL server of a test's own, which may be stopped as by a power cut."""

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import psycopg2

from tests.live import free_port

STOP_AND_START_SECONDS = 60


def find_pg_ctl() -> str:
    """Where PostgreSQL's own programs are; an empty text where they are not installed."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    return shutil.which("pg_ctl") or (str(installed[-1]) if installed else "")


class Cluster:
    """A throw-away cluster on a port of its own, with one database. It stands where `tests.live.Database` stands."""

    is_postgresql = True
    name = "postgres"

    def __init__(self) -> None:
        self.pg_ctl = Path(find_pg_ctl()).resolve()
        self.directory = tempfile.mkdtemp(prefix="waule-test-cluster-")
        self.port = free_port()
        self.user = next((user.pw_name for user in pwd.getpwall() if user.pw_name == "postgres"), "nobody")
        if os.getuid() == 0:
            os.chown(self.directory, pwd.getpwnam(self.user).pw_uid, -1)  # it refuses to run as root
        self._run(self.pg_ctl.with_name("initdb"), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
        self.start()

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{self.name}"

    def start(self) -> None:
        options = f"-k {self.directory} -p {self.port} -c listen_addresses=127.0.0.1 -c max_connections=200"
        self._run(self.pg_ctl, "start", "-w", "-l", f"{self.directory}/log", "-o", options)

    def stop_immediately(self) -> None:
        self._run(self.pg_ctl, "stop", "-m", "immediate")

    def cut_connections(self) -> None:
        """Ends every other session, as an administrator or a firewall may."""
        self.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname IS NOT NULL")

    def sql(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with contextlib.closing(psycopg2.connect(self.url)) as opened, opened, opened.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def drop(self) -> None:
        with contextlib.suppress(AssertionError):  # it was not running
            self.stop_immediately()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _run(self, program: Path, *arguments: str) -> None:
        as_other_user = ["runuser", "-u", self.user, "--"] if os.getuid() == 0 else []
        done = subprocess.run(
            [*as_other_user, str(program), *arguments, "-D", f"{self.directory}/data"],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=STOP_AND_START_SECONDS,
        )
        assert done.returncode == 0, done.stderr
