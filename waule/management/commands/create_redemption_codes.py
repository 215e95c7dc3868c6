"""`manage.py create_redemption_codes`: a batch of codes that tenants and users turn into credits."""

from typing import Any

from django.core.management.base import CommandParser

from billing.redemption.services import create_codes
from waule.core.commands import ACTOR, WauleCommand, timestamp


class Command(WauleCommand):
    help = "Makes redemption codes and prints them. They are shown this once; what is kept is their hashes."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("count", type=int, help="how many codes")
        parser.add_argument("--credits", type=int, required=True, metavar="N", help="what each use of a code gives")
        parser.add_argument("--uses", type=int, default=1, metavar="N", help="how many accounts may use one code")
        parser.add_argument("--expires", type=timestamp, metavar="ISO")
        parser.add_argument("--batch", default="", metavar="NAME", help="the batch's name; without one it gets one")

    def run(self, *, count: int, credits: int, uses: int, batch: str, **options: Any) -> dict[str, Any]:
        made = create_codes(count=count, credits=credits, uses=uses, expires_at=options["expires"], batch=batch, actor=ACTOR)
        return {"codes": made.codes, "batch": made.batch.name, "credits": credits}

    def print_result(self, result: dict[str, Any]) -> None:
        for code in result["codes"]:
            self.stdout.write(code)
        self.stderr.write(f"batch: {result['batch']}")
