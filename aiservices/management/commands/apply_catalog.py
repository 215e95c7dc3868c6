"""`manage.py apply_catalog FILE`: makes models, prices and levels what a file says."""

import json
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils.translation import gettext as _

from billing.catalog import file as catalog_file
from waule.core.commands import PlainCommand
from waule.core.errors import WauleError

ACTOR = "command"
EXAMPLE = Path(catalog_file.__file__).parent.parent / "example_catalog.yaml"


class Command(PlainCommand):
    help = "Applies a catalog file (YAML or JSON; - for standard input): all of it or nothing. Prints what changes."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", metavar="FILE", nargs="?")
        parser.add_argument("--example", action="store_true", help="print an explained catalog to start from, and change nothing")
        parser.add_argument("--dry-run", action="store_true", help="tell what would change, and change nothing")
        parser.add_argument("--prune", action="store_true", help="switch off models and rules that the file does not list")
        parser.add_argument("--json", action="store_true", help="one JSON document on stdout")

    def handle(self, *, file: str | None, dry_run: bool, prune: bool, **options: Any) -> None:
        if options["example"]:
            self.stdout.write(EXAMPLE.read_text(encoding="utf-8"), ending="")
            return
        if file is None:
            raise CommandError("Name a catalog file. One to start from: manage.py apply_catalog --example > catalog.yaml")
        try:
            document = catalog_file.parse(read(file), name=file)
            result = catalog_file.apply(document, actor=ACTOR, prune=prune, dry_run=dry_run, source=Path(file).name)
        except WauleError as error:
            raise CommandError(f"{file}: {error}") from None
        if options["json"]:
            self.stdout.write(json.dumps(as_json(result, dry_run=dry_run), ensure_ascii=False))
            return
        for change in result.changes:
            for line in change.lines():
                self.stdout.write(line)
        for problem in result.problems:
            self.stderr.write(str(_("Problem: %(what)s") % {"what": problem}))
        for warning in result.warnings if dry_run else ():
            self.stderr.write(warning)
        self.stdout.write(summary(result, dry_run=dry_run))


def read(file: str) -> bytes:
    """Return the content of `file`, or of standard input.

    Raises:
        CommandError: it cannot be read.
    """
    limit = catalog_file.MAX_FILE_BYTES + 1
    try:
        if file == "-":
            return sys.stdin.buffer.read(limit)
        with Path(file).open("rb") as stream:
            return stream.read(limit)
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror or error}") from None


def as_json(result: catalog_file.Result, *, dry_run: bool) -> dict[str, Any]:
    return {
        "dryRun": dry_run,
        "added": result.count("added"),
        "changed": result.count("changed"),
        "switchedOff": result.count("switched off"),
        "changes": [change.as_json() for change in result.changes],
        "problems": list(result.problems),
        "warnings": list(result.warnings),
    }


def summary(result: catalog_file.Result, *, dry_run: bool) -> str:
    """Return the last line: how much changed."""
    if not result.changes:
        return str(_("Nothing changes: the catalog is what the file says."))
    counts = _("%(added)s added, %(changed)s changed, %(off)s switched off.") % {
        "added": result.count("added"),
        "changed": result.count("changed"),
        "off": result.count("switched off"),
    }
    return f"{counts} " + _("Dry run: nothing was written.") if dry_run else str(counts)
