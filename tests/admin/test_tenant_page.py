"""A tenant's page: its tabs, for who may see them, in few queries."""

import json
import re
from datetime import timedelta
from html import unescape
from zoneinfo import ZoneInfo

from django.contrib.auth.models import Group
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from billing.admin.tenant_tab import balance_by_day
from billing.catalog.models import AIModel
from billing.ledger.models import Account, LedgerEntry
from tenants.models import Tenant, User
from tenants.services import create_api_key
from tests.admin.conftest import make_history
from tests.books import give

TABS = ("general", "credits", "keys", "models", "storage", "statement")


def page_of(client, tenant) -> str:
    answer = client.get(reverse("admin:tenants_tenant_change", args=[tenant.pk]))
    assert answer.status_code == 200
    return unescape(answer.text)


def tabs_in(page: str) -> list[str]:
    return list(dict.fromkeys(re.findall(r'href="[^"]*/change/#([a-z]+)"', page)))


def test_every_tab_is_there(admin_client, acme):
    create_api_key(tenant=acme, name="shop", actor="test")
    page = page_of(admin_client, acme)
    assert tabs_in(page) == list(TABS)
    assert all(f'id="{slug}-group"' in page for slug in TABS[1:])
    for shown in (
        "shop",
        "#1 Gift · opening balance",
        "no quota",
        "picked_models",
        reverse("admin:billing_statement", args=[live(acme).pk]),
    ):
        assert shown in page


def live(tenant: Tenant) -> Account:
    return Account.objects.get(tenant=tenant, mode="live")


def test_a_tab_takes_a_permission(client, acme):
    staff = User.objects.create_user("staff", is_staff=True)
    group = Group.objects.create(name="tenants only")
    group.permissions.add(*Group.objects.get(name="auditor").permissions.filter(codename="view_tenant"))
    staff.groups.add(group)
    client.force_login(staff)
    page = page_of(client, acme)
    assert tabs_in(page) == ["general", "models"]
    assert "opening balance" not in page
    assert re.search(r'name="all_models"[^>]* disabled', page)


def test_the_chart_shows_the_balance_of_each_day(admin_client, acme):
    zone = ZoneInfo("Asia/Shanghai")
    now = timezone.now()
    for back, balance in ((40, 70), (10, 300), (3, 500)):  # entries as they would have been then
        seq = acme.accounts.get(mode="live").entries.count() + 1
        LedgerEntry.objects.create(
            account=live(acme), seq=seq, kind="GIFT", amount=1, balance=balance, spendable=balance, hash="0" * 64,
            created_at=now - timedelta(days=back),
        )  # fmt: skip
    labels, balances = balance_by_day(live(acme), zone=zone)
    assert (len(labels), len(balances), labels[-1]) == (30, 30, now.astimezone(zone).strftime("%m-%d"))
    assert balances == [70] * 19 + [300] * 7 + [500] * 3 + [1000]
    chart = json.loads(re.search(r'data-type="line" data-value="(.+?)" ', page_of(admin_client, acme))[1])
    assert chart["datasets"][0]["data"] == balances


def page_address(tenant: Tenant) -> str:
    return reverse("admin:tenants_tenant_change", args=[tenant.pk])


def test_it_asks_no_more_for_more_rows(admin_client, root):
    tenant = make_history(2)
    page_of(admin_client, tenant)
    with CaptureQueriesContext(connection) as few:
        page_of(admin_client, tenant)
    for number in range(30):
        create_api_key(tenant=tenant, name=f"more {number}", actor="test")
        give(tenant, 5)
        AIModel.objects.create(model_id=f"m{number}", name="More", provider="sandbox", type="IMAGE_GENERATION")
    with CaptureQueriesContext(connection) as many:
        page_of(admin_client, tenant)
    assert len(many) <= len(few) <= 20, "\n".join(query["sql"][:160] for query in many)


def test_models_are_picked_in_their_tab_and_kept(admin_client, acme):
    model = AIModel.objects.create(model_id="painter", name="Painter", provider="sandbox", type="IMAGE_GENERATION")
    form = {
        "name": "Acme", "is_active": "on", "time_zone": "Asia/Shanghai", "note": "", "picked_models": [str(model.pk)],
        "storage-TOTAL_FORMS": "0", "storage-INITIAL_FORMS": "0", "members-TOTAL_FORMS": "0", "members-INITIAL_FORMS": "0",
    }  # fmt: skip
    answer = admin_client.post(page_address(acme), form)
    assert answer.status_code == 302, answer.text
    acme.refresh_from_db()
    assert acme.enabled_models == [str(model.pk)]


def test_a_new_tenant_has_no_tabs_but_its_models(admin_client):
    page = admin_client.get(reverse("admin:tenants_tenant_add")).text
    assert tabs_in(page) == []
    assert "picked_models" in page
