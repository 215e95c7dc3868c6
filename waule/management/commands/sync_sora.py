"""`manage.py sync_sora`: brings our Sora tokens and the Sora token service into step."""

from typing import Any

from aiservices import sora_sync
from aiservices.api_credentials import sync_answer
from waule.commands import WauleCommand


class Command(WauleCommand):
    help = "Tells the Sora service what it has not been told yet, and takes over what it says."

    def run(self, **options: Any) -> dict[str, Any]:
        return sync_answer(sora_sync.sync())

    def tell(self, result: dict[str, Any]) -> None:
        for name, found in result["results"].items():
            self.stdout.write(f"{name}: {len(found)}")
            for line in found:
                said = line.get("error") or line.get("fields") or ""
                self.stdout.write(f"  {line['name']} {line['email']} {said}".rstrip())
