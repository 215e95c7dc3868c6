"""`scripts/mutants`: every sabotage still has its one place in the code, and tests that are there; none is applied on disk."""

import subprocess
import sys
import tomllib
from collections import Counter
from typing import Any

import pytest

from tests.mutants import apply
from tests.settings import PROJECT

MUTANTS: list[dict[str, Any]] = tomllib.loads((PROJECT / "scripts" / "mutants.toml").read_text())["mutant"]


def test_every_mutant_applies_to_todays_source() -> None:
    done = subprocess.run([sys.executable, "scripts/mutants", "--check"], cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, f"{len(MUTANTS)} mutants, 0 that can say nothing")


def test_there_are_enough_of_every_kind() -> None:
    assert len(MUTANTS) >= 40
    assert [name for name, count in Counter(mutant["name"] for mutant in MUTANTS).items() if count > 1] == []
    for place in ("billing/", "aiservices/credentials/", "aiservices/generations/", "tenants/", "waule/core/"):
        assert sum(mutant["file"].startswith(place) for mutant in MUTANTS) >= 3, place


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant["name"].replace(" ", "-"))
def test_a_mutant_is_python_and_another_program(mutant: dict[str, Any]) -> None:
    source = (PROJECT / mutant["file"]).read_text()
    mutated = source.replace(mutant["old"], mutant["new"])
    assert mutated != source
    compile(mutated, mutant["file"], "exec")


def test_a_changed_function_is_changed_wherever_it_is_referred_to() -> None:
    """In a process of its own, as `scripts/mutants` does it."""
    script = """
import django
django.setup()
from tests.mutants import apply
from tenants import api_keys
from tenants.selectors import looks_valid
text = api_keys.new_key("live")
wrong = text[:-1] + ("a" if text[-1] != "a" else "b")
assert (looks_valid(text), looks_valid(wrong)) == (True, False)
assert apply({"file": "tenants/api_keys.py", "old": "        and with_checksum(text[:-CHECKSUM_LENGTH]) == text\\n", "new": ""})
assert (looks_valid(text), looks_valid(wrong)) == (True, True)
assert apply({"file": "tenants/api_keys.py", "old": "RANDOM_LENGTH = 30", "new": "RANDOM_LENGTH = 31"})
assert len(api_keys.new_key("live")) == len(text) + 1
assert not apply({"file": "tenants/api_keys.py", "old": "# not there", "new": ""})
"""
    environ = {"DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONPATH": str(PROJECT)}
    source = (PROJECT / "tenants" / "api_keys.py").read_bytes()
    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, env=environ, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert (PROJECT / "tenants" / "api_keys.py").read_bytes() == source


def test_what_changes_nothing_is_told() -> None:
    assert apply({"file": "tenants/api_keys.py", "old": "no such text", "new": ""}) is False
