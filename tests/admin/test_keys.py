"""API keys made in the admin are shown once and found by their hash."""

import re

import pytest
from django.urls import reverse
from django.utils import timezone

from tenants.models import ApiKey, AuditEntry, Tenant
from tenants.selectors import find_api_key
from tests.admin.test_money import confirm_password


@pytest.fixture
def tenant(db):
    return Tenant.objects.create(name="Acme")


def make_key(client, tenant):
    address = f"{reverse('admin:tenants_apikey_add')}?tenant={tenant.pk}"
    once = re.search(r'name="once" value="([^"]+)"', client.get(address).text)[1]
    fields = {"tenant": str(tenant.pk), "mode": "live", "name": "shop", "once": once}
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
    assert admin_client.get(address)["Location"].startswith(reverse("admin:confirm_password"))
    confirm_password(admin_client)
    once = re.search(r'name="once" value="([^"]+)"', admin_client.get(address).text)[1]
    answer = admin_client.post(address, {"grace": "0", "once": once})
    assert find_api_key(shown_key(answer)).name == "shop"
    assert find_api_key(plaintext) is None


def test_a_tenants_models_are_picked(admin_client, history):
    from aiservices.models import AIModel

    model = AIModel.objects.get()
    address = reverse("admin:tenants_tenant_change", args=[history.pk])
    page = admin_client.get(address)
    assert "Painter" in page.text
    form = {"name": "Acme", "is_active": "on", "time_zone": "Asia/Shanghai", "note": "", "picked_models": [str(model.pk)]}
    form |= {"storage-TOTAL_FORMS": "0", "storage-INITIAL_FORMS": "0"}
    answer = admin_client.post(address, form)
    assert answer.status_code == 302, answer.text
    history.refresh_from_db()
    assert history.enabled_models == [str(model.pk)]
    assert AuditEntry.objects.filter(action="tenant.change", target_id=str(history.pk)).exists()
