"""Who has a lease is one process: its heartbeat renews by that name what any of its threads began."""

import os
import threading

import pytest

from aiservices.generations.leases import owner

pytestmark = pytest.mark.once

PROCESSES, THREADS = 20, 16


def owners_of_a_fork() -> set[str]:
    """What the threads of a forked process are called, which all ask at once."""
    reading, writing = os.pipe()
    if not (pid := os.fork()):
        found: list[str] = []
        barrier = threading.Barrier(THREADS)
        threads = [threading.Thread(target=lambda: (barrier.wait(), found.append(owner()))) for _number in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        os.write(writing, "\n".join(set(found)).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        told = file.read()
    os.waitpid(pid, 0)
    return set(told.splitlines())


def test_all_threads_of_a_process_are_one_owner_and_no_other_processes() -> None:
    seen = {owner()}
    for _number in range(PROCESSES):
        owners = owners_of_a_fork()
        assert len(owners) == 1
        assert not owners & seen
        seen |= owners
