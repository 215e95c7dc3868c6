"""`manage.py sync_sora`: brings our Sora tokens and the Sora token service into step."""

from typing import Any

from aiservices.api.credentials import sync_answer
from aiservices.credentials import sora as sora_sync
from waule.core.commands import WauleCommand


class Command(WauleCommand):
    help = "Pushes to the Sora service what it does not have yet, and merges what it has."

    def run(self, **options: Any) -> dict[str, Any]:
        return sync_answer(sora_sync.sync())

    def print_result(self, result: dict[str, Any]) -> None:
        for name, found in result["results"].items():
            self.stdout.write(f"{name}: {len(found)}")
            for line in found:
                said = line.get("error") or line.get("fields") or ""
                self.stdout.write(f"  {line['name']} {line['email']} {said}".rstrip())
