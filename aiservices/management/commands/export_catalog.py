"""`manage.py export_catalog [FILE]`: models, prices and levels as one file that `apply_catalog` takes."""

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from billing.catalog import file as catalog_file
from billing.catalog.models import CatalogVersion
from waule.core.commands import PlainCommand


class Command(PlainCommand):
    help = "Writes the catalog to FILE (JSON where its name ends in .json, else YAML), or to stdout."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", metavar="FILE", nargs="?", default="")
        parser.add_argument("--json", action="store_true", help="JSON whatever the file's name")

        parser.add_argument("--number", type=int, help="the catalog as that version kept it (default: as it is now)")

    def handle(self, *, file: str, number: int | None, **options: Any) -> None:
        document = catalog_file.export() if number is None else kept(number)
        text = catalog_file.dump(document, as_json=options["json"] or file.lower().endswith(".json"))
        if not file:
            self.stdout.write(text, ending="")
            return
        try:
            Path(file).write_text(text, encoding="utf-8")
        except OSError as error:
            raise CommandError(f"{file}: {error.strerror or error}") from None


def kept(number: int) -> catalog_file.Document:
    """Return the catalog of a version.

    Raises:
        CommandError: there is no such version.
    """
    version = CatalogVersion.objects.filter(number=number).first()
    if version is None:
        raise CommandError(f"There is no catalog version {number}.")
    return catalog_file.from_json(version.document)
