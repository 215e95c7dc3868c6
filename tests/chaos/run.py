"""One run of chaos, from an empty database to the figures of its end."""

import re
import sys
import time
from collections import Counter
from typing import Any

from tests.chaos import schedule
from tests.chaos.callers import Caller
from tests.chaos.checks import check
from tests.chaos.faults import Lane, wait_until_ready
from tests.chaos.model import Disagreement, Shared
from tests.chaos.world import World, opened

PROGRESS_SECONDS = 1.0
JOIN_SECONDS = 300


def run(*, seed: int, seconds: float, callers: int = 4, on_sqlite: bool = False) -> dict[str, Any]:
    """What was done, in figures. An odd seed has celery and a broker where Redis is installed, an even one the embedded engine.

    Raises Disagreement: with the seed, and what was found.
    """
    try:
        with opened(on_sqlite=on_sqlite, with_broker=seed % 2 == 1) as world:
            world.fill(callers)
            world.start()
            try:
                return _run(world, seed, seconds, callers)
            except BaseException:
                _show_logs(world)
                raise
    except Disagreement as found:
        raise Disagreement(f"seed {seed}: {found}") from found


def _run(world: World, seed: int, seconds: float, callers: int) -> dict[str, Any]:
    shared, began_at = Shared(), time.monotonic()
    until = began_at + seconds
    working = [Caller(number, world, shared, schedule.steps(seed, number), until) for number in range(callers)]
    lanes = [
        Lane(name, world, schedule.faults(seed, name, set(names) - world.missing_faults), until)
        for name, names in schedule.LANES.items()
    ]
    for thread in (*working, *lanes):
        thread.start()
    _watch(working, lanes, shared, began_at, seconds)
    for lane in lanes:
        lane.join(JOIN_SECONDS)
        if lane.failure is not None:
            raise lane.failure
    wait_until_ready(world)
    for caller in working:
        caller.join(JOIN_SECONDS)
        if caller.failure is not None:
            raise Disagreement(f"{caller.name}, step {caller.made}: {caller.failure}") from caller.failure
        if caller.is_alive():
            raise Disagreement(f"{caller.name} never came to an end")
    counts: Counter[str] = sum((lane.counts for lane in lanes), Counter())
    figures = check(world, working, shared)
    steps = sum(caller.made for caller in working)
    done = {"seed": seed, "seconds": round(time.monotonic() - began_at), "steps": steps, **shared.counts, **figures}
    return done | {"lies": world.provider.lies, "faults": sum(counts.values()), **dict(sorted(counts.items()))}


def _watch(working: list[Caller], lanes: list[Lane], shared: Shared, began_at: float, seconds: float) -> None:
    """Waits until the time is up or somebody has failed; on a terminal it shows how far it is."""
    is_terminal = sys.stderr.isatty()
    while (passed := time.monotonic() - began_at) < seconds:
        if any(thread.failure for thread in (*working, *lanes)):
            for thread in (*working, *lanes):
                thread.until = 0.0
            break
        if is_terminal:
            now = ", ".join(lane.now for lane in lanes if lane.now)
            faults = sum(sum(lane.counts.values()) for lane in lanes)
            line = f"{passed:5.0f} of {seconds:.0f} s  {shared.counts['calls']} calls, {faults} faults  {now}"
            sys.stderr.write(f"\r{line[:110]:<110}")
        time.sleep(PROGRESS_SECONDS)
    if is_terminal:
        sys.stderr.write("\r" + " " * 110 + "\r")


def _show_logs(world: World) -> None:
    """The ends of the last logs, and what a server did not foresee in any of them."""
    for process in world.waule.processes:
        for found in re.finditer(
            r"^.*(unhandled exception|could not be made).*\n(?:(?!20\d\d-).*\n)*", process.log, re.MULTILINE
        ):
            print(f"--- {process.log_path.name}\n{found[0][-4000:]}", file=sys.stderr)
    for process in world.waule.processes[-4:]:
        print(f"--- {process.log_path.name}\n{process.log[-4000:]}", file=sys.stderr)
