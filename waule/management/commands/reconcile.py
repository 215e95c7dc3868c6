"""`manage.py reconcile`: reconcile the ledger with itself."""

import json
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from aiservices.monitoring.reconcile_task import reconcile_all, reconcile_what_is_new
from billing.reconciliation.report import MAX_PROBLEMS
from waule.core.commands import PlainCommand


class Command(PlainCommand):
    help = "Recomputes every account from its entries, every hold, charge and refund, and storage bytes from objects."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--archive",
            metavar="FILE",
            type=Path,
            action="append",
            default=[],
            help="prove this file of an archived month too; can be given several times",
        )
        parser.add_argument(
            "--incremental",
            action="store_true",
            help="go on from each account's last proven entry; what was changed before that only a full run sees",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["incremental"] and options["archive"]:
            raise CommandError("Archived months are proven by a full run: leave --incremental out.")
        if options["incremental"]:
            report = reconcile_what_is_new()
        else:
            report = reconcile_all(progress=self._progress, archived=options["archive"])
        if options["json"]:
            self.stdout.write(json.dumps(report.as_json()))
        else:
            self.stdout.write(
                f"{report.accounts} accounts, {report.entries} entries, {report.holds} holds, {report.charges} charges"
                if report.is_full
                else f"{report.accounts} accounts, {report.entries} new entries; what was proven before was not looked at again"
            )
            for problem in report.problems:
                number = f" entry {problem.seq}" if problem.seq is not None else ""
                self.stdout.write(f"{problem.account}{number}: {problem.what}")
            if report.problem_count > MAX_PROBLEMS:
                self.stdout.write(f"… and {report.problem_count - MAX_PROBLEMS} more")
            if report.ok:
                self.stdout.write("The ledger is right.")
        if not report.ok:
            raise CommandError(f"The ledger does not add up in {report.problem_count} places.")

    def _progress(self, done: int, total: int) -> None:
        if sys.stderr.isatty():
            end = "\n" if done >= total else ""
            self.stderr.write(f"\r{done:,} of {total:,} entries", ending=end)
