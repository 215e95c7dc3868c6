"""Undo and act: a stuck hold is released, a version of the catalog restored, an alert acknowledged: with reason and audit."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.urls import reverse
from django.utils import timezone

from aiservices.generations.models import Generation
from billing.catalog import file as catalog_file
from billing.catalog.models import BillingRule, CatalogVersion
from billing.catalog.usage import UsageRequest
from billing.ledger.models import Account, Hold
from billing.monitoring import alerts
from billing.monitoring.models import Alert
from billing.reconciliation.checks import reconcile
from billing.services import hold
from tenants.models import AuditEntry, Tenant, User
from tenants.principal import Principal
from tenants.webhooks.models import OutboxMessage
from tests.callers import confirm_password
from tests.catalog import priced_model


def last_act() -> AuditEntry:
    entry: AuditEntry = AuditEntry.objects.latest("id")
    return entry


# --- holds -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def stuck(acme: Tenant) -> Hold:
    priced_model()
    made = hold(target=Principal("tenant", str(acme.id)), use=UsageRequest(model="flash"), actor="gateway").hold
    return Hold.objects.get(id=made.id)


def release_page(held: Hold) -> str:
    return reverse("admin:billing_release", args=[held.id])


def test_a_stuck_hold_is_released_with_a_reason(admin_client: Any, stuck: Hold) -> None:
    assert Account.objects.get(id=stuck.account_id).held == 7
    page = admin_client.get(reverse("admin:billing_hold_change", args=[stuck.id])).content.decode()
    assert release_page(stuck) in page
    asked = admin_client.get(release_page(stuck)).content.decode()
    assert "This cannot be undone" in asked
    assert "This field is required" in admin_client.post(release_page(stuck), {"reason": ""}).content.decode()
    assert Hold.objects.get(id=stuck.id).state == "held"
    done = admin_client.post(release_page(stuck), {"reason": "the gateway lost it"}, follow=True)
    assert "Released: 7 credits can be spent again." in done.content.decode()
    held = Hold.objects.get(id=stuck.id)
    assert (held.state, held.credits_released, held.end_reason) == ("released", 7, "the gateway lost it")
    assert Account.objects.get(id=stuck.account_id).held == 0 and reconcile().ok
    entry = last_act()
    assert (entry.action, entry.actor, entry.reason, entry.after) == (
        "hold.release", "admin:root", "the gateway lost it", {"credits": 7},
    )  # fmt: skip


def test_a_hold_that_has_ended_is_not_offered(admin_client: Any, stuck: Hold) -> None:
    admin_client.post(release_page(stuck), {"reason": "once"})
    count = AuditEntry.objects.count()
    again = admin_client.post(release_page(stuck), {"reason": "twice"}, follow=True)
    assert again.status_code == 200 and AuditEntry.objects.count() == count
    shown = admin_client.get(release_page(stuck), follow=True).content.decode()
    assert "The hold is already released." in shown
    assert release_page(stuck) not in admin_client.get(reverse("admin:billing_hold_change", args=[stuck.id])).content.decode()


@pytest.mark.parametrize("state", ["queued", "running", "unknown"])
def test_the_hold_of_a_generation_that_has_not_ended_stays(admin_client: Any, stuck: Hold, acme: Tenant, state: str) -> None:
    Generation.objects.create(type="video", tenant=acme, model=stuck.model, prompt="x", state=state, hold=stuck)
    shown = admin_client.get(release_page(stuck), follow=True).content.decode()
    assert "cancel or settle the generation" in shown
    answer = admin_client.post(release_page(stuck), {"reason": "now"}).content.decode()
    assert "cancel or settle the generation" in answer
    assert Hold.objects.get(id=stuck.id).state == "held" and Account.objects.get(id=stuck.account_id).held == 7


def test_releasing_needs_the_permission_and_the_password(client: Any, stuck: Hold, db: None) -> None:
    user = User.objects.create_user("olga", password="olga-password", is_staff=True)
    user.groups.add(Group.objects.get(name="operator"))
    client.force_login(user)
    confirm_password(client)
    assert client.post(release_page(stuck), {"reason": "x"}).status_code == 403
    user.groups.add(Group.objects.get(name="finance"))
    confirm_password(client, seconds_ago=1000)
    assert "confirm" in client.post(release_page(stuck), {"reason": "x"})["Location"]
    assert Hold.objects.get(id=stuck.id).state == "held"


# --- the catalog -----------------------------------------------------------------------------------------------------


@pytest.fixture
def versions(db: None) -> list[CatalogVersion]:
    """Flash at 7, then at 9 beside a second model."""

    def document(price: int, *others: str) -> Any:
        names = ["flash", *others]
        return catalog_file.from_json(
            {
                "models": [{"modelId": n, "name": n, "provider": "sandbox", "type": "IMAGE_GENERATION"} for n in names],
                "rules": [
                    {"name": n, "scope": {"modelId": n}, "billingType": "PER_REQUEST", "baseCredits": price} for n in names
                ],
            }
        )

    catalog_file.apply(document(7), actor="command")
    catalog_file.apply(document(9, "lux"), actor="command")
    return list(CatalogVersion.objects.order_by("number"))


def test_a_version_of_the_catalog_is_restored(admin_client: Any, versions: list[CatalogVersion]) -> None:
    first, second = versions
    url = reverse("admin:billing_restore", args=[first.number])
    assert url in admin_client.get(reverse("admin:billing_catalogversion_change", args=[first.pk])).content.decode()
    page = admin_client.get(url)
    assert "It can be undone" in page.content.decode()
    form = page.context["form"]
    data = {"reason": "9 was a typo", "expected_version": form["expected_version"].value()}
    done = admin_client.post(url, data, follow=True).content.decode()
    assert "Restored: " in done
    assert BillingRule.objects.get(name="flash").base_credits == 7
    assert not BillingRule.objects.get(name="lux").is_active
    newest = CatalogVersion.objects.latest("number")
    assert newest.number == 3 and newest.author == "admin:root" and "9 was a typo" in newest.note
    act = AuditEntry.objects.get(action="catalog.restore")
    assert (act.reason, act.target_id) == ("9 was a typo", str(first.pk))
    # And back again.
    url = reverse("admin:billing_restore", args=[second.number])
    version = admin_client.get(url).context["form"]["expected_version"].value()
    admin_client.post(url, {"reason": "no typo", "expected_version": version})
    assert BillingRule.objects.get(name="flash").base_credits == 9 and BillingRule.objects.get(name="lux").is_active


def test_a_restore_over_a_newer_change_is_refused(admin_client: Any, versions: list[CatalogVersion]) -> None:
    url = reverse("admin:billing_restore", args=[1])
    answer = admin_client.post(url, {"reason": "x", "expected_version": 0})
    assert "Somebody changed the catalog in the meantime" in answer.content.decode()
    assert BillingRule.objects.get(name="flash").base_credits == 9


# --- alerts ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def low(acme: Tenant, settings: Any) -> Alert:
    settings.ALERT_LOW_BALANCE = 5000
    settings.ALERT_WEBHOOK_URL = "https://alerts.example.com/waule"
    assert alerts.check() == 1
    return Alert.objects.get()


def test_an_alert_is_acknowledged_and_stays_open(admin_client: Any, low: Alert) -> None:
    url = reverse("admin:billing_acknowledge", args=[low.id])
    assert url in admin_client.get(reverse("admin:billing_alert_change", args=[low.id])).content.decode()
    assert "It stays open" in admin_client.get(url).content.decode()
    admin_client.post(url, {"reason": "they pay on Friday", "silence": "0"})
    low.refresh_from_db()
    assert low.is_raised and low.acknowledged_by == "admin:root" and low.acknowledged_at and low.silenced_until is None
    assert "Acknowledged" in admin_client.get(reverse("admin:billing_alert_changelist")).content.decode()
    entry = last_act()
    assert (entry.action, entry.reason, entry.after["acknowledgedBy"]) == (
        "alert.acknowledge",
        "they pay on Friday",
        "admin:root",
    )


def test_a_silent_alert_opens_without_a_message_until_its_time_is_over(admin_client: Any, low: Alert, settings: Any) -> None:
    url = reverse("admin:billing_acknowledge", args=[low.id])
    admin_client.post(url, {"reason": "noise", "silence": str(8 * 3600)})
    assert OutboxMessage.objects.count() == 1
    settings.ALERT_LOW_BALANCE = 1
    alerts.check()
    settings.ALERT_LOW_BALANCE = 5000
    assert alerts.check() == 1 and OutboxMessage.objects.count() == 1
    low.refresh_from_db()
    assert low.is_raised and low.acknowledged_at is None and low.times == 2
    Alert.objects.update(silenced_until=timezone.now() - timedelta(seconds=1))
    settings.ALERT_LOW_BALANCE = 1
    alerts.check()
    settings.ALERT_LOW_BALANCE = 5000
    assert alerts.check() == 1 and OutboxMessage.objects.count() == 2


def test_a_silence_is_ended_again(admin_client: Any, low: Alert) -> None:
    url = reverse("admin:billing_acknowledge", args=[low.id])
    admin_client.post(url, {"reason": "noise", "silence": str(3600)})
    admin_client.post(url, {"reason": "enough", "silence": "0"})
    low.refresh_from_db()
    assert low.silenced_until is None


def test_acknowledging_needs_the_permission(client: Any, low: Alert) -> None:
    user = User.objects.create_user("audrey", password="x", is_staff=True)
    user.groups.add(Group.objects.get(name="auditor"))
    client.force_login(user)
    url = reverse("admin:billing_acknowledge", args=[low.id])
    assert url not in client.get(reverse("admin:billing_alert_change", args=[low.id])).content.decode()
    client.post(url, {"reason": "x", "silence": "0"})
    low.refresh_from_db()
    assert low.acknowledged_at is None
