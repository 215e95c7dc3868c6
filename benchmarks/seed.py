"""Fills a throw-away database: tenants with accounts full of credits, one priced model, one key. Prints what there is.

Run as a process of its own, with DATABASE_URL naming that database: python -m benchmarks.seed COUNT
(by that name other measuring scripts start it too)
"""

import json
import os
import sys
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "waule.settings")

import django

django.setup()

from django.db import transaction  # noqa: E402

from aiservices.credentials import services as credentials  # noqa: E402
from aiservices.credentials.pool import leasing, reports  # noqa: E402
from billing.catalog.models import AIModel, BillingRule  # noqa: E402
from billing.catalog.usage import UsageRequest  # noqa: E402
from billing.ledger.models import Account, Kind  # noqa: E402
from billing.ledger.posting import Posting  # noqa: E402
from billing.services import BatchItem, charge_many  # noqa: E402
from tenants.models import Tenant  # noqa: E402
from tenants.principal import Principal  # noqa: E402
from tenants.services import create_api_key  # noqa: E402

CREDITS = 1_000_000_000
KEYS = 40


def lease_and_report() -> str:
    """Return the two statements of the pool's usual way, as a script for pgbench."""
    values = {
        "id": "lpad(to_hex(:lease::bigint), 32, '0')::uuid",
        "now": "now()",
        "today": "current_date",
        "expires_at": "now() + interval '10 minutes'",
        "provider": "'gemini'",
        "outcome": "'ok'",
        "model": "''",
        "use": "''",
        "message": "''",
        "generation": "NULL",
    }
    statements = (
        leasing.take_sql("postgresql", leasing.Kind("gemini")) % values,
        reports.REPORT_GOOD_SQL % values,
    )
    return "\\set lease random(1, 1000000000000000)\n" + "".join(f"{statement};\n" for statement in statements)


def platform(count: int) -> dict[str, Any]:
    """Tenants with their empty accounts, priced models and the first tenant's key."""
    model = AIModel.objects.create(model_id="bench", name="Bench", provider="sandbox", type="IMAGE_GENERATION")
    waits = AIModel.objects.create(model_id="waits", name="Waits", provider="openai", type="IMAGE_GENERATION")
    film = AIModel.objects.create(model_id="film", name="Film", provider="openai", type="VIDEO_GENERATION")
    for priced in (model, waits, film):
        BillingRule.objects.create(name=priced.model_id, model=priced, billing_type="PER_REQUEST", base_credits=7)
    tenants = Tenant.objects.bulk_create(
        [Tenant(name=f"Tenant {n}", enabled_models=["*"]) for n in range(count)], batch_size=1000
    )
    Account.objects.bulk_create([Account(tenant=tenant, mode="live") for tenant in tenants], batch_size=1000)
    _key, plaintext = create_api_key(tenant=tenants[0], name="bench", actor="bench")
    return {"tenants": [str(tenant.id) for tenant in tenants], "key": plaintext, "model": str(model.id)}


def add_keys() -> None:
    """Gemini keys to lend."""
    for number in range(KEYS):
        credentials.add(provider="gemini", secret=f"AIza{number:035}", name=f"key {number}", actor="bench")


def seed(count: int) -> dict[str, Any]:
    """Return a platform whose accounts are full, with a first charge of each, and Gemini keys to lend."""
    made = platform(count)
    ids = list(Account.objects.order_by("id").values_list("id", flat=True))
    assert ids == list(range(ids[0], ids[0] + count)), "accounts are numbered without a gap"
    for start in range(0, len(ids), 1000):
        with transaction.atomic():
            posting = Posting(ids[start : start + 1000])
            for account in posting.accounts.values():
                posting.post(account, kind=Kind.GIFT, amount=CREDITS, description="seed", actor="bench")
            posting.write()
    # Tables that are not empty: a foreign key's check that is planned on an empty one scans it until it is analyzed.
    for start in range(0, count, 100):
        charged = [
            BatchItem(Principal("tenant", each), UsageRequest(model="bench")) for each in made["tenants"][start : start + 100]
        ]
        charge_many(items=charged, actor="bench")
    add_keys()
    return made | {"first_account": ids[0], "lease_and_report": lease_and_report()}


if __name__ == "__main__":
    print(json.dumps(seed(int(sys.argv[1]))))
