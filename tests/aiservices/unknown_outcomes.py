"""Generations whose outcome nobody knows; their credits are held."""

from datetime import timedelta

from django.utils import timezone

from aiservices.generations.models import Generation
from billing.catalog.models import AIModel
from billing.catalog.usage import UsageRequest
from billing.services import hold, mark_unknown
from tenants.models import Tenant
from tenants.principal import Principal
from tests.catalog import image_model


def an_unknown(
    tenant: Tenant, *, hours: float = 0, credits: int = 15, provider: str = "gemini", route: str = "", upstream_id: str = ""
) -> Generation:
    """A picture for so many credits of which nobody has known for so many hours whether it was made."""
    model = AIModel.objects.filter(model_id=f"painter-{provider}").first() or image_model(
        f"painter-{provider}", provider=provider, base=credits
    )
    held = hold(target=Principal("tenant", str(tenant.pk)), use=UsageRequest(model=model.model_id), actor="test").hold
    mark_unknown(hold_id=str(held.id), actor="test")
    since = timezone.now() - timedelta(hours=hours)
    return Generation.objects.create(
        type="image",
        tenant=tenant,
        model=model,
        prompt="a whale",
        state="unknown",
        outcome="unknown",
        hold_id=held.id,
        route=route or provider,
        upstream_id=upstream_id,
        created_at=since,
        completed_at=since,
    )
