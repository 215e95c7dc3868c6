"""A server whose processes are several."""

import pytest

from tests.live import LiveWaule


@pytest.fixture
def waule(live_waule: LiveWaule) -> LiveWaule:
    """Two server processes."""
    live_waule.workers = 2
    return live_waule
