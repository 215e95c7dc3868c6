"""`manage.py create_api_key`: another key for a tenant."""

from typing import Any

from django.core.management.base import CommandParser

from tenants.models import Mode, Scope
from tenants.selectors import find_tenant_by_id_or_name
from tenants.services import create_api_key
from waule.core.commands import ACTOR, WauleCommand, timestamp


class Command(WauleCommand):
    help = "Makes an API key for a tenant. The key is shown this once."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("tenant", metavar="TENANT", help="the tenant's id or exact name")
        parser.add_argument("--test", action="store_true", help="the key works in the sandbox only")
        parser.add_argument("--name", default="")
        parser.add_argument("--expires", type=timestamp, metavar="ISO")
        parser.add_argument(
            "--scope", action="append", choices=Scope.values, help="what it may do; may be repeated; default: read and generate"
        )

    def run(self, *, tenant: str, test: bool, name: str, **options: Any) -> dict[str, Any]:
        key, plaintext = create_api_key(
            tenant=find_tenant_by_id_or_name(tenant),
            mode=Mode.TEST if test else Mode.LIVE,
            name=name,
            expires_at=options["expires"],
            scopes=options["scope"],
            actor=ACTOR,
        )
        return {
            "id": str(key.id),
            "keyId": str(key.id),
            "apiKey": plaintext,
            "mode": key.mode,
            "scopes": key.scopes,
            "expiresAt": key.expires_at,
        }
