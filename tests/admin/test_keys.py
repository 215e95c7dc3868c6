"""API keys made in the admin are shown once and found by their hash."""

import re

import pytest
from django.urls import reverse
from django.utils import timezone

from tenants.models import ApiKey, AuditEntry, Tenant
from tenants.selectors import find_api_key
from tests.callers import confirm_password


@pytest.fixture
def tenant(db):
    return Tenant.objects.create(name="Acme")


def make_key(client, tenant):
    address = f"{reverse('admin:tenants_apikey_add')}?tenant={tenant.pk}"
    once = re.search(r'name="once" value="([^"]+)"', client.get(address).text)[1]
    fields = {"tenant": str(tenant.pk), "mode": "live", "name": "shop", "once": once, "scopes": ["read", "generate"]}
    return client.post(address, fields), fields, address


def shown_key(answer):
    return re.search(r"wk_(?:live|test)_\w+", answer.text)[0]


def test_a_key_is_shown_once(admin_client, tenant):
    answer, fields, address = make_key(admin_client, tenant)
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    plaintext = shown_key(answer)
    key = ApiKey.objects.get()
    assert find_api_key(plaintext) == key
    # nowhere else: not on the key's pages, not in the session or cookies, not when the form is sent again
    again = admin_client.post(address, fields)
    assert "sent already" in again.text
    assert ApiKey.objects.count() == 1
    pages = [again, admin_client.get(reverse("admin:tenants_apikey_change", args=[key.pk]))]
    pages += [admin_client.get(reverse("admin:tenants_apikey_changelist")), admin_client.get(reverse("admin:index"))]
    assert not [page for page in pages if plaintext in page.text]
    assert plaintext not in str(dict(admin_client.session))
    assert plaintext not in str(answer.cookies)
    noted = AuditEntry.objects.get(action="key.create")
    assert (noted.actor, noted.address) == ("admin:root", "127.0.0.1")


def test_a_key_needs_a_tenant(admin_client, tenant):
    assert admin_client.get(reverse("admin:tenants_apikey_add")).status_code == 302


def test_a_key_is_revoked_by_post_only(admin_client, tenant):
    make_key(admin_client, tenant)
    key = ApiKey.objects.get()
    address = reverse("admin:tenants_apikey_revoke", args=[key.pk])
    assert admin_client.get(address, {"grace": "0"}).status_code == 200
    key.refresh_from_db()
    assert key.revoked_at is None
    assert admin_client.post(address, {"grace": "3600", "reason": "leaked"}).status_code == 302
    key.refresh_from_db()
    assert key.is_valid(timezone.now())
    assert admin_client.post(address, {"grace": "0", "reason": "leaked"}).status_code == 302
    key.refresh_from_db()
    assert not key.is_valid(timezone.now())
    assert AuditEntry.objects.filter(action="key.revoke", reason="leaked").count() == 2


def test_a_key_is_replaced(admin_client, tenant):
    plaintext = shown_key(make_key(admin_client, tenant)[0])
    old = ApiKey.objects.get()
    address = reverse("admin:tenants_apikey_rotate", args=[old.pk])
    confirm_password(admin_client, seconds_ago=301)
    assert admin_client.get(address)["Location"].startswith(reverse("admin:confirm_password"))
    confirm_password(admin_client)
    once = re.search(r'name="once" value="([^"]+)"', admin_client.get(address).text)[1]
    answer = admin_client.post(address, {"grace": "0", "once": once})
    assert find_api_key(shown_key(answer)).name == "shop"
    assert find_api_key(plaintext) is None


def test_a_tenants_models_are_picked(admin_client, history):
    from billing.catalog.models import AIModel

    model = AIModel.objects.get()
    address = reverse("admin:tenants_tenant_change", args=[history.pk])
    page = admin_client.get(address)
    assert "Painter" in page.text
    form = {"name": "Acme", "is_active": "on", "time_zone": "Asia/Shanghai", "note": "", "picked_models": [str(model.pk)]}
    form |= {"storage-TOTAL_FORMS": "0", "storage-INITIAL_FORMS": "0"}
    form |= {"members-TOTAL_FORMS": "0", "members-INITIAL_FORMS": "0"}
    answer = admin_client.post(address, form)
    assert answer.status_code == 302, answer.text
    history.refresh_from_db()
    assert history.enabled_models == [str(model.pk)]
    assert AuditEntry.objects.filter(action="tenant.change", target_id=str(history.pk)).exists()


# --- what a key may do -------------------------------------------------------------------------------------------------


@pytest.fixture
def painters(tenant):
    from billing.catalog.models import AIModel

    names = ("painter", "sketcher", "stranger")
    models = [
        AIModel.objects.create(model_id=name, name=name.title(), provider="sandbox", type="IMAGE_GENERATION") for name in names
    ]
    tenant.enabled_models = ["painter", str(models[1].id)]
    tenant.save()
    return models


def change_form(client, key):
    page = client.get(reverse("admin:tenants_apikey_limits", args=[key.pk]))
    version = re.search(r'name="version" value="([^"]+)"', page.text)[1]
    return page, {"scopes": key.scopes, "models": key.allowed_models, "version": version}


def test_a_key_is_made_with_limits(admin_client, tenant, painters):
    painter, _sketcher, stranger = painters
    address = f"{reverse('admin:tenants_apikey_add')}?tenant={tenant.pk}"
    page = admin_client.get(address).text
    assert "Painter" in page
    assert "Stranger" not in page
    once = re.search(r'name="once" value="([^"]+)"', page)[1]
    fields = {"tenant": str(tenant.pk), "mode": "live", "name": "shop", "once": once, "scopes": ["read", "manage"]}
    fields |= {"models": [str(painter.id)], "budget_day": "0", "budget_month": "500"}
    refused = admin_client.post(address, fields | {"models": [str(stranger.id)]})
    assert refused.status_code == 200
    assert not ApiKey.objects.exists()
    shown_key(admin_client.post(address, fields))
    key = ApiKey.objects.get()
    assert (key.scopes, key.allowed_models) == (["read", "manage"], ["painter"])
    assert set(key.budgets.values_list("period", "limit_credits", "tenant_id")) == {
        ("day", 0, tenant.pk),
        ("month", 500, tenant.pk),
    }
    assert AuditEntry.objects.filter(action="budget.create", actor="admin:root").count() == 2
    seen = admin_client.get(reverse("admin:tenants_apikey_change", args=[key.pk])).text
    assert "Read, Manage keys" in seen
    assert "painter" in seen
    assert "500" in seen


def test_a_keys_limits_are_changed(admin_client, tenant, painters):
    make_key(admin_client, tenant)
    key = ApiKey.objects.get()
    _page, form = change_form(admin_client, key)
    address = reverse("admin:tenants_apikey_limits", args=[key.pk])
    for bad in ({"scopes": []}, {"scopes": ["root"]}, {"models": [str(painters[2].id)]}, {"budget_day": "-1"}):
        assert admin_client.post(address, form | bad).status_code == 200, bad
    assert not key.budgets.exists()
    wanted = form | {"scopes": ["read"], "models": [str(painters[1].id)], "budget_week": "70"}
    assert admin_client.post(address, wanted).status_code == 302
    key.refresh_from_db()
    assert (key.scopes, key.allowed_models) == (["read"], [str(painters[1].id)])
    assert key.budgets.get().limit_credits == 70
    noted = AuditEntry.objects.get(action="key.change")
    assert noted.before == {"scopes": ["read", "generate"], "models": []}
    assert noted.after == {"scopes": ["read"], "models": [str(painters[1].id)]}
    # sent from a page of before the change: nothing is undone
    late = admin_client.post(address, form | {"scopes": ["manage"]})
    assert "Somebody else has changed this" in late.text
    key.refresh_from_db()
    assert key.scopes == ["read"]
    # an empty budget ends it
    page, form = change_form(admin_client, key)
    assert 'value="70"' in page.text
    assert admin_client.post(address, form).status_code == 302
    assert not key.budgets.filter(is_active=True).exists()
    assert AuditEntry.objects.get(action="budget.change").after == {"limit": 70, "active": False}


def test_a_model_that_is_gone_does_not_open_all_of_them(admin_client, tenant, painters):
    make_key(admin_client, tenant)
    key = ApiKey.objects.get()
    key.allowed_models = ["gone"]
    key.save()
    page, form = change_form(admin_client, key)
    assert re.search(r'value="gone"[^>]*checked', page.text)
    assert admin_client.post(reverse("admin:tenants_apikey_limits", args=[key.pk]), form | {"budget_day": "5"}).status_code == 302
    key.refresh_from_db()
    assert key.allowed_models == ["gone"]


def test_the_successor_of_a_key_has_its_budgets(admin_client, tenant):
    make_key(admin_client, tenant)
    old = ApiKey.objects.get()
    _page, form = change_form(admin_client, old)
    admin_client.post(reverse("admin:tenants_apikey_limits", args=[old.pk]), form | {"budget_day": "5"})
    address = reverse("admin:tenants_apikey_rotate", args=[old.pk])
    once = re.search(r'name="once" value="([^"]+)"', admin_client.get(address).text)[1]
    admin_client.post(address, {"grace": "0", "once": once})
    new = ApiKey.objects.exclude(pk=old.pk).get()
    assert list(new.budgets.values_list("period", "limit_credits")) == [("day", 5)]


def test_limits_are_not_everybodys_to_change(client, tenant, admin_client):
    make_key(admin_client, tenant)
    key = ApiKey.objects.get()
    from tenants.models import User

    auditor = User.objects.create_user("vera", password="vera-password-0", is_staff=True)
    client.force_login(auditor)
    assert client.get(reverse("admin:tenants_apikey_limits", args=[key.pk])).status_code == 403
