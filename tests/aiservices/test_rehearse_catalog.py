"""What the last days would have cost under a draft."""

import json
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from billing import services
from billing.catalog import file as catalog_file
from billing.catalog.models import AIModel, BillingRule, LevelConfig
from billing.catalog.pricing import read_size
from billing.catalog.usage import UsageRequest
from billing.ledger.models import Charge
from billing.services import dry_run as rehearsal
from tenants.principal import Principal

pytestmark = pytest.mark.django_db

CATALOG: dict[str, Any] = {
    "models": [
        {"modelId": "flash", "provider": "sandbox", "type": "IMAGE_GENERATION"},
        {"modelId": "film", "provider": "sandbox", "type": "VIDEO_GENERATION"},
    ],
    "rules": [
        {"scope": {"modelId": "flash"}, "billingType": "PER_IMAGE", "baseCredits": 15},
        {
            "scope": {"modelId": "film"},
            "billingType": "DURATION_RESOLUTION",
            "prices": [{"dimension": "resolution", "value": value, "credits": 4} for value in ("720p", "1080p")],
        },
        {"scope": {"nodeType": "upscale"}, "billingType": "PER_REQUEST", "baseCredits": 3},
    ],
    "levels": [
        {
            "level": "VIP",
            "permissions": [{"scope": {"modelId": "flash"}, "isFreeForMember": True, "freeDailyLimit": 1}],
        }
    ],
}
DRAFT: dict[str, Any] = {
    "rules": [
        {"scope": {"modelId": "flash"}, "billingType": "PER_IMAGE", "baseCredits": 20},
        {
            "scope": {"modelId": "film"},
            "billingType": "DURATION_RESOLUTION",
            "prices": [{"dimension": "resolution", "value": "720p", "credits": 3}],
        },
    ],
}


@pytest.fixture(autouse=True)
def uses(acme: Any, vera: Any) -> None:
    LevelConfig.objects.all().delete()
    AIModel.objects.all().delete()
    catalog_file.apply(catalog_file.from_json(CATALOG), actor="test")
    tenant, user = Principal("tenant", str(acme.pk)), Principal("user", str(vera.pk))

    def charge(target: Principal, **use: Any) -> Charge:
        return services.charge(target=target, use=UsageRequest(**use), actor="test").charge

    charge(tenant, model="flash", quantity=2)  # 30, then 40
    charge(tenant, model="film", duration=Decimal("4.5"), resolution=read_size("720p"))  # 20, then 15
    charge(tenant, model="film", duration=Decimal(5), resolution=read_size("1080p"))  # 20, then no price
    charge(user, model="flash")  # free
    charge(user, model="flash", node_type="upscale")  # 3
    refunded = charge(tenant, model="flash", quantity=10)
    services.refund(charge_id=str(refunded.id), credits=None, reason="test", actor="test")


@pytest.fixture
def draft(tmp_path: Path) -> str:
    file = tmp_path / "draft.json"
    file.write_text(json.dumps(DRAFT))
    return str(file)


def rehearse(*args: str) -> str:
    stdout = StringIO()
    call_command("rehearse_catalog", *args, stdout=stdout)
    return stdout.getvalue()


def test_the_difference_is_told_per_model_and_account(draft: str, acme: Any, vera: Any) -> None:
    told = json.loads(rehearse(draft, "--json"))
    summed = {key: told[key] for key in ("uses", "oldCredits", "newCredits", "difference", "unpricedUses", "unpricedOldCredits")}
    assert summed == {
        "uses": 5,
        "oldCredits": 53,
        "newCredits": 58,
        "difference": 5,
        "unpricedUses": 1,
        "unpricedOldCredits": 20,
    }
    models = {row["name"]: row for row in told["models"]}
    assert (models["flash (sandbox)"]["oldCredits"], models["flash (sandbox)"]["newCredits"]) == (33, 43)
    assert models["film (sandbox)"]["refusals"] == {"unknown_dimension": 1}
    accounts = {row["account"]: row for row in told["accounts"]}
    assert accounts[f"tenant:{acme.pk}"]["difference"] == 5
    assert (accounts[f"user:{vera.pk}"]["oldCredits"], accounts[f"user:{vera.pk}"]["newCredits"]) == (3, 3)
    assert told["accountsLeftOut"] == 0


def test_nothing_is_changed(draft: str) -> None:
    before = catalog_file.export()
    charges = list(Charge.objects.order_by("id").values())
    rehearse(draft, "--prune")
    assert catalog_file.export() == before
    assert list(Charge.objects.order_by("id").values()) == charges
    assert BillingRule.objects.filter(version=1).count() == 3


def test_prune_and_switched_off_models_take_prices_away(tmp_path: Path) -> None:
    file = tmp_path / "draft.yaml"
    file.write_text("models: [{modelId: flash, provider: sandbox, type: IMAGE_GENERATION}]\n")
    told = json.loads(rehearse(str(file), "--prune", "--json"))
    rejections = {row["name"]: row["refusals"] for row in told["models"]}
    assert rejections == {"flash (sandbox)": {"price_not_configured": 3}, "film (sandbox)": {"model_disabled": 2}}


def test_the_report_for_people(draft: str) -> None:
    text = rehearse(draft)
    assert text.startswith("5 charges since ")
    assert "1 uses (20 credits) would no longer have a price:" in text
    assert "film (sandbox): 1 × unknown_dimension" in text
    assert [line.split()[-5:] for line in text.splitlines() if line.startswith("total")] == [["5", "53", "58", "+5", "1"]]


def test_only_the_days_asked_for_are_read(draft: str) -> None:
    catalog = catalog_file.draft(catalog_file.from_json(DRAFT))
    later = timezone.now() + timedelta(seconds=1)
    assert rehearsal.rehearse(catalog, since=later, progress=lambda done: None).total.uses == 0
    with pytest.raises(CommandError, match="--days"):
        rehearse(draft, "--days", "0")


def test_it_reads_charges_once(draft: str) -> None:
    catalog = catalog_file.draft(catalog_file.from_json(DRAFT))
    with CaptureQueriesContext(
        connection,
    ) as queries:
        rehearsal.rehearse(catalog, since=timezone.now() - timedelta(days=1), progress=lambda done: None)
    assert len(queries) == 1


def test_a_draft_that_cannot_work_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "draft.yaml"
    file.write_text("rules: [{scope: {modelId: gone}, billingType: PER_REQUEST, baseCredits: 3}]")
    with pytest.raises(CommandError, match=r"rules\[0\].scope.modelId: There is no model gone"):
        rehearse(str(file))
