"""Many calls at the same moment."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import connection

from tests.waiting import WAIT_SECONDS

Answer = TypeVar("Answer")


def at_once(count: int, call: Callable[[int], Answer]) -> list[Answer]:
    """The answers to `call(0)`, `call(1)`, … in this order, made by a thread each, all begun together.

    Raise what the first of them raised. No thread leaves a connection to the database behind.
    """
    ready = threading.Barrier(count)

    def run(number: int) -> Answer:
        try:
            ready.wait(WAIT_SECONDS)
            return call(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(run, range(count)))


def together(calls: Sequence[Callable[[], Answer]]) -> list[Answer]:
    """The answers to these calls, made as by `at_once`."""
    return at_once(len(calls), lambda number: calls[number]())
