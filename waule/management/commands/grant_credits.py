"""`manage.py grant_credits`: credits for a user or a tenant."""

from typing import Any

from django.core.management.base import CommandParser

from billing.ledger.models import GRANT_KINDS, Kind
from billing.services import grant
from tenants.principal import Principal
from tenants.selectors import find_owner_id
from waule.core.commands import ACTOR, WauleCommand
from waule.core.errors import InvalidRequest


class Command(WauleCommand):
    help = "Adds credits to the live account of a user or tenant."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("kind", choices=["user", "tenant"])
        parser.add_argument("id", metavar="ID", help="the id or the exact name")
        parser.add_argument("credits", type=int, metavar="N")
        parser.add_argument("--reason", required=True)
        parser.add_argument("--type", choices=[kind.value for kind in GRANT_KINDS], default=Kind.ADMIN.value)
        parser.add_argument("--idempotency-key", metavar="K")

    def run(self, *, kind: Any, id: str, credits: int, reason: str, type: str, **options: Any) -> dict[str, Any]:
        if not 1 <= len(reason.strip()) <= 500:
            raise InvalidRequest.of_field("reason", "Say why, in 1 to 500 characters.")
        result = grant(
            target=Principal(kind, find_owner_id(kind, id)),
            credits=credits,
            kind=Kind(type),
            reason=reason,
            actor=ACTOR,
            idempotency_key=options["idempotency_key"],
        )
        return {"entryId": str(result.entry.id), "balance": result.balance}
