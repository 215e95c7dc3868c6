"""`manage.py rotate_encryption_key`: every stored secret under the newest key."""

from typing import Any

from django.core.management.base import CommandError

from waule.commands import WauleCommand, show_progress
from waule.rotation import rotate

MAX_NAMED = 20  # unreadable secrets in the one line of a failure


class Command(WauleCommand):
    help = "Re-encrypts every stored secret under the newest of ENCRYPTION_KEYS. Can be stopped and run again."

    def run(self, **options: Any) -> dict[str, Any]:
        result = rotate(lambda done, total: show_progress(done, total, "secrets"))
        if result.unreadable:
            rest = len(result.unreadable) - MAX_NAMED
            raise CommandError(
                f"{result.rotated} secrets re-encrypted; {len(result.unreadable)} cannot be decrypted by any key: "
                + ", ".join(result.unreadable[:MAX_NAMED])
                + (f" and {rest} more" if rest > 0 else "")
            )
        return {"rotated": result.rotated, "current": result.current}
