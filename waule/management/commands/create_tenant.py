"""`manage.py create_tenant`: a tenant with its first key."""

from typing import Any

from django.core.management.base import CommandParser

from billing.catalog import current_catalog
from billing.models import MAX_CREDITS, Kind
from billing.services import grant
from billing.uses import Target
from tenants.models import ALL_MODELS, Mode
from tenants.services import create_api_key, create_tenant
from waule.commands import ACTOR, WauleCommand
from waule.errors import InvalidRequest


class Command(WauleCommand):
    help = "Makes a tenant and its first API key, which is shown this once."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name")
        parser.add_argument("--credits", type=int, default=0, metavar="N")
        parser.add_argument("--enable-model", action="append", default=[], metavar="ID", help="our id or the provider's name")
        parser.add_argument("--all-models", action="store_true")
        parser.add_argument("--test-key", action="store_true", help="the key works in the sandbox only")

    def run(self, *, name: str, credits: int, enable_model: list[str], **options: Any) -> dict[str, Any]:
        if not 0 <= credits <= MAX_CREDITS:
            raise InvalidRequest.of_field("credits", f"Give 0 to {MAX_CREDITS} credits.")
        for model in enable_model:
            current_catalog().named(model)
        tenant = create_tenant(name=name, enabled_models=[ALL_MODELS] if options["all_models"] else enable_model, actor=ACTOR)
        mode = Mode.TEST if options["test_key"] else Mode.LIVE
        _key, plaintext = create_api_key(tenant=tenant, mode=mode, name="first", actor=ACTOR)
        if credits:
            grant(target=Target("tenant", str(tenant.id)), credits=credits, kind=Kind.ADMIN, reason="create_tenant", actor=ACTOR)
        return {"id": str(tenant.id), "name": tenant.name, "apiKey": plaintext, "credits": credits}
