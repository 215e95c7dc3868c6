"""What tests share stands beside them: no module of tests is imported by another, and no helper is written twice."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.settings import PROJECT

pytestmark = pytest.mark.once

MAX_STATEMENTS = 2  # of a helper that may be written again
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def modules() -> dict[str, ast.Module]:
    """The modules below `tests`, by their paths there."""
    tests = PROJECT / "tests"
    return {path.relative_to(tests).as_posix(): ast.parse(path.read_text()) for path in sorted(tests.rglob("*.py"))}


def imported(module: ast.Module) -> Iterator[tuple[str, str]]:
    """Each import, those inside of functions too, as the module and the name (empty where the module itself is imported)."""
    for node in ast.walk(module):
        if isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)


def from_tests(module: ast.Module) -> list[str]:
    """What a module takes from a module of tests."""
    return [
        f"{source}.{name}"
        for source, name in imported(module)
        if source.split(".")[0] == "tests" and any(part.startswith("test_") for part in (*source.split("."), name))
    ]


def fixtures(module: ast.Module) -> set[str]:
    functions = [node for node in module.body if isinstance(node, FUNCTIONS)]
    return {each.name for each in functions if any("pytest.fixture" in ast.unparse(how) for how in each.decorator_list)}


def copies(parsed: dict[str, ast.Module]) -> list[list[str]]:
    """The functions with one body in several modules, whatever their names: those that only say what they are do not count."""
    found: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for path, module in parsed.items():
        for node in module.body:
            if isinstance(node, FUNCTIONS):
                body = node.body[1:] if ast.get_docstring(node) is not None else node.body
                if len(body) > MAX_STATEMENTS:
                    found["\n".join(map(ast.dump, body))].add((path, node.name))
    return [
        sorted(f"{path}: {name}" for path, name in places) for places in found.values() if len({path for path, _ in places}) > 1
    ]


def test_no_module_takes_a_helper_from_a_module_of_tests() -> None:
    taken = {path: names for path, module in modules().items() if (names := from_tests(module))}
    assert not taken


def test_no_fixture_is_imported() -> None:
    """pytest finds it in the nearest `conftest.py`."""
    parsed = modules()
    given = {"tests." + path.removesuffix(".py").replace("/", "."): fixtures(module) for path, module in parsed.items()}
    taken = {
        path: names
        for path, module in parsed.items()
        if (names := [f"{source}.{name}" for source, name in imported(module) if name in given.get(source, set())])
    }
    assert not taken


def test_no_helper_is_written_twice() -> None:
    assert not copies(modules())


HELPER = "def one(x):\n    y = x\n    y += 1\n    return y\n"


@pytest.mark.parametrize(
    ("source", "taken"),
    [
        ("from tests.billing.test_charge_api import body", ["tests.billing.test_charge_api.body"]),
        ("def f():\n    from tests.billing import test_charge_api", ["tests.billing.test_charge_api"]),
        ("import tests.billing.test_charge_api", ["tests.billing.test_charge_api."]),
        ("from tests.books import body\nfrom test_support import anything", []),
    ],
)
def test_what_counts_as_taken(source: str, taken: list[str]) -> None:
    assert from_tests(ast.parse(source)) == taken


def test_what_counts_as_a_copy() -> None:
    once, again = ast.parse(HELPER), ast.parse(HELPER.replace("def one(x):", 'def other(x):\n    """Say what it is."""\n'))
    assert copies({"a.py": once, "b.py": again}) == [["a.py: one", "b.py: other"]]
    assert copies({"a.py": ast.parse(HELPER + HELPER)}) == []
    assert copies({"a.py": once, "b.py": ast.parse(HELPER.replace("+=", "-="))}) == []


def test_the_folder_of_tests_is_walked() -> None:
    assert {"conftest.py", "waiting.py", f"waule/{Path(__file__).name}"} <= set(modules())
