"""`manage.py benchmark`: measures waule against its database in one run, on databases of its own, and writes down what came."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from benchmarks.measure import measure
from benchmarks.report import report
from benchmarks.servers import PROJECT

DEFAULT_SERVER = "postgresql://postgres@127.0.0.1:5432/postgres"


class Command(BaseCommand):
    help = "Measures charges, holds, look-ups, reconcile and the admin's pages side by side; writes benchmarks/results.md."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--postgres", default=DEFAULT_SERVER, help="where to make a throw-away database; empty: none")
        parser.add_argument("--seconds", type=float, default=5, help="of each measurement (1 to 60)")
        parser.add_argument("--repeats", type=int, default=3, help="of everything (1 to 10)")
        parser.add_argument("--entries", type=int, default=1_000_000, help="of the long history (10,000 to 100,000,000)")
        parser.add_argument("--output", type=Path, default=PROJECT / "benchmarks" / "results.md")

    def handle(self, *, postgres: str, seconds: float, repeats: int, entries: int, output: Path, **options: Any) -> None:
        if not (1 <= seconds <= 60 and 1 <= repeats <= 10):
            raise CommandError("Give 1 to 60 seconds and 1 to 10 repeats.")
        if not 10_000 <= entries <= 100_000_000:
            raise CommandError("Give 10,000 to 100,000,000 entries.")
        lines = measure(server=postgres or None, seconds=seconds, repeats=repeats, entries=entries, say=self.stdout.write)
        text = report(lines, seconds=seconds, repeats=repeats)
        output.write_text(text)
        self.stdout.write(text)
