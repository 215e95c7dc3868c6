"""`manage.py create_tenant`: a tenant with its first key."""

from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser

from billing.catalog.current import current_catalog
from billing.catalog.models import AIModel
from billing.ledger.models import MAX_CREDITS, Kind
from billing.services import grant
from tenants.models import ALL_MODELS, Mode, Tenant
from tenants.principal import Principal
from tenants.services import create_api_key, create_tenant
from waule.core.commands import ACTOR, WauleCommand
from waule.core.errors import InvalidRequest


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
            grant(
                target=Principal("tenant", str(tenant.id)), credits=credits, kind=Kind.ADMIN, reason="create_tenant", actor=ACTOR
            )
        return {"id": str(tenant.id), "name": tenant.name, "apiKey": plaintext, "credits": credits}

    def print_result(self, result: dict[str, Any]) -> None:
        super().print_result(result)
        self.stdout.write(f"Next: {next_step(Tenant.objects.get(id=result['id']), result)}")
        people = f"manage.py create_user NAME --password …, then manage.py add_member {result['id']} NAME"
        self.stdout.write(f"Its people use {settings.PUBLIC_URL}/console/: {people}")


def next_step(tenant: Tenant, made: dict[str, Any]) -> str:
    """Return what is still missing before the key makes an image; else how it does."""
    models = AIModel.objects.filter(is_active=True)
    if not models.exists():
        return "make a catalog: manage.py apply_catalog --example > catalog.yaml, then manage.py apply_catalog catalog.yaml"
    if not tenant.enabled_models:
        return f"let it use models: /admin/tenants/tenant/{tenant.id}/change/ (--enable-model or --all-models do it here)"
    if not made["credits"] and made["apiKey"].startswith("wk_live_"):
        return f"give it credits: manage.py grant_credits tenant {tenant.id} 1000 --type RECHARGE --reason 'first payment'"
    return f"curl -s {settings.PUBLIC_URL}/v1/models -H 'Authorization: Bearer {made['apiKey']}' lists what it may use"
