"""Throw-away databases, servers and children of a measurement."""

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psycopg2

PROJECT = Path(__file__).resolve().parent.parent
SECRET = "benchmark-internal-secret-of-32-characters"
LONGEST_SECONDS = 3600  # of one child: a history of ten million entries takes a quarter of an hour


def environment(url: str, directory: Path) -> dict[str, str]:
    keys = {"SECRET_KEY": secrets.token_urlsafe(48), "JWT_SECRET": secrets.token_urlsafe(48), "INTERNAL_SECRET": SECRET}
    from cryptography.fernet import Fernet

    return os.environ | keys | {
        "ENCRYPTION_KEYS": Fernet.generate_key().decode(),
        "ALLOWED_HOSTS": "127.0.0.1",
        "DEBUG": "false",
        "DATABASE_URL": url,
        "MEDIA_ROOT": str(directory / "media"),
        "WAULE_ENV_FILE": str(directory / "none"),
        "DJANGO_SETTINGS_MODULE": "waule.settings",
        "LOG_LEVEL": "ERROR",
    }  # fmt: skip


def child(*arguments: str, env: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=PROJECT, env=env, capture_output=True, text=True, timeout=LONGEST_SECONDS
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: {done.stderr[-2000:]}")
    return done.stdout


@contextlib.contextmanager
def postgresql(server: str, template: str = "") -> Iterator[str]:
    """The URL of a new database on that server (…/postgres), a copy of `template` if that is given; dropped at the end."""
    name = f"waule_benchmark_{secrets.token_hex(4)}"

    def on_server(statement: str) -> None:
        with contextlib.closing(psycopg2.connect(server)) as connection:
            connection.autocommit = True
            connection.cursor().execute(statement)

    on_server(f"CREATE DATABASE {name}" + (f" TEMPLATE {template.rpartition('/')[2]}" if template else ""))
    try:
        yield f"{server.rpartition('/')[0]}/{name}"
    finally:
        on_server(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def vacuum(url: str) -> None:
    """What autovacuum does between the minutes: some servers have it switched off, and their plans are of empty tables."""
    with contextlib.closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        connection.cursor().execute("VACUUM ANALYZE")


@contextlib.contextmanager
def serving(env: dict[str, str]) -> Iterator[int]:
    """A waule server on a free port of loopback; the port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "manage.py", "serve", "--port", str(port)],
        cwd=PROJECT,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for _attempt in range(600):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5):
                break
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
