"""A real PgBouncer in transaction mode on a port of its own, in front of the PostgreSQL that the tests use."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from django.db import connections

from tests import tools
from tests.live import free_port
from tests.waiting import eventually

CONFIG = """
[databases]
* = host={host} port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
unix_socket_dir =
auth_type = trust
auth_file = {directory}/users
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 500
ignore_startup_parameters =
query_wait_timeout = 60
logfile = {directory}/log
{user}
"""


@contextlib.contextmanager
def pgbouncer(*, size: int = 4) -> Iterator[int]:
    """Runs it until the block ends; yields its port. `size`: how many server connections all clients of a database share."""
    program = tools.program("pgbouncer", package="pgbouncer")
    directory = Path(tempfile.mkdtemp(prefix="waule-pgbouncer-"))  # pytest's own are closed to the user that it runs as
    server, own_port = connections.settings["default"], free_port()
    config = CONFIG.format(
        host=server["HOST"] or "127.0.0.1",
        port=server["PORT"] or 5432,
        own_port=own_port,
        directory=directory,
        size=size,
        user="user = nobody" if os.getuid() == 0 else "",  # it refuses to run as root
    )
    (directory / "pgbouncer.ini").write_text(config)
    (directory / "users").write_text(f'"{server["USER"]}" "{server["PASSWORD"]}"\n')
    directory.chmod(0o777)
    with contextlib.ExitStack() as parents:
        parents.callback(shutil.rmtree, directory)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
        process = subprocess.Popen([program, str(directory / "pgbouncer.ini")], **quiet)
        parents.callback(_end, process)

        def is_up() -> bool:
            assert process.poll() is None, (directory / "log").read_text()
            return _listens(own_port)

        eventually(is_up, about=(directory / "log").read_text)
        yield own_port


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
