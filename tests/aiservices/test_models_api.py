"""`GET /internal/models`."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from billing.catalog.models import AIModel

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def models(db: None) -> list[AIModel]:
    AIModel.objects.all().delete()
    later, earlier = timezone.now() + timedelta(hours=1), timezone.now() - timedelta(hours=1)
    return [
        AIModel.objects.create(model_id=name, name=name.title(), provider="gemini", type="IMAGE_GENERATION", **fields)
        for name, fields in (
            ("a", {}),
            ("b", {"is_active": False, "disabled_reason": "too dear", "disabled_by": "root"}),
            ("c", {"is_active": False, "disabled_reason": "pause", "disabled_until": later}),
            ("d", {"is_active": False, "disabled_reason": "pause", "disabled_until": earlier}),
        )
    ]


def test_every_model_is_listed_with_its_switch(internal: Any, models: list[AIModel]) -> None:
    status, answer = internal.get("/internal/models")
    assert status == 200
    rows = [
        {"id": str(row.pk), "modelId": row.model_id, "name": row.name, "provider": "gemini", "type": "IMAGE_GENERATION"}
        for row in models
    ]
    versions = [row.pop("version") for row in answer["models"]]
    assert len(set(versions)) == 4 and all(re.fullmatch("[0-9a-f]{24}", version) for version in versions)
    assert answer == {
        "models": [
            rows[0] | {"isActive": True},
            rows[1] | {"isActive": False, "disabledReason": "too dear"},
            rows[2] | {"isActive": False, "disabledReason": "pause"},
            rows[3] | {"isActive": True},
        ]
    }


def test_a_switch_is_seen_at_once(internal: Any, models: list[AIModel]) -> None:
    internal.get("/internal/models")
    models[0].is_active = False
    models[0].save()
    assert internal.get("/internal/models")[1]["models"][0]["isActive"] is False


def test_the_list_costs_no_more_queries_with_more_models(internal: Any, django_assert_num_queries: Any) -> None:
    internal.get("/internal/models")
    with django_assert_num_queries(1):
        internal.get("/internal/models")


def test_it_is_behind_the_secret_and_answers_get_only(internal: Any) -> None:
    assert internal.get("/internal/models", headers={"X-Internal-Secret": "wrong"})[0] == 401
    assert internal.post("/internal/models", {})[0] == 405
