"""A tenant and a user on one page: right figures, in few queries, for who may see them."""

from datetime import timedelta
from html import unescape

from django.contrib.auth.models import Group
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from aiservices.generations.models import Generation
from billing import services
from billing.budgets.models import Budget
from billing.catalog.usage import UsageRequest
from billing.ledger.balances import used_since
from billing.ledger.models import Account
from storage.models import StorageUsage
from tenants import audit
from tenants.models import TenantMember, User
from tenants.principal import Principal
from tenants.services import create_api_key
from tests.admin.conftest import make_history
from tests.books import give


def use(owner, key=None):
    target = Principal("tenant", str(owner.pk), api_key_id=key.pk if key else None)
    return services.charge(target=target, use=UsageRequest(model="flash"), actor="test").charge


def page_of(client, tenant) -> str:
    answer = client.get(reverse("admin:tenant_overview", args=[tenant.pk]))
    assert answer.status_code == 200
    return unescape(answer.text)


def cards_of(client, tenant) -> dict[str, tuple[str, str]]:
    answer = client.get(reverse("admin:tenant_overview", args=[tenant.pk]))
    return {card["title"]: (card["value"], card["note"]) for card in answer.context["cards"]}


def test_what_was_used_is_exact_whatever_was_granted_meanwhile(flash_at_15, acme):
    account = Account.objects.get(tenant=acme, mode="live")
    before = timezone.now()
    use(acme)
    services.refund(charge_id=str(use(acme).id), credits=4, reason="test", actor="test")
    give(acme, 700)
    middle = timezone.now()
    use(acme)
    services.adjust(account_id=account.id, credits=-50, reason="test", actor="test", idempotency_key="a")
    now = timezone.now()
    long_ago = before - timedelta(days=40)
    assert used_since(account.id, [long_ago, before, middle, now], until=now) == [41, 41, 15, 0]
    assert used_since(account.id, [long_ago], until=before) == [0]


def test_a_tenant_on_one_page(admin_client, flash_at_15, acme, alice):
    key, _plaintext = create_api_key(tenant=acme, name="shop", actor="test")
    Budget.objects.create(tenant=acme, api_key=key, period="month", limit_credits=60)
    Budget.objects.create(tenant=acme, period="day", limit_credits=1000)
    TenantMember.objects.create(tenant=acme, user=alice, role="billing")
    StorageUsage.objects.create(tenant=acme, used_bytes=3 << 20, quota_bytes=1 << 30)
    audit.record(actor="admin:root", action="tenant.change", target=acme, reason="a new name")
    for _number in range(2):
        use(acme, key)
    for state, code in (("succeeded", ""), ("succeeded", ""), ("failed", "content_refused"), ("running", "")):
        Generation.objects.create(type="image", tenant=acme, model=flash_at_15, prompt="a whale", state=state, error_code=code)
    cards = cards_of(admin_client, acme)
    assert cards["Balance"] == ("970", "")
    assert cards["Used today"] == ("30", "0 yesterday at this hour")
    assert cards["Used this month"] == ("30", "credits, less refunds")
    assert cards["Success"] == ("66.7%", "of the last 3 in 7 days")
    assert cards["Storage"] == ("3.0\xa0MB", "of 1.0\xa0GB")
    page = page_of(admin_client, acme)
    for shown in ("30 / 60", "30 / 1,000", key.masked, "Content refused by the provider", "alice", "a new name"):
        assert shown in page
    for link in ("billing_charge", "billing_ledgerentry"):
        account = Account.objects.get(tenant=acme, mode="live")
        assert f"{reverse(f'admin:{link}_changelist')}?account__id__exact={account.pk}" in page


def test_its_links_lead_to_lists_that_open(admin_client, flash_at_15, acme):
    use(acme)
    for button in admin_client.get(reverse("admin:tenant_overview", args=[acme.pk])).context["links"]:
        assert admin_client.get(button.link).status_code in (200, 302), button.link


def test_a_user_on_one_page(admin_client, acme, alice):
    TenantMember.objects.create(tenant=acme, user=alice, role="owner")
    answer = admin_client.get(reverse("admin:user_overview", args=[alice.pk]))
    assert {card["title"]: card["value"] for card in answer.context["cards"]}["Balance"] == "1,000"
    assert "Acme" in answer.text
    assert "All keys" not in answer.text


def test_each_part_takes_its_permission(client, flash_at_15, acme):
    staff = User.objects.create_user("staff", is_staff=True)
    client.force_login(staff)
    assert client.get(reverse("admin:tenant_overview", args=[acme.pk])).status_code == 403
    assert client.get(reverse("admin:user_overview", args=[staff.pk])).status_code == 403
    group = Group.objects.create(name="tenants only")
    group.permissions.add(*Group.objects.get(name="auditor").permissions.filter(codename="view_tenant"))
    staff.groups.add(group)
    page = client.get(reverse("admin:tenant_overview", args=[acme.pk]))
    assert page.context["cards"] == []
    assert [button.icon for button in page.context["links"]] == ["settings"]
    assert not [name for name in ("has_chart", "errors", "audit") if name in page.context]
    group.permissions.add(*Group.objects.get(name="auditor").permissions.filter(codename="view_user"))
    TenantMember.objects.create(tenant=acme, user=staff, role="owner")
    assert "Acme" not in client.get(reverse("admin:user_overview", args=[staff.pk])).text


def test_it_asks_no_more_for_more_rows(admin_client):
    def queries(tenant) -> list[str]:
        with CaptureQueriesContext(connection) as found:
            page_of(admin_client, tenant)
        return [query["sql"] for query in found]

    tenant = make_history(2)
    few = queries(tenant)
    for number in range(20):
        key, _plaintext = create_api_key(tenant=tenant, name=f"more {number}", actor="test")
        Generation.objects.create(
            type="image", tenant=tenant, api_key=key, state="failed", error_code="upstream_error", prompt="x",
            model=Generation.objects.first().model,
        )  # fmt: skip
    many = queries(tenant)
    assert len(many) == len(few) <= 26, "\n".join(query[:160] for query in many)
