"""`manage.py` as forks of a process that has the libraries loaded: they start in half the time, with settings of their own.

What depends on settings, and all of waule's own code, is loaded by each of them as from the command line.
"""

import atexit
import contextlib
import ctypes
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent  # nothing of ours is imported here: it would be loaded in each fork
POLL_SECONDS = 0.01
PR_SET_PDEATHSIG = 1  # prctl(2)
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.libraries"])
_lock = threading.Lock()  # multiprocessing reads an exit status once, whichever thread asks
_started: list["Forked"] = []


class Forked:
    """One command in a process group of its own, which is spoken to as a `subprocess.Popen`."""

    def __init__(self, arguments: Sequence[str], *, environ: dict[str, str], stdout: Path, stderr: Path | None = None) -> None:
        given = (list(arguments), environ, str(stdout), str(stderr or stdout))
        self._process = _context.Process(target=_run, args=given)
        with _lock:
            self._process.start()
        assert self._process.pid
        self.pid: int = self._process.pid
        _started.append(self)

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        with _lock:
            return self._process.exitcode

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def wait(self, seconds: float) -> int:
        """Raises subprocess.TimeoutExpired."""
        deadline = time.monotonic() + seconds
        while (status := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("manage.py", seconds)
            time.sleep(POLL_SECONDS)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended, and its exit status is still on its way to us
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """With its children, at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.send_signal(signal.SIGKILL)  # it may not have its group yet


def _run(arguments: list[str], environ: dict[str, str], stdout: str, stderr: str) -> None:
    if sys.platform == "linux":  # it ends with the tests, also where those are killed
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setsid()
    multiprocessing.set_start_method(None, force=True)  # as from the command line: the server forks its workers
    _open(os.devnull, os.O_RDONLY, 0)
    _open(stdout, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 1)
    if stderr == stdout:
        os.dup2(1, 2)
    else:
        _open(stderr, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 2)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w", buffering=1), open(2, "w", buffering=1)  # noqa: SIM115
    assert "django.conf" not in sys.modules or not sys.modules["django.conf"].settings.configured
    os.chdir(PROJECT)
    os.environ.clear()
    os.environ.update(environ)
    time.tzset()
    sys.argv = ["manage.py", *arguments]
    try:
        runpy.run_path("manage.py", run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # multiprocessing does not


def _open(path: str, flags: int, number: int) -> None:
    descriptor = os.open(path, flags, 0o600)
    os.dup2(descriptor, number)
    os.close(descriptor)


@atexit.register
def _kill_what_is_left() -> None:
    for forked in _started:
        if forked.poll() is None:
            forked.kill()
