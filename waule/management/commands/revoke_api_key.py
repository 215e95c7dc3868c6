"""`manage.py revoke_api_key`: ends a key."""

from typing import Any

from django.core.management.base import CommandParser

from tenants.services import revoke_api_key
from waule.core.commands import ACTOR, WauleCommand


class Command(WauleCommand):
    help = "Ends an API key, at once or after a grace period."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("keyid")
        parser.add_argument("--grace", type=int, default=0, metavar="SECONDS")

    def run(self, *, keyid: str, grace: int, **options: Any) -> dict[str, Any]:
        key = revoke_api_key(key_id=keyid, grace_seconds=grace, actor=ACTOR)
        return {"id": str(key.id), "revokedAt": key.revoked_at}
