"""The table of what was measured: a line for each comparison, and the page that they make."""

import os
import platform
import shutil
import sqlite3
import statistics
import subprocess
from dataclasses import dataclass, field

from benchmarks.load import GENERATOR


@dataclass
class Line:
    """One row of the table: both sides and their ratio, a figure for each repeat."""

    scenario: str
    against: str
    target: float | None
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    refused: int = 0
    is_at_most: bool = False  # the smaller the better
    digits: int = 0

    @property
    def ratios(self) -> list[float]:
        return [mine / other for mine, other in zip(self.ours, self.theirs, strict=True) if other]

    def markdown(self) -> str:
        target = "" if self.target is None else f"{'≤' if self.is_at_most else '≥'} {self.target:g}"
        verdict = ""
        if self.target is not None and self.ratios:
            ratio = statistics.median(self.ratios)
            verdict = "yes" if (ratio <= self.target if self.is_at_most else ratio >= self.target) else "no"
        ours, theirs = spread(self.ours, self.digits), spread(self.theirs, self.digits)
        return (
            f"| {self.scenario} | {ours} | {spread(self.p99, 1)} | {self.against} | {theirs} "
            f"| {spread(self.ratios, 2)} | {target} | {verdict} |"
        )


def spread(figures: list[float], digits: int) -> str:
    """min / median / max."""
    if not figures:
        return ""
    return " / ".join(f"{value:,.{digits}f}" for value in (min(figures), statistics.median(figures), max(figures)))


def report(lines: list[Line], *, seconds: float, repeats: int) -> str:
    """results.md. Nothing in it is written by hand."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    version = shutil.which("pgbench") and subprocess.run(["pgbench", "--version"], capture_output=True, text=True).stdout.strip()
    load = " / ".join(f"{figure:.1f}" for figure in os.getloadavg())
    return "\n".join(
        [
            "# What was measured",
            "",
            "Written by `scripts/bench`; do not edit. Figures are requests (or items, or pairs) per second, min / median / max",
            f"of {repeats} repeats of {seconds:g} s; p99 is the time of an answer in ms. Load generator, server, database and",
            "whatever else runs share the machine, so only ratios of one run count. The peer written in another language is not",
            "part of this project and is left out.",
            "",
            f"Load by {GENERATOR}.",
            f"{os.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()}, {version or 'no pgbench'}, "
            f"SQLite {sqlite3.sqlite_version}; load average at the end {load}.",
            "",
            "| what | waule | p99 | against | that | ratio | target | met |",
            "| --- | --: | --: | --- | --: | --: | --: | --- |",
            *[line.markdown() for line in lines],
            "",
            f"Answers that were no success: {sum(line.refused for line in lines)}.",
            "",
            "The admin's lists with ten million entries, statements and milliseconds of each: [pages.md](pages.md).",
            "",
        ]
    )
