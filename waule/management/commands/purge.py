"""`manage.py purge`: deletes what the retention settings say is old."""

from typing import Any

from django.core.management.base import CommandParser

from aiservices.retention.purge import purge
from waule.core.commands import WauleCommand


class Command(WauleCommand):
    help = "Deletes what the RETENTION_*_DAYS settings say is old. The worker does it daily."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--dry-run", action="store_true", help="count what would be deleted, and delete nothing")

    def run(self, *, dry_run: bool, **options: Any) -> dict[str, Any]:
        return purge(dry_run=dry_run)
