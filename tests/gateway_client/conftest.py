from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.gateway_client.bad_server import BadServer


@pytest.fixture
def upstream() -> Iterator[BadServer]:
    server = BadServer()
    yield server
    server.stop()


@pytest.fixture
def start_server() -> Iterator[Callable[..., BadServer]]:
    started: list[BadServer] = []

    def start(**options: Any) -> BadServer:
        started.append(BadServer(**options))
        return started[-1]

    yield start
    for server in started:
        server.stop()
