"""`manage.py reconcile`: the books prove themselves."""

import json
import sys
from typing import Any

from django.core.management.base import CommandError, CommandParser

from aiservices.proof import prove
from billing.reconcile import MAX_PROBLEMS
from waule.commands import PlainCommand


class Command(PlainCommand):
    help = "Recomputes every account from its entries, every hold, charge and refund, and storage bytes from objects."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, **options: Any) -> None:
        report = prove(progress=self._progress)
        if options["json"]:
            self.stdout.write(json.dumps(report.as_json()))
        else:
            self.stdout.write(
                f"{report.accounts} accounts, {report.entries} entries, {report.holds} holds, {report.charges} charges"
            )
            for problem in report.problems:
                number = f" entry {problem.seq}" if problem.seq is not None else ""
                self.stdout.write(f"{problem.account}{number}: {problem.what}")
            if report.problem_count > MAX_PROBLEMS:
                self.stdout.write(f"… and {report.problem_count - MAX_PROBLEMS} more")
            if report.ok:
                self.stdout.write("The books are right.")
        if not report.ok:
            raise CommandError(f"The books differ in {report.problem_count} places.")

    def _progress(self, done: int, total: int) -> None:
        if sys.stderr.isatty():
            end = "\n" if done >= total else ""
            self.stderr.write(f"\r{done:,} of {total:,} entries", ending=end)
