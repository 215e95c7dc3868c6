"""`scripts/audit` reads the lock files whole, fails on what is known to be vulnerable, and says so where nobody can be asked."""

import importlib.machinery
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.settings import PROJECT
from tests.upstreams.advisory_server import AdvisoryServer

OLD, ADVISORY = ("django", "4.2.0"), "PYSEC-2023-61"


@pytest.fixture
def server() -> Iterator[AdvisoryServer]:
    service = AdvisoryServer({OLD: [ADVISORY]})
    yield service
    service.stop()


def audit(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/audit", *map(str, arguments)]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60)


def pins_of(*files: str) -> set[tuple[str, str]]:
    """Read in another way than the script reads them."""
    lines = [line for file in files for line in (PROJECT / file).read_text().splitlines() if re.match(r"[A-Za-z0-9].*==", line)]
    pins = [line.split(";")[0].removesuffix("\\").strip().partition("==") for line in lines]
    return {(name.partition("[")[0].lower(), version) for name, _equals, version in pins}


def lock_file(directory: Path, *lines: str) -> Path:
    path = directory / "requirements.txt"
    path.write_text("# made by hand\n" + "".join(f"{line} \\\n    --hash=sha256:00\n    # via waule\n" for line in lines))
    return path


def test_every_pinned_package_is_asked_about(server: AdvisoryServer) -> None:
    done = audit("--server", server.url)
    pinned = pins_of("requirements.txt", "requirements-dev.txt")
    assert (done.returncode, done.stderr) == (0, "")
    assert set(server.asked) == pinned
    assert f"{len(pinned)} packages read and asked about, 0 with known vulnerabilities." in done.stdout
    assert len(pinned) > 100


def test_a_vulnerable_pin_fails(server: AdvisoryServer, tmp_path: Path) -> None:
    done = audit("--server", server.url, lock_file(tmp_path, "Django==4.2.0", "pyjwt[crypto]==2.8.0"))
    assert done.returncode == 1
    assert f"django 4.2.0: {ADVISORY}" in done.stdout
    assert "2 packages read and asked about, 1 with known vulnerabilities." in done.stdout
    assert server.asked == [OLD, ("pyjwt", "2.8.0")]
    assert audit("--server", server.url, lock_file(tmp_path, "django==4.2.27")).returncode == 0


def test_nobody_to_ask_is_said_and_is_no_vulnerability(server: AdvisoryServer, tmp_path: Path) -> None:
    file = lock_file(tmp_path, "django==4.2.0")
    for answer in (b"<html>Please log in</html>", b"[]", b'{"results": []}'):
        server.says = answer
        done = audit("--server", server.url, file)
        assert (done.returncode, "1 packages read, and NOT asked about" in done.stdout) == (3, True), done.stdout
    done = audit("--server", "http://127.0.0.1:1", file)
    assert (done.returncode, "1 packages read, and NOT asked about" in done.stdout) == (3, True), done.stdout


@pytest.mark.parametrize("line", ["django>=4.2", "django @ https://example.com/django.zip", "-e git+https://example.com/x"])
def test_a_line_that_pins_nothing_is_not_passed_over(line: str, tmp_path: Path) -> None:
    done = audit("--server", "http://127.0.0.1:1", lock_file(tmp_path, "pyjwt==2.8.0", line))
    assert done.returncode == 1
    assert line in done.stderr


def test_a_licence_that_is_not_allowed_fails(capsys: pytest.CaptureFixture[str]) -> None:
    script = load_script()
    rules: dict[str, Any] = {"licences": ["MIT", "BSD-3-Clause"], "packages": {"known": "asked their authors"}}
    licences = {"MIT": ["one"], "AGPL-3.0-only": ["two", "known"], "MIT AND GPL-3.0-only": ["three"], script.NOT_INSTALLED: ["x"]}
    assert script.check_licences(licences, rules) == 2
    said = capsys.readouterr().out
    assert "two: its licence is 'AGPL-3.0-only'" in said
    assert "three: its licence is 'MIT AND GPL-3.0-only'" in said
    assert "4 licences read (1 packages are not installed here), 2 not allowed." in said


@pytest.mark.parametrize(
    ("licence", "is_allowed"),
    [
        ("MIT", True),
        ("MIT OR GPL-3.0-only", True),
        ("GPL-3.0-only OR MIT", True),
        ("MIT AND (GPL-3.0-only OR BSD-3-Clause)", True),
        ("MIT AND GPL-3.0-only", False),
        ("BSD-3-Clause / Other/Proprietary License", False),
        ("Mozilla Public License 2.0 (MPL 2.0)", True),
        ("not stated", False),
    ],
)
def test_a_licence_expression_is_read_part_by_part(licence: str, is_allowed: bool) -> None:
    allowed = {"MIT", "BSD-3-Clause", "Mozilla Public License 2.0 (MPL 2.0)"}
    assert load_script().is_allowed(licence, allowed) is is_allowed


def test_the_licences_are_listed_of_every_package() -> None:
    done = audit("--licences")
    listed = {name for line in done.stdout.splitlines() for name in line.partition(": ")[2].split(", ")}
    assert listed == {name for name, _version in pins_of("requirements.txt", "requirements-dev.txt")}


def load_script() -> Any:
    loader = importlib.machinery.SourceFileLoader("audit_script", str(PROJECT / "scripts" / "audit"))
    spec = importlib.util.spec_from_loader("audit_script", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module
