"""Credits moved by staff: with a reason, once, by who may, and noted."""

import re

import pytest
from django.contrib.auth.models import Group
from django.urls import reverse

from billing.ledger.models import Account, Charge, LedgerEntry
from tenants.models import AuditEntry, Tenant, User
from tests.callers import confirm_password


@pytest.fixture
def empty_account(db):
    return Account.objects.get(tenant=Tenant.objects.create(name="Acme"), mode="live")


def filled(client, address, **fields):
    key = re.search(r'name="idempotency_key" value="([^"]+)"', client.get(address).text)[1]
    return {"idempotency_key": key, "reason": "invoice 17", **fields}


def test_a_grant_is_previewed_then_made_once(admin_client, empty_account):
    address = reverse("admin:billing_grant", args=[empty_account.pk])
    form = filled(admin_client, address, credits="500", kind="RECHARGE")
    preview = admin_client.post(address, form)
    assert "500" in preview.text
    assert not LedgerEntry.objects.filter(account=empty_account).exists()
    for _ in range(2):  # a double click
        assert admin_client.post(address, form | {"confirmed": "1"}).status_code == 302
    entry = LedgerEntry.objects.get(account=empty_account)
    assert (entry.amount, entry.kind, entry.description, entry.actor) == (500, "RECHARGE", "invoice 17", "admin:root")
    empty_account.refresh_from_db()
    assert empty_account.balance == 500
    noted = AuditEntry.objects.get(action="credits.grant")
    assert (noted.actor, noted.reason, noted.address, noted.target_id) == (
        "admin:root",
        "invoice 17",
        "127.0.0.1",
        str(empty_account.pk),
    )


@pytest.mark.parametrize(
    "bad", [{"credits": "0"}, {"credits": "-5"}, {"credits": "9" * 30}, {"reason": " "}, {"kind": "CONSUME"}]
)
def test_a_bad_grant_moves_nothing(admin_client, empty_account, bad):
    address = reverse("admin:billing_grant", args=[empty_account.pk])
    form = filled(admin_client, address, credits="5", kind="GIFT") | {"confirmed": "1"} | bad
    answer = admin_client.post(address, form)
    assert answer.status_code == 200
    assert not LedgerEntry.objects.filter(account=empty_account).exists()


def test_an_adjustment_asks_for_the_password_again(admin_client, empty_account):
    address = reverse("admin:billing_adjust", args=[empty_account.pk])
    confirm_password(admin_client, seconds_ago=301)
    first = admin_client.post(address, {"credits": "5", "reason": "x", "confirmed": "1"})
    assert first.status_code == 302
    assert first["Location"].startswith(reverse("admin:confirm_password"))
    wrong = admin_client.post(first["Location"], {"password": "wrong"})
    assert wrong.status_code == 200
    right = admin_client.post(first["Location"], {"password": "root-password"})
    assert right["Location"] == address
    form = filled(admin_client, address, credits="40", confirmed="1")
    assert admin_client.post(address, form).status_code == 302
    empty_account.refresh_from_db()
    assert empty_account.balance == 40
    assert AuditEntry.objects.get(action="credits.adjust").reason == "invoice 17"


def test_the_password_holds_for_five_minutes(admin_client, empty_account):
    address = reverse("admin:billing_adjust", args=[empty_account.pk])
    confirm_password(admin_client, seconds_ago=301)
    assert admin_client.get(address).status_code == 302
    confirm_password(admin_client)
    assert admin_client.get(address).status_code == 200


def test_what_the_books_refuse_is_an_error_of_the_form(admin_client, empty_account):
    confirm_password(admin_client)
    address = reverse("admin:billing_adjust", args=[empty_account.pk])
    answer = admin_client.post(address, filled(admin_client, address, credits="-1", confirmed="1"))
    assert answer.status_code == 200
    assert "Not enough credits" in answer.text
    assert not AuditEntry.objects.filter(action="credits.adjust").exists()


def test_a_refund(admin_client, history):
    charge = Charge.objects.first()
    address = reverse("admin:billing_refund", args=[charge.pk])
    too_much = filled(admin_client, address, credits="7", confirmed="1")
    assert "Only 6 of 7 credits are left" in admin_client.post(address, too_much).text
    assert admin_client.post(address, filled(admin_client, address, credits="6", confirmed="1")).status_code == 302
    charge.refresh_from_db()
    assert charge.refunded == 7
    assert AuditEntry.objects.get(action="credits.refund").target_id == str(charge.pk)


def test_groups_may_what_their_names_say(client, empty_account):
    addresses = [reverse(f"admin:billing_{name}", args=[empty_account.pk]) for name in ("grant", "adjust")]
    expected = {"auditor": 403, "operator": 403, "finance": 200}
    for name, status in expected.items():
        clerk = User.objects.create_user(name, password="x", is_staff=True)
        clerk.groups.add(Group.objects.get(name=name))
        client.force_login(clerk)
        confirm_password(client)
        assert [client.get(address).status_code for address in addresses] == [status, status], name
        assert client.get(reverse("admin:index")).status_code == 200


def test_nothing_happens_on_get(admin_client, empty_account):
    confirm_password(admin_client)
    for name in ("grant", "adjust"):
        query = {"credits": "5", "reason": "x", "kind": "GIFT", "confirmed": "1"}
        admin_client.get(reverse(f"admin:billing_{name}", args=[empty_account.pk]), query)
    assert not LedgerEntry.objects.filter(account=empty_account).exists()
