"""`manage.py rotate_encryption_key`: every stored secret under the newest key."""

from typing import Any

from django.core.management.base import CommandError

from waule.core.commands import WauleCommand, show_progress
from waule.core.crypto.rotation import rotate

MAX_NAMED = 20  # unreadable secrets in the one line of a failure


class Command(WauleCommand):
    help = "Re-encrypts every stored secret under the newest of ENCRYPTION_KEYS. Can be stopped and run again."

    def run(self, **options: Any) -> dict[str, Any]:
        result = rotate(lambda done, total: show_progress(done, total, "secrets"))
        if result.unreadable:
            rest = len(result.unreadable) - MAX_NAMED
            raise CommandError(
                f"{result.rotated} secrets re-encrypted; {len(result.unreadable)} cannot be decrypted by any key "
                "(put the key that sealed them back into ENCRYPTION_KEYS, or enter them again): "
                + ", ".join(result.unreadable[:MAX_NAMED])
                + (f" and {rest} more" if rest > 0 else "")
            )
        if needed := [f"key {number} ({count} secrets)" for number, count in enumerate(result.in_use[1:], 2) if count]:
            raise CommandError(
                f"{result.rotated} secrets re-encrypted, but a process with an older ENCRYPTION_KEYS went on writing. Do not "
                f"drop from ENCRYPTION_KEYS: {', '.join(needed)}. Restart that process, then run this again."
            )
        return {"rotated": result.rotated, "current": result.current, "droppable": len(result.in_use) - 1}
