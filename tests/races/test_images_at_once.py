"""The statement that ends an image waits for its account; what others do to the image or its hold meanwhile counts."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from aiservices.generations.models import Generation
from aiservices.generations.requests import GenerationRequest
from aiservices.generations.services import begin_image
from aiservices.generations.settlement import one_statement
from billing.ledger.models import Account, Charge, Hold
from billing.reconciliation.checks import reconcile
from billing.services.holds import release_in_transaction
from tenants.models import Tenant
from tenants.principal import Principal
from tests.catalog import image_model
from tests.waiting import eventually

pytestmark = pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has the long way alone")
RESULTS: list[dict[str, Any]] = [{"url": "http://127.0.0.1/x.png"}]


def begun(tenant: Tenant) -> Generation:
    asked = GenerationRequest(type=Generation.Type.IMAGE, model="painter", prompt="x")
    return begin_image(
        caller=Principal("tenant", str(tenant.pk)), request=asked, idempotency_key=None, model_field="model"
    ).generation


def ended_while(generation: Generation, others: Callable[[], Any]) -> bool:
    """What `end` says when it has waited for the account's lock, and `others` was committed meanwhile."""
    said: list[bool] = []

    def end() -> None:
        try:
            said.append(one_statement.end(generation, results=RESULTS, flags=[]))
        finally:
            connection.close()

    with transaction.atomic():
        account = Account.objects.select_for_update(no_key=True).get(id=Hold.objects.get(id=generation.hold_id).account_id)
        thread = threading.Thread(target=end)
        thread.start()
        eventually(_waits)
        others()
    thread.join(30)
    assert account.id
    return said[0]


def _waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])


@pytest.mark.slow
def test_what_happens_while_an_image_ends(cloned_db: Any, acme: Tenant, any_database: None) -> None:
    image_model()

    def change(**values: Any) -> Callable[[], Any]:
        return lambda: Generation.objects.filter(id=image.id).update(**values)

    image = begun(acme)
    assert ended_while(image, change(lease_until=timezone.now())) is True  # its lease was renewed
    charge = Charge.objects.get()
    assert (Generation.objects.get(id=image.id).charge_id, Hold.objects.get(id=image.hold_id).state) == (charge.id, "captured")

    image = begun(acme)
    assert ended_while(image, change(attempt=1)) is False  # others have it
    image = begun(acme)
    assert ended_while(image, change(outcome="canceled")) is False
    image = begun(acme)
    assert ended_while(image, lambda: release_within(image)) is False
    assert Generation.objects.get(id=image.id).outcome == ""
    assert Charge.objects.count() == 1
    assert reconcile().ok


def release_within(image: Generation) -> None:
    """As `release`, inside of the transaction that has the account."""
    release_in_transaction(hold_id=str(image.hold_id), reason="by hand", actor="test")


@pytest.mark.slow
def test_an_end_by_two_hands_is_one(cloned_db: Any, acme: Tenant, any_database: None) -> None:
    image_model()
    image = begun(acme)
    said: list[bool] = []

    def end() -> None:
        try:
            mine = Generation.objects.get(id=image.id)
            said.append(one_statement.end(mine, results=RESULTS, flags=[]))
        finally:
            connection.close()

    threads = [threading.Thread(target=end) for _number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(said) == [False] * 5 + [True]
    assert Charge.objects.count() == 1
    assert reconcile().ok
