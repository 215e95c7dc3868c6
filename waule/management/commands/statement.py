"""`manage.py statement`: one account between two timestamps."""

import sys
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from billing import statements
from billing.api import entry_answer
from billing.ledger.models import Account
from billing.ledger.targets import find_target
from tenants.principal import Principal
from tenants.selectors import find_owner_id
from waule.core.commands import WauleCommand, timestamp


class Command(WauleCommand):
    help = "Shows what an account had, what moved and what was left, from one timestamp (inclusive) to another (exclusive)."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("kind", choices=["user", "tenant"])
        parser.add_argument("id", metavar="ID", help="the id or the exact name")
        parser.add_argument("--from", dest="since", type=timestamp, required=True, metavar="ISO")
        parser.add_argument("--to", dest="until", type=timestamp, required=True, metavar="ISO")
        parser.add_argument("--csv", metavar="FILE", help="write the entries as CSV into this file, or to stdout (-)")

    def run(self, *, kind: Any, id: str, since: Any, until: Any, csv: str | None, **options: Any) -> dict[str, Any]:
        account = Account.objects.get(id=find_target(Principal(kind, find_owner_id(kind, id))).account_id)
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

    def print_result(self, result: dict[str, Any]) -> None:
        if self.is_told:
            return
        kinds = result.pop("byType")
        super().print_result(result)
        for kind in kinds:
            self.stdout.write(f"  {kind['type']}: {kind['amount']:+d} in {kind['count']} entries")
