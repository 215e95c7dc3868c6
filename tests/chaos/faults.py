"""What breaks meanwhile: three lanes of faults beside each other, each fault mended before the next one of its lane."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator

import requests

from tests.chaos.schedule import Fault
from tests.chaos.world import World
from tests.live import Process

READY_SECONDS = 120


class Lane(threading.Thread):
    """Does one fault after another until `until` (monotonic). `counts` are those that were done."""

    def __init__(self, name: str, world: World, faults: Iterator[Fault], until: float) -> None:
        super().__init__(daemon=True, name=f"faults-{name}")
        self.world, self.faults, self.until = world, faults, until
        self.counts: Counter[str] = Counter()
        self.failure: BaseException | None = None
        self.now = ""  # the fault under way

    def run(self) -> None:
        try:
            for fault in self.faults:
                if time.monotonic() + fault.pause_seconds > self.until:
                    break
                time.sleep(fault.pause_seconds)
                self.now = fault.name
                getattr(self, fault.name, self.lie)(fault)
                self.now = ""
                self.counts[fault.name] += 1
        except BaseException as failure:
            self.failure = failure

    # --- waule's own processes ---------------------------------------------------------------------------------------

    def kill_server(self, fault: Fault) -> None:
        self.world.waule.kill()
        time.sleep(fault.lasts_seconds / 4)
        self._start_server()

    def kill_server_process(self, fault: Fault) -> None:
        """One of the processes that serve; the server starts another."""
        listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.world.waule.pid)], capture_output=True, text=True).stdout
        if victims := [int(line) for line in listed.split()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(victims[int(fault.choice * len(victims))], signal.SIGKILL)

    def freeze_server(self, fault: Fault) -> None:
        assert self.world.waule.server is not None
        _freeze(self.world.waule.server, fault.lasts_seconds)

    def restart_server(self, fault: Fault) -> None:
        assert self.world.waule.server is not None
        self.world.waule.server.stop()
        self._start_server()

    def _start_server(self) -> None:
        """Until it is there: what it needs may be away just now."""
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                return self.world.waule.start()
            except AssertionError:
                if time.monotonic() > deadline:
                    raise

    def kill_worker(self, fault: Fault) -> None:
        self._a_worker(fault).kill()
        self._replace_dead_workers()

    def freeze_worker(self, fault: Fault) -> None:
        """Often for longer than its leases: others take its jobs over, and it must notice that."""
        _freeze(self._a_worker(fault), 2 * fault.lasts_seconds)

    def restart_worker(self, fault: Fault) -> None:
        self._a_worker(fault).stop()
        self._replace_dead_workers()

    def _a_worker(self, fault: Fault) -> Process:
        self._replace_dead_workers()
        return self.world.workers[int(fault.choice * len(self.world.workers))]

    def _replace_dead_workers(self) -> None:
        """As a supervisor does."""
        alive = [worker for worker in self.world.workers if worker.is_running]
        dead = len(self.world.workers) - len(alive)
        self.world.workers = alive
        for _number in range(dead):
            self.world.start_worker()

    # --- what they depend on -----------------------------------------------------------------------------------------

    def stop_database(self, fault: Fault) -> None:
        assert self.world.cluster is not None
        self.world.cluster.stop_immediately()
        time.sleep(fault.lasts_seconds)
        self.world.cluster.start()

    def cut_connections(self, fault: Fault) -> None:
        assert self.world.cluster is not None
        self.world.cluster.cut_connections()

    def kill_broker(self, fault: Fault) -> None:
        assert self.world.broker is not None
        self.world.broker.kill()
        time.sleep(fault.lasts_seconds)
        self.world.broker.start()

    def cut_bucket(self, fault: Fault) -> None:
        self.world.bucket.set("cut")
        time.sleep(fault.lasts_seconds)
        self.world.bucket.set("open")

    def silence_bucket(self, fault: Fault) -> None:
        self.world.bucket.set("silent")
        time.sleep(fault.lasts_seconds)
        self.world.bucket.set("open")

    # --- the provider ------------------------------------------------------------------------------------------------

    def lie(self, fault: Fault) -> None:
        self.world.provider.lie = fault.name
        time.sleep(fault.lasts_seconds)
        self.world.provider.lie = ""


def _freeze(process: Process, seconds: float) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            os.killpg(process.pid, signal.SIGCONT)


def wait_until_ready(world: World) -> None:
    """Until waule answers again, with everything that it needs."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(requests.RequestException):
            if requests.get(f"{world.url}/readyz", timeout=10).status_code == 200:
                return
        time.sleep(0.2)
    raise AssertionError("waule did not become ready again")
