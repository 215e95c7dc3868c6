"""`manage.py archive_ledger`: moves the uses of old months from the ledger into signed files."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from billing.archive.places import copy_to_bucket
from billing.archive.services import archive_ledger
from waule.core.commands import ACTOR, WauleCommand, show_progress


class Command(WauleCommand):
    help = (
        "Moves the uses of every month before the given one from the ledger into compressed files, and keeps signed closing "
        "balances in their place. Repeat it to go on after an interruption. It cannot be undone."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--before", required=True, metavar="YYYY-MM", help="the first month that stays")
        parser.add_argument("--directory", type=Path, metavar="DIR", help="where the files go; default: LEDGER_ARCHIVE_DIR")
        parser.add_argument("--to-bucket", action="store_true", help="also copy every archived month into the platform's bucket")
        parser.add_argument("--dry-run", action="store_true", help="count what would be moved, and move nothing")

    def run(self, *, before: str, directory: Path | None, dry_run: bool, to_bucket: bool, **options: Any) -> dict[str, Any]:
        folder = directory or (Path(settings.LEDGER_ARCHIVE_DIR) if settings.LEDGER_ARCHIVE_DIR else None)
        if folder is None:
            raise CommandError("Say where the files go: --directory DIR, or LEDGER_ARCHIVE_DIR.")
        result = archive_ledger(
            before=before,
            directory=folder,
            actor=ACTOR,
            dry_run=dry_run,
            progress=lambda done, total: show_progress(done, total, "months"),
        )
        if to_bucket and not dry_run:
            result["copied"] = copy_to_bucket(directory=folder, actor=ACTOR)
        return result
