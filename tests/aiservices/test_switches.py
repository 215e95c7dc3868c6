"""Models on and off: who, why, until when, and at once."""

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.utils import timezone

from billing.catalog import availability as switches
from billing.catalog.current import current_catalog
from billing.catalog.models import AIModel
from tenants.models import AuditEntry
from waule.core.errors import InvalidRequest

pytestmark = pytest.mark.django_db


@pytest.fixture
def model(db: None) -> AIModel:
    return AIModel.objects.create(provider="sandbox", model_id="sandbox-image", name="Sandbox", type="IMAGE_GENERATION")


def is_on(model: AIModel) -> bool:
    return current_catalog().model(str(model.pk)).is_on(timezone.now())


def test_a_switch_is_effective_at_once_and_says_who_and_why(model: AIModel) -> None:
    assert is_on(model)
    row = switches.switch_model(model=model, is_active=False, reason="costs too much", actor="admin:root")
    assert not is_on(model)
    assert (row.disabled_reason, row.disabled_by) == ("costs too much", "admin:root")
    entry = AuditEntry.objects.get(action="model.disable")
    assert (entry.actor, entry.reason) == ("admin:root", "costs too much")
    assert entry.before["is_active"] is True and entry.after["is_active"] is False
    row = switches.switch_model(model=model, is_active=True, actor="admin:root")
    assert is_on(model) and row.disabled_reason == "" and row.disabled_by == ""


def test_off_until_a_moment(model: AIModel) -> None:
    until = timezone.now() + timedelta(hours=1)
    switches.switch_model(model=model, is_active=False, reason="maintenance", until=until, actor="admin:root")
    assert not is_on(model)
    assert switches.end_due() == 0
    with time_machine.travel(until + timedelta(seconds=1)):
        assert is_on(model)
        assert switches.end_due() == 1
        model.refresh_from_db()
        assert (model.is_active, model.disabled_until) == (True, None)


@pytest.mark.parametrize("is_active,hours", [(True, 1), (False, -1)])
def test_ends_that_make_no_sense(model: AIModel, is_active: bool, hours: int) -> None:
    with pytest.raises(InvalidRequest):
        switches.switch_model(model=model, is_active=is_active, until=timezone.now() + timedelta(hours=hours), actor="admin:root")


def test_the_refused_caller_is_told_why(model: AIModel, internal: Any, acme: Any) -> None:
    switches.switch_model(model=model, is_active=False, reason="costs too much", actor="admin:root")
    body = {"targetType": "tenant", "targetId": str(acme.pk), "modelId": "sandbox-image"}
    status, answer = internal.post("/internal/billing/charge", body)
    assert (status, answer["code"]) == (403, "model_disabled")
    assert "costs too much" in answer["error"]
