"""docs/threat-model.md and docs/security.md: every claim names a test, and every test that they name is there."""

import re
from typing import Any

import pytest

from tests.settings import PROJECT

DOCS = ("threat-model.md", "security.md")
TEST = re.compile(r"`(tests/[\w/]+(?:\.py(?:::\w+)?)?)`")
# Of the threat model, the tables whose rows are claims.
CLAIMING = ("Who comes in, and where", "What each secret can do")


def text_of(name: str) -> str:
    return (PROJECT / "docs" / name).read_text()


def section(name: str, title: str) -> str:
    return text_of(name).partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def rows(table: str) -> list[str]:
    return [line for line in table.splitlines() if line.startswith("| ")][2:]


def problem_of(test: str) -> str:
    path, _colons, name = test.partition("::")
    if not (PROJECT / path).exists():
        return f"{path} is not there"
    if name and not re.search(rf"^def {name}\(", (PROJECT / path).read_text(), re.MULTILINE):
        return f"{path} has no {name}"
    return ""


@pytest.mark.parametrize("name", DOCS)
def test_every_test_that_is_named_is_there(name: str) -> None:
    named = TEST.findall(text_of(name))
    assert len(named) > 5
    assert [problem for test in named if (problem := problem_of(test))] == []


def test_a_name_that_looks_like_a_test_is_written_so_that_it_is_checked() -> None:
    for name in DOCS:
        loose = [each for each in re.findall(r"`([^`]*test_\w+[^`]*)`", text_of(name)) if not TEST.fullmatch(f"`{each}`")]
        assert loose == [], name


def test_what_is_not_there_is_found() -> None:
    assert problem_of("tests/waule/test_security_docs.py::test_what_is_not_there_is_found") == ""
    assert problem_of("tests/waule/test_security_docs.py::test_nothing") != ""
    assert problem_of("tests/waule/test_nothing.py") != ""


@pytest.mark.parametrize("title", CLAIMING)
def test_every_row_of_the_threat_model_names_a_test(title: str) -> None:
    claims = rows(section("threat-model.md", title))
    assert len(claims) > 5
    assert [row for row in claims if not TEST.search(row)] == []


def test_every_attack_of_the_threat_model_names_a_test() -> None:
    attacks = [text for text in section("threat-model.md", "What they could try").split("\n\n") if text.strip().startswith("**")]
    assert len(attacks) > 10
    assert [text for text in attacks if not TEST.search(text)] == []


@pytest.mark.parametrize("path", ["/admin/", "/admin/login/", "/admin/tenants/tenant/", "/admin/billing/account/", "/console/"])
def test_every_page_allows_our_own_scripts_alone(admin_client: Any, path: str) -> None:
    answer = admin_client.get(path, follow=True)
    policy = dict(part.strip().partition(" ")[::2] for part in answer["Content-Security-Policy"].split(";"))
    assert set(policy["script-src"].split()) <= {"'self'", "'unsafe-eval'"}
    assert policy["default-src"] in ("'self'", "'none'")
    assert not re.search(r"<script(?![^>]*\ssrc=)(?![^>]*application/json)[^>]*>", answer.text), "an inline script would not run"
