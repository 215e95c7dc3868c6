"""Alerts: once per crossing, armed again on recovery, by one of many workers, with their messages."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, connections
from django.db.models import F

from aiservices.monitoring.reconcile_task import reconcile_all
from billing.budgets.models import Budget
from billing.catalog.models import AIModel
from billing.catalog.usage import UsageRequest
from billing.ledger.models import Account, Hold
from billing.monitoring import alerts
from billing.monitoring.models import Alert, AlertThreshold, ReconcileRun
from billing.services import charge, hold
from tenants.principal import Principal
from tenants.webhooks.models import OutboxMessage, Webhook
from tests.books import give


@pytest.fixture(autouse=True)
def operator(settings: Any) -> None:
    settings.ALERT_WEBHOOK_URL = "http://127.0.0.1:9/hook"


def use(tenant: Any, model: str = "flash", times: int = 1) -> None:
    for _ in range(times):
        charge(target=Principal("tenant", str(tenant.id)), use=UsageRequest(model=model), actor="test")


def kinds() -> list[str]:
    return list(OutboxMessage.objects.order_by("id").values_list("kind", flat=True))


def test_a_low_balance_is_told_once_and_again_after_a_recovery(acme: Any, flash: AIModel, settings: Any) -> None:
    settings.ALERT_LOW_BALANCE = 990
    assert alerts.check() == 0
    use(acme, times=2)
    assert [alerts.check() for _ in range(3)] == [1, 0, 0]
    message = OutboxMessage.objects.get()
    assert message.kind == "alert.balance.low"
    assert (message.payload["balance"], message.payload["account"]) == (986, f"tenant:{acme.id}")
    give(acme, 100)
    assert alerts.check() == 0
    alert = Alert.objects.get()
    assert (alert.is_raised, alert.times) == (False, 1)
    use(acme, times=15)
    assert alerts.check() == 1
    assert Alert.objects.get().times == 2


def test_an_account_has_its_own_threshold_and_a_new_tenant_none(acme: Any, birch: Any, flash: AIModel) -> None:
    account = Account.objects.get(tenant=acme, mode="live")
    AlertThreshold.objects.create(account=account, low_balance=1001)
    assert alerts.check() == 1  # Birch never had a credit
    AlertThreshold.objects.update(low_balance=0)
    assert alerts.check() == 0
    assert not Alert.objects.filter(is_raised=True).exists()


def test_a_tenant_with_a_webhook_is_told_of_its_own(acme: Any, flash: AIModel, settings: Any) -> None:
    settings.ALERT_LOW_BALANCE, settings.ALERT_WEBHOOK_URL = 2000, ""
    assert alerts.check() == 1
    assert OutboxMessage.objects.count() == 0  # nobody wants to know
    Alert.objects.all().delete()
    Webhook.objects.create(tenant=acme, url="https://acme.example/hook", secret="s3cret")
    assert alerts.check() == 1
    assert OutboxMessage.objects.get().tenant == acme


def test_a_budget_is_told_at_80_and_at_100_percent(acme: Any, flash: AIModel) -> None:
    Budget.objects.create(tenant=acme, period="month", limit_credits=35)
    use(acme, times=3)
    assert alerts.check() == 0
    use(acme)
    assert alerts.check() == 1
    use(acme)
    assert alerts.check() == 1
    assert [message.payload["percent"] for message in OutboxMessage.objects.order_by("id")] == [80, 100]


def test_thresholds_that_are_crossed_at_once_make_one_alert(acme: Any, flash: AIModel) -> None:
    budget = Budget.objects.create(tenant=acme, period="month", limit_credits=35)
    use(acme, times=5)
    assert alerts.check() == 1
    assert [message.payload["percent"] for message in OutboxMessage.objects.all()] == [100]
    assert [alert.details["percent"] for alert in Alert.objects.filter(is_raised=True)] == [100]
    assert alerts.check() == 0
    Budget.objects.filter(id=budget.id).update(limit_credits=40)  # 87 %: less than it was, and still to be told
    assert alerts.check() == 1


def test_a_lower_threshold_stands_while_a_higher_one_does(acme: Any, flash: AIModel) -> None:
    Budget.objects.create(tenant=acme, period="month", limit_credits=35)
    use(acme, times=4)
    assert alerts.check() == 1
    use(acme)
    assert alerts.check() == 1
    assert Alert.objects.filter(is_raised=True).count() == 2 and alerts.check() == 0


def test_an_old_hold_is_told(acme: Any, film: AIModel, settings: Any) -> None:
    made = hold(
        target=Principal("tenant", str(acme.id)), use=UsageRequest(model="film", quantity=1, duration=_five()), actor="test"
    )
    assert alerts.check() == 0
    Hold.objects.filter(id=made.hold.id).update(created_at=datetime.now(UTC) - timedelta(days=2), is_unknown=True)
    assert alerts.check() == 1
    assert kinds() == ["alert.hold.old"]


def _five() -> Any:
    from decimal import Decimal

    return Decimal(5)


def test_books_that_differ_are_told_with_the_proof(acme: Any, flash: AIModel) -> None:
    assert reconcile_all().ok
    assert (ReconcileRun.objects.get().ok, kinds()) == (True, [])
    with connection.cursor() as cursor:
        cursor.execute("UPDATE billing_account SET balance = balance + 1 WHERE tenant_id IS NOT NULL AND mode = 'live'")
    assert not reconcile_all().ok
    run = ReconcileRun.objects.order_by("-id")[0]
    assert (run.ok, run.problem_count, run.problems[0]["account"]) == (False, 1, f"tenant:{acme.id}")
    assert kinds() == ["alert.reconcile.failed"]
    assert not reconcile_all().ok
    assert alerts.check() == 0
    Account.objects.filter(tenant=acme, mode="live").update(balance=F("balance") - 1)
    assert reconcile_all().ok
    alerts.check()
    assert not Alert.objects.get().is_raised


def test_of_many_workers_one_raises_it(cloned_db: Any, acme: Any, flash: AIModel, settings: Any) -> None:
    settings.ALERT_LOW_BALANCE = 5000

    def look(_number: int) -> int:
        try:
            return alerts.check()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(look, range(12))) == 1
    assert OutboxMessage.objects.count() == 1
