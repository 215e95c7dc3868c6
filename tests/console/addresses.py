"""Every address of the console, and rows to fill them with."""

import re
import uuid
from collections.abc import Iterator
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver

from aiservices.generations.models import Generation
from billing.ledger.models import LedgerEntry
from tenants.models import Tenant, User
from tenants.services import add_member, create_api_key
from tenants.webhooks.models import OutboxMessage
from tests.catalog import priced_model


def ids_of(tenant: Tenant) -> dict[str, str]:
    """One row of each kind that the console shows, by the names of its addresses' parameters and of its lists."""
    key, _text = create_api_key(tenant=tenant, name="theirs", actor="test")
    model = priced_model(f"sandbox-{uuid.uuid4().hex[:6]}")
    made = Generation.objects.create(type="image", tenant=tenant, model=model, prompt="theirs", state="succeeded")
    user = User.objects.create_user(f"user-{uuid.uuid4().hex[:6]}", password="user-password")
    member = add_member(tenant=tenant, user=user, actor="test")
    entry = LedgerEntry.objects.filter(account__tenant=tenant).order_by("-pk").first()
    assert entry is not None
    message = OutboxMessage.objects.create(tenant=tenant, kind="alert.balance.low", payload={})
    return {
        "key_id": str(key.pk),
        "member_id": str(member.pk),
        "tenant_id": str(tenant.pk),
        "aiservices_generation": str(made.pk),
        "tenants_apikey": str(key.pk),
        "billing_ledgerentry": str(entry.pk),
        "tenants_outboxmessage": str(message.pk),
        "tenants_tenantmember": str(member.pk),
    }


def patterns(found: Any, before: str = "") -> Iterator[tuple[str, str]]:
    """Every address of the console as (name, route)."""
    for each in found:
        route = before + str(each.pattern)
        if isinstance(each, URLResolver):
            yield from patterns(each.url_patterns, route)
        elif isinstance(each, URLPattern):
            yield each.name or "", route


def console_addresses(ids: dict[str, str]) -> list[str]:
    console = next(each for each in get_resolver().url_patterns if str(each.pattern) == "console/")
    addresses = []
    for name, route in patterns(console.url_patterns, "/console/"):
        row = ids.get(name.rpartition("_")[0], "")
        filled = re.sub(r"<(?:\w+:)?(\w+)>", lambda found, row=row: ids.get(found[1], row), route)  # type: ignore[misc]
        addresses.append(filled)
    return [each for each in addresses if "<" not in each and "(?" not in each and "$" not in each]
