"""`manage.py statement`: one account between two moments."""

import sys
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from billing import statements
from billing.api import entry_answer
from billing.models import Account
from billing.selectors import find_target
from billing.uses import Target
from waule.commands import WauleCommand, moment


class Command(WauleCommand):
    help = "Tells what an account had, what moved and what was left, from one moment (inclusive) to another (exclusive)."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("kind", choices=["user", "tenant"])
        parser.add_argument("id")
        parser.add_argument("--from", dest="since", type=moment, required=True, metavar="ISO")
        parser.add_argument("--to", dest="until", type=moment, required=True, metavar="ISO")
        parser.add_argument("--csv", metavar="FILE", help="write the entries as CSV into this file, or to stdout (-)")

    def run(self, *, kind: Any, id: str, since: Any, until: Any, csv: str | None, **options: Any) -> dict[str, Any]:
        account = Account.objects.get(id=find_target(Target(kind, id)).account_id)
        made = statements.statement(account=account, since=since, until=until)
        self.is_told = csv == "-" and not options["json"]
        if self.is_told:
            for line in statements.csv_lines(made):
                sys.stdout.write(line)
        elif csv:
            with Path(csv).open("w", encoding="utf-8", newline="") as file:
                file.writelines(statements.csv_lines(made))
        result = statements.summary(made)
        if options["json"] and not csv:
            made.check_short()
            result["entries"] = [entry_answer(entry) for entry in made.entries()]
        return result

    def tell(self, result: dict[str, Any]) -> None:
        if self.is_told:
            return
        kinds = result.pop("byType")
        super().tell(result)
        for kind in kinds:
            self.stdout.write(f"  {kind['type']}: {kind['amount']:+d} in {kind['count']} entries")
