"""Images that begin and end by one statement each: what it refuses changes nothing, and the long way goes on."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from aiservices.generations import services
from aiservices.generations.models import Generation
from aiservices.generations.requests import GenerationRequest
from billing.budgets.models import Budget
from billing.catalog.models import AIModel, BillingRule
from billing.errors import InsufficientCredits
from billing.ledger.models import Charge, Hold
from billing.services import release
from storage.models import Reservation, StorageUsage
from tenants.models import Tenant
from tenants.principal import Principal
from tests.books import balance_and_held
from waule.core import fail_points
from waule.core.errors import WauleError

pytestmark = pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has the long way alone")


def make(tenant: Tenant, *, key: str | None = None, quantity: int = 1) -> Generation:
    asked = GenerationRequest(type=Generation.Type.IMAGE, model="painter", prompt="x", quantity=quantity)
    made = services.make_image(
        caller=Principal("tenant", str(tenant.pk)), request=asked, idempotency_key=key, model_field="model"
    )
    return Generation.objects.get(id=made.generation.id)


def statements_of(verb: Callable[[], Any]) -> list[str]:
    with CaptureQueriesContext(
        connection,
    ) as seen:
        verb()
    return [query["sql"] for query in seen.captured_queries]


def is_short(statements: list[str]) -> tuple[bool, bool]:
    """Whether it began and whether it ended by one statement."""
    own = [sql for sql in statements if '"aiservices_generation"' in sql]
    return not any(sql.startswith("INSERT") for sql in own), not any('"verdict" =' in sql and "SET" in sql for sql in own)


def test_the_usual_image(acme: Tenant, painter: AIModel) -> None:
    make(acme)
    found: list[Generation] = []
    said = statements_of(lambda: found.append(make(acme)))
    assert is_short(said) == (True, True)
    (image,) = found
    charge = Charge.objects.get(id=image.charge_id)
    assert (image.state, image.outcome, image.credits_charged, image.progress) == ("succeeded", "succeeded", 15, 100)
    assert (charge.credits, charge.hold_id, charge.actor) == (15, image.hold_id, "generation")
    assert image.hold is not None
    assert (image.hold.state, image.hold.is_pinned, image.hold.idempotency_key) == ("captured", True, str(image.id))
    assert image.created_at <= (image.started_at or image.created_at) <= (image.called_at or image.created_at)
    assert image.completed_at is not None
    assert image.lease_until is None
    assert balance_and_held(acme) == (970, 0)


def test_all_columns_are_as_the_long_way_writes_them(acme: Tenant, painter: AIModel) -> None:
    short = make(acme)
    Budget.objects.create(tenant=acme, period="day", limit_credits=1000)  # a budget is counted the long way
    long = make(acme)
    differing = {"id", "hold_id", "charge_id", "created_at", "started_at", "completed_at", "called_at", "run_after", "outputs"}
    names = {field.attname for field in Generation._meta.concrete_fields} - differing
    assert {name: getattr(short, name) for name in names} == {name: getattr(long, name) for name in names}
    holds = {field.attname for field in Hold._meta.concrete_fields} - {"id", "metadata", "created_at", "expires_at", "ended_at"}
    holds -= {"idempotency_key", "fingerprint", "spendable_after", "spendable_at_end"}
    assert {name: getattr(short.hold, name) for name in holds} == {name: getattr(long.hold, name) for name in holds}


def test_a_quota_takes_the_long_way_and_leaves_no_room_kept(acme: Tenant, painter: AIModel) -> None:
    StorageUsage.objects.update_or_create(tenant=acme, defaults={"quota_bytes": 1 << 40})
    said = statements_of(lambda: make(acme))
    assert is_short(said) == (False, True)
    assert not Reservation.objects.exists()
    assert balance_and_held(acme) == (985, 0)


def test_one_that_was_canceled_meanwhile_is_not_charged(acme: Tenant, painter: AIModel) -> None:
    def cancel() -> None:
        services.cancel(generation=Generation.objects.get())

    with fail_points.at("generation.stored", cancel), pytest.raises(WauleError):
        make(acme)
    assert (Generation.objects.get().state, Charge.objects.count(), balance_and_held(acme)) == ("canceled", 0, (1000, 0))


def test_one_whose_hold_was_released_is_delivered_and_told_of(acme: Tenant, painter: AIModel) -> None:
    def let_go() -> None:
        release(hold_id=str(Hold.objects.get().id), reason="by hand", actor="test")

    with fail_points.at("generation.stored", let_go):
        image = make(acme)
    assert (image.state, image.flags, image.charge_id, balance_and_held(acme)) == ("succeeded", ["not_charged"], None, (1000, 0))


def test_one_in_other_hands_is_left_to_them(acme: Tenant, painter: AIModel) -> None:
    def take() -> None:
        Generation.objects.update(attempt=7, state="failed", outcome="failed", completed_at=timezone.now())

    with fail_points.at("generation.stored", take), pytest.raises(WauleError):
        make(acme)
    assert (Charge.objects.count(), Hold.objects.get().state) == (0, "held")


def test_a_renewed_lease_is_no_hindrance(acme: Tenant, painter: AIModel) -> None:
    with fail_points.at("generation.stored", lambda: Generation.objects.update(lease_until=timezone.now())):
        assert make(acme).state == "succeeded"


def test_a_key_is_answered_once(acme: Tenant, painter: AIModel) -> None:
    assert make(acme, key="once").id == make(acme, key="once").id
    assert (Generation.objects.count(), balance_and_held(acme)) == (1, (985, 0))


def test_a_price_that_changed_meanwhile_is_the_one_that_is_paid(acme: Tenant, painter: AIModel) -> None:
    make(acme)
    rule = BillingRule.objects.get(model=painter)
    rule.base_credits = 20
    rule.save()
    assert make(acme).credits_charged == 20


def test_too_few_credits_change_nothing(acme: Tenant, painter: AIModel) -> None:
    with pytest.raises(InsufficientCredits):
        make(acme, quantity=67)
    assert (Generation.objects.count(), Hold.objects.count(), balance_and_held(acme)) == (0, 0, (1000, 0))
