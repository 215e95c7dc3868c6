"""`manage.py check_storage`: does a bucket work, and does it have what our rows say?"""

import json
from typing import Any

from django.core.management.base import CommandError, CommandParser

from storage.checks.backend import check_owner
from storage.checks.compare import MAX_TOLD, Comparison, compare
from tenants.principal import Principal
from tenants.selectors import find_tenant_by_id_or_name
from waule.core.commands import PlainCommand, show_progress


class Command(PlainCommand):
    help = "Writes, reads and deletes a small file where the platform's results go, or a tenant's, and says what is wrong."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", metavar="ID|NAME", help="where this tenant's results go, instead of the platform's")
        parser.add_argument("--compare", action="store_true", help="also compare our rows with what lies there")
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, **options: Any) -> None:
        named = options["tenant"]
        owner = Principal("tenant", str(find_tenant_by_id_or_name(named).id)) if named else None
        checked = check_owner(owner)
        found = compare(owner, progress=self._progress) if options["compare"] and checked.ok else None
        if options["json"]:
            told = checked.as_json() | {"ok": checked.ok and (found is None or found.ok)}
            self.stdout.write(
                json.dumps(told | ({"comparison": found.as_json()} if found is not None else {}), ensure_ascii=False)
            )
        else:
            backend = checked.backend
            where = " ".join(part for part in (backend.driver, backend.bucket, backend.region, backend.endpoint) if part)
            skew = "" if checked.clock_skew_seconds is None else f", its clock is {checked.clock_skew_seconds:+d} s off ours"
            self.stdout.write(f"{where}: {'works' if checked.ok else 'does not work'}, {checked.elapsed_ms} ms{skew}")
            if found is not None:
                self._tell(found)
        if not checked.ok:
            raise CommandError(f"{checked.message} ({checked.reason})")
        if found is not None and not found.ok:
            raise CommandError(f"{found.missing} are missing, {found.orphans} orphans, {found.different} differ in size.")

    def _tell(self, found: Comparison) -> None:
        for each in found.problems:
            self.stdout.write(f"{each['what']:8} {each['key']}  {each['rowBytes']} in our row, {each['objectBytes']} there")
        more = found.missing + found.orphans + found.different - len(found.problems)
        if more > 0:
            self.stdout.write(f"… and {more} more than the first {MAX_TOLD}")
        if found.unchecked:
            self.stdout.write(
                f"{found.unchecked} rows that callers told us of lie outside of our folders and were not looked for."
            )
        self.stdout.write(f"{found.objects} objects, {found.size_bytes} bytes")

    def _progress(self, done: int, total: int) -> None:
        show_progress(done, total, "rows")
