"""`manage.py erase_user`: takes a user out of everything but the numbers of the ledger."""

from typing import Any

from django.core.management.base import CommandParser

from aiservices.retention.erasure import erase_user
from tenants.selectors import find_user_by_id_or_name
from waule.core.commands import ACTOR, WauleCommand


class Command(WauleCommand):
    help = "Erases a user's personal data, prompts, files, keys and secrets. The ledger keeps its numbers. It cannot be undone."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("user", metavar="ID", help="the user's id or exact name")
        parser.add_argument("--reason", required=True)
        parser.add_argument("--dry-run", action="store_true", help="count what would be erased, and erase nothing")
        parser.add_argument("--leave-files", action="store_true", help="go on where a bucket does not delete a file")

    def run(self, *, user: str, reason: str, dry_run: bool, leave_files: bool, **options: Any) -> dict[str, Any]:
        found = find_user_by_id_or_name(user)
        return erase_user(found, reason=reason, actor=ACTOR, dry_run=dry_run, leave_files=leave_files)
