"""A tool that is missing is an error where it was promised, and a skipped test elsewhere."""

import pytest

from tests import tools


@pytest.mark.parametrize("is_required", [True, False])
def test_a_missing_program(monkeypatch: pytest.MonkeyPatch, is_required: bool) -> None:
    monkeypatch.setattr(tools, "ARE_REQUIRED", is_required)
    outcome = pytest.fail.Exception if is_required else pytest.skip.Exception
    with pytest.raises(outcome, match="no-such-program is not installed: apt-get install no-such-package"):
        tools.program("no-such-program", package="no-such-package")


def test_a_program_that_is_there() -> None:
    assert tools.program("sh", package="dash").endswith("/sh")
