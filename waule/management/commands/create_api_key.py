"""`manage.py create_api_key`: another key for a tenant."""

from typing import Any

from django.core.management.base import CommandParser

from tenants.models import Mode
from tenants.selectors import find_tenant
from tenants.services import create_api_key
from waule.commands import ACTOR, WauleCommand, moment


class Command(WauleCommand):
    help = "Makes an API key for a tenant. The key is shown this once."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("tenant", help="the tenant's id")
        parser.add_argument("--test", action="store_true", help="the key works in the sandbox only")
        parser.add_argument("--name", default="")
        parser.add_argument("--expires", type=moment, metavar="ISO")

    def run(self, *, tenant: str, test: bool, name: str, **options: Any) -> dict[str, Any]:
        key, plaintext = create_api_key(
            tenant=find_tenant(tenant),
            mode=Mode.TEST if test else Mode.LIVE,
            name=name,
            expires_at=options["expires"],
            actor=ACTOR,
        )
        return {"id": str(key.id), "keyId": str(key.id), "apiKey": plaintext, "mode": key.mode, "expiresAt": key.expires_at}
