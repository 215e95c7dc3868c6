"""`manage.py settle_unknown`: many unknown outcomes at once, charged as held or released."""

from typing import Any

from django.core.management.base import CommandParser

from aiservices.generations.settlement.payment import credits_held
from aiservices.generations.unknown import settle_many, unknown_outcomes
from billing.ledger.models import MAX_REASON_LENGTH
from waule.core.commands import ACTOR, WauleCommand
from waule.core.errors import InvalidRequest

MAX_HOURS = 24 * 3650


class Command(WauleCommand):
    help = "Ends unknown outcomes: --charge takes their held credits, --release gives them back. Each is in the audit log."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--older-than", type=float, default=0, metavar="HOURS", help="unknown for at least so long")
        how = parser.add_mutually_exclusive_group(required=True)
        how.add_argument("--charge", action="store_true", help="they were made: take what was held")
        how.add_argument("--release", action="store_true", help="they were not: release what was held")
        parser.add_argument("--reason", required=True, help="where you have seen it; stays in the audit log")
        parser.add_argument("--provider", default="", metavar="P", help="only models of this provider, or what it was asked for")
        parser.add_argument("--dry-run", action="store_true", help="only count them")

    def run(
        self, *, older_than: float, charge: bool, reason: str, provider: str, dry_run: bool, **options: Any
    ) -> dict[str, Any]:
        if not 1 <= len(reason.strip()) <= MAX_REASON_LENGTH:
            raise InvalidRequest.of_field("--reason", f"Say why, in 1 to {MAX_REASON_LENGTH} characters.")
        if not 0 <= older_than <= MAX_HOURS:
            raise InvalidRequest.of_field("--older-than", f"Give hours from 0 to {MAX_HOURS}.")
        rows = list(unknown_outcomes(older_than_hours=older_than, provider=provider))
        result: dict[str, Any] = {"outcome": "charged" if charge else "released", "dryRun": dry_run, "found": len(rows)}
        if dry_run:
            ids, skipped, credits = [row.id for row in rows], [], sum(credits_held(row) for row in rows)
        else:
            settled = settle_many(rows, charge=charge, reason=reason.strip(), actor=ACTOR)
            ids, skipped, credits = settled.ids, settled.skipped, settled.credits
        return result | {
            "settled": 0 if dry_run else len(ids),
            "skipped": len(skipped),
            "credits": credits,
            "generations": [str(each) for each in ids],
        }

    def print_result(self, result: dict[str, Any]) -> None:
        """One line, and one for each generation."""
        what = "would be " if result["dryRun"] else ""
        count = result["found"] if result["dryRun"] else result["settled"]
        self.stdout.write(f"{count} unknown outcomes {what}{result['outcome']}: {result['credits']} credits.")
        if result["skipped"]:
            self.stdout.write(f"{result['skipped']} had ended meanwhile and were left alone.")
        for each in result["generations"]:
            self.stdout.write(f"  {each}")
