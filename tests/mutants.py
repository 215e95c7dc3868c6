"""The pytest plugin of `scripts/mutants`: tests are collected and pass once, then each mutant forks a process for its own."""

import gc
import importlib
import os
import sys
import time
import types
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest
from django.db import connections

from tests.settings import PROJECT

Mutant = dict[str, Any]
KILLED, SURVIVED, NOT_APPLIED = 1, 0, 9


class Mutants:
    """`survivors`: how many mutants no test noticed, or could not be tried."""

    def __init__(self, mutants: list[Mutant], said: TextIO) -> None:
        self.mutants, self.said = mutants, said
        self.survivors = len(mutants)
        self.failed: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        for mutant in self.mutants:
            importlib.import_module(module_of(mutant))
        self.run_items(session.items)
        if self.failed or session.testsfailed:
            self.say(f"without any mutant these fail: {', '.join(self.failed) or 'the collection'}")
            return True
        for mutant in self.mutants:
            items = [item for item in session.items if any(is_of(item.nodeid, test) for test in mutant["tests"])]
            self.survivors -= self.is_killed(mutant, items)
        return True

    def run_items(self, items: list[pytest.Item]) -> None:
        """In order, until one fails."""
        for item, following in zip(items, [*items[1:], _End(items[-1].session)], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self.failed:
                return

    def is_killed(self, mutant: Mutant, items: list[pytest.Item]) -> bool:
        began_at = time.monotonic()
        connections.close_all()  # none may be shared with the child
        came, goes = os.pipe()
        if not (pid := os.fork()):
            self.failed = []
            status = NOT_APPLIED
            if items and apply(mutant):
                self.run_items(items)
                status = KILLED if self.failed else SURVIVED
            os.write(goes, "".join(self.failed).encode())
            os._exit(status)
        os.close(goes)
        with os.fdopen(came) as pipe:
            killer = pipe.read()
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        what = {KILLED: f"killed by {killer}", SURVIVED: "SURVIVED"}.get(status, f"NOT TRIED ({status}, {len(items)} tests)")
        self.say(f"{time.monotonic() - began_at:5.1f} s  {mutant['name']}: {what}")
        return status == KILLED

    def say(self, line: str) -> None:
        print(line, file=self.said, flush=True)


class _End:
    """Follows the last test of a run: what the session has set up stays for the next run, the rest is torn down."""

    def __init__(self, session: pytest.Session) -> None:
        self.session = session

    def listchain(self) -> list[Any]:
        return [self.session]


def is_of(nodeid: str, test: str) -> bool:
    return nodeid == test or nodeid.startswith((f"{test}::", f"{test}["))


def module_of(mutant: Mutant) -> str:
    return str(mutant["file"]).removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def apply(mutant: Mutant) -> bool:
    """Puts the mutant into this process. False: it changed nothing that runs here.

    A changed function gets its new code, wherever it is referred to. What changed outside of functions (a constant, a
    statement) makes the module run again, in its own namespace: there its functions look everything up.
    """
    path = str(PROJECT / mutant["file"])
    source = Path(path).read_text()
    before = compile(source, path, "exec")
    after = compile(source.replace(mutant["old"], mutant["new"]), path, "exec")
    is_module_changed = essence(before, with_functions=False) != essence(after, with_functions=False)
    if is_module_changed:
        exec(after, sys.modules[module_of(mutant)].__dict__)
    return bool(replace_functions(path, codes_by_name(before), codes_by_name(after))) or is_module_changed


def replace_functions(path: str, before: dict[str, types.CodeType], after: dict[str, types.CodeType]) -> int:
    changed = {name: code for name, code in after.items() if name in before and essence(code) != essence(before[name])}
    replaced = 0
    for thing in gc.get_objects():
        # Not isinstance: it asks weak proxies for their class, and those of dead objects raise.
        if type(thing) is types.FunctionType and thing.__code__.co_filename == path:
            code = changed.get(thing.__code__.co_qualname)
            if code is not None and code.co_freevars == thing.__code__.co_freevars:
                thing.__code__ = code
                replaced += 1
    return replaced


def codes_by_name(module: types.CodeType) -> dict[str, types.CodeType]:
    """Of the functions whose name is theirs alone (several lambdas share one)."""
    codes = list(codes_in(module))
    counts = Counter(code.co_qualname for code in codes)
    return {code.co_qualname: code for code in codes if counts[code.co_qualname] == 1}


def codes_in(code: types.CodeType) -> Iterator[types.CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield constant
            yield from codes_in(constant)


def essence(code: types.CodeType, *, with_functions: bool = True) -> Any:
    """What code does, without where it stands in its file."""
    constants = [essence(each) if isinstance(each, types.CodeType) else repr(each) for each in code.co_consts]
    if not with_functions:
        is_class = [isinstance(each, types.CodeType) and each.co_name != "<lambda>" for each in code.co_consts]
        constants = [each for each, is_code in zip(constants, is_class, strict=True) if not is_code]
    return code.co_code, code.co_names, constants
