"""`manage.py rehearse_catalog FILE`: what the last days would have cost under a catalog that is not applied yet."""

import json
import sys
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from aiservices.management.commands.apply_catalog import read
from billing.catalog import file as catalog_file
from billing.services.dry_run import Rehearsal, Sum, rehearse, without_price
from waule.core.commands import PlainCommand
from waule.core.errors import WauleError

MAX_DAYS = 3650
ACCOUNTS_SHOWN = 20
ACCOUNTS_TOLD = 1000  # in the JSON document


class Command(PlainCommand):
    help = "Replays the charges of the last days under a draft catalog and tells the difference. Changes nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", metavar="FILE")
        parser.add_argument("--days", type=int, default=30, help="how far back (default 30)")
        parser.add_argument("--prune", action="store_true", help="as if models and rules not listed were switched off")
        parser.add_argument("--json", action="store_true", help="one JSON document on stdout")

    def handle(self, *, file: str, days: int, prune: bool, **options: Any) -> None:
        if not 1 <= days <= MAX_DAYS:
            raise CommandError(f"--days: give 1 to {MAX_DAYS}.")
        try:
            document = catalog_file.parse(read(file), name=file)
            catalog = catalog_file.draft(document, prune=prune)
            draft = catalog_file.apply(document, actor="rehearsal", prune=prune, dry_run=True)
        except WauleError as error:
            raise CommandError(f"{file}: {error}") from None
        result = rehearse(catalog, since=timezone.now() - timedelta(days=days), progress=self._progress)
        if sys.stderr.isatty():
            self.stderr.write("\r\033[K", ending="")
        if options["json"]:
            told = as_json(result) | {"modelsWithoutPrice": without_price(catalog)}
            told |= {"problems": list(draft.problems), "warnings": list(draft.warnings)}
            self.stdout.write(json.dumps(told, ensure_ascii=False))
        else:
            for line in report(result):
                self.stdout.write(line)
            for name in without_price(catalog):
                self.stdout.write(f"on, and without a price of its own: {name}")
            for line in (*draft.problems, *draft.warnings):
                self.stdout.write(line)

    def _progress(self, done: int) -> None:
        if sys.stderr.isatty():
            self.stderr.write(f"\r{done:,} charges", ending="")


def as_json(result: Rehearsal) -> dict[str, Any]:
    return {
        "since": result.since.isoformat(),
        **result.total.as_json(),
        "models": [{"name": name, **summed.as_json()} for name, summed in result.models_by_change()],
        "accounts": [
            {"account": account.reference, "name": str(account), **summed.as_json()}
            for account, summed in result.most_changed_accounts(ACCOUNTS_TOLD)
        ],
        "accountsLeftOut": max(0, len(result.accounts) - ACCOUNTS_TOLD),
    }


def report(result: Rehearsal) -> Iterable[str]:
    """Yield the tables for people."""
    total = result.total
    yield f"{total.uses:,} charges since {result.since:%Y-%m-%d %H:%M} (UTC)"
    yield ""
    yield _line("", "uses", "old", "new", "difference", "no price")
    for name, summed in result.models_by_change():
        yield _row(name, summed)
    yield _row("total", total)
    yield ""
    for account, summed in result.most_changed_accounts(ACCOUNTS_SHOWN):
        yield _row(str(account), summed)
    if len(result.accounts) > ACCOUNTS_SHOWN:
        yield f"… and {len(result.accounts) - ACCOUNTS_SHOWN:,} accounts that change less"
    if total.unpriced_uses:
        yield ""
        yield f"{total.unpriced_uses:,} uses ({total.unpriced_old:,} credits) would no longer have a price:"
        for name, summed in result.models_by_change():
            for code, count in summed.rejections.most_common():
                yield f"    {name}: {count:,} × {code}"


def _row(name: str, summed: Sum) -> str:
    return _line(
        name, f"{summed.uses:,}", f"{summed.old:,}", f"{summed.new:,}", f"{summed.difference:+,}", f"{summed.unpriced_uses:,}"
    )


def _line(name: str, *cells: str) -> str:
    return f"{name[:40]:<40}" + "".join(f"{cell:>15}" for cell in cells)
